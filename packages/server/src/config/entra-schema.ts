import { createPrivateKey, X509Certificate } from 'node:crypto'
import * as z from 'zod'
import { commonProvider } from './provider-common.ts'
import { httpUrl, id, secret } from './words.ts'

const AUTHORITY = 'https://login.microsoftonline.com'
const GRAPH = 'https://graph.microsoft.com'
const DEFAULT_SCOPES = ['openid', 'profile', 'email', 'offline_access', 'User.Read']

/** The endpoints that serve the people of many tenants. */
const MANY: ReadonlySet<string> = new Set(['organizations', 'common'])

const guid = z.string().toLowerCase().regex(/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/, 'must be a GUID')
const origin = httpUrl.transform((value) => value.replace(/\/+$/, '')).refine((value) => new URL(value).origin === value, 'must be an origin, such as https://login.microsoftonline.com')

/** How an app registration proves itself: exactly one of these. */
const credential = {
  clientSecret: secret.optional(),
  certificate: z.strictObject({ certificate: secret.refine(isCertificate, 'must be a certificate in PEM'), privateKey: secret.refine(isPrivateKey, 'must be an RSA private key in PEM') }).refine(fitTogether, { error: 'is of another key: certificate and privateKey belong together', path: ['privateKey'] }).optional(),
  federatedCredential: z.strictObject({ subject: z.string().min(1).max(600), audience: z.string().min(1).default('api://AzureADTokenExchange') }).optional(),
}

type CredentialSettings = { readonly [Name in keyof typeof credential]?: z.output<(typeof credential)[Name]> }

function credentialOf({ clientSecret, certificate, federatedCredential }: CredentialSettings, context: z.core.$RefinementCtx) {
  const given = [
    ...(clientSecret === undefined ? [] : [{ type: 'secret' as const, secret: clientSecret }]),
    ...(certificate === undefined ? [] : [{ type: 'certificate' as const, ...certificate }]),
    ...(federatedCredential === undefined ? [] : [{ type: 'federated' as const, ...federatedCredential }]),
  ]
  const [only] = given
  if (only !== undefined && given.length === 1) return only
  context.addIssue({ code: 'custom', path: ['certificate'], message: 'name one of certificate, federatedCredential and clientSecret: how the app proves itself' })
  return z.NEVER
}

/** A tenant is one, by its GUID; an endpoint of many needs the list of those that may sign in. */
export const entraId = z
  .strictObject({
    ...commonProvider,
    ...credential,
    type: z.literal('entra-id'),
    clientId: guid,
    tenant: z.string().toLowerCase().refine((value) => MANY.has(value) || guid.safeParse(value).success, 'must be the GUID of a tenant, or organizations or common with a list of tenants'),
    tenants: z.array(guid).min(1, 'name at least one').optional(),
    authority: origin.default(AUTHORITY),
    graphUrl: origin.default(GRAPH),
    groupOverage: z.enum(['delegated', 'application']).default('delegated'),
  })
  .transform(({ clientSecret, certificate, federatedCredential, tenant, tenants, authority, graphUrl, groupOverage, scopes = DEFAULT_SCOPES, ...provider }, context) => {
    const fail = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message })
    const isMany = MANY.has(tenant)
    if (isMany && tenants === undefined) fail('tenants', `is missing: whose people may sign in. ${tenant} serves everybody's`)
    if (!isMany && tenants !== undefined) fail('tenants', 'is of no use with one tenant')
    if (!scopes.includes('openid') || !scopes.includes('profile')) fail('scopes', 'must have openid and profile: the identifier of the person comes with them')
    const isForeign = scopes.some((scope) => scope.includes('://') && !scope.startsWith(`${graphUrl}/`))
    if (isForeign && groupOverage === 'delegated') fail('scopes', 'name another resource than Graph, so that the sign-in brings no token for Graph: leave it to the connectors, or set groupOverage to application')
    return {
      ...provider,
      issuer: `${authority}/${tenant}/v2.0`,
      clientSecret: undefined,
      scopes,
      groupsClaim: 'groups',
      rolesClaim: 'roles',
      offlineAccess: undefined,
      entra: { authority, graphUrl, tenant, tenants: tenants ?? [tenant], overage: groupOverage, credential: credentialOf({ clientSecret, certificate, federatedCredential }, context) },
    }
  })

function appOf({ clientId, scope: own = `api://${clientId}/.default`, ...given }: CredentialSettings & { readonly clientId: string; readonly scope?: string | undefined }, context: z.core.$RefinementCtx) {
  return { clientId, scope: own, credential: credentialOf(given, context) }
}

const scope = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one printable word')

/** Credentials in the name of people who sign in by Entra ID: by the app that they sign in to, or on their behalf by another one. */
export const entraObo = z
  .strictObject({ type: z.literal('entra-obo'), provider: id.optional(), scopes: z.array(scope).min(1, 'name at least one'), app: z.strictObject({ clientId: guid, scope: scope.optional(), ...credential }).optional() })
  .transform(({ app, ...connector }, context) => {
    const resources = new Set(connector.scopes.filter((each) => !OIDC.has(each)).map(resourceOf))
    if (resources.size !== 1) context.addIssue({ code: 'custom', path: ['scopes'], message: 'must be scopes of one resource, which names it (https://graph.microsoft.com/User.Read): Entra ID gives tokens for one at a time' })
    return { ...connector, ...(app === undefined ? {} : { app: appOf(app, context) }) }
  })

const OIDC: ReadonlySet<string> = new Set(['openid', 'profile', 'email', 'offline_access'])

/** A scope without an address is Graph's. */
function resourceOf(name: string): string {
  const end = name.lastIndexOf('/')
  return end === -1 ? GRAPH : name.slice(0, end)
}

function isCertificate(pem: string): boolean {
  return attempt(() => new X509Certificate(pem).publicKey.asymmetricKeyType === 'rsa')
}

function isPrivateKey(pem: string): boolean {
  return attempt(() => createPrivateKey(pem).asymmetricKeyType === 'rsa')
}

function fitTogether({ certificate, privateKey }: { readonly certificate: string; readonly privateKey: string }): boolean {
  return attempt(() => new X509Certificate(certificate).checkPrivateKey(createPrivateKey(privateKey)))
}

function attempt(holds: () => boolean): boolean {
  try {
    return holds()
  } catch {
    return false
  }
}
