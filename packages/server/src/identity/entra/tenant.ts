// Whose tokens Entra ID's tokens are: issuers, tenants and keys. A tenant is a GUID; names and domains change hands.
import type { JWTPayload } from 'jose'
import { LoginRefused } from '../providers/provider.ts'

export interface EntraTenants {
  /** `https://login.microsoftonline.com`, or that of a national cloud. */
  readonly authority: string
  /** One tenant, or an endpoint that serves many: then `tenants` says which of them. */
  readonly tenant: string
  readonly tenants: readonly string[]
}

export const GUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/
const TEMPLATE = '{tenantid}'

/** Tokens of the older kind have another issuer; which kind a token is, the resource that it is for decides. */
const OLDER: Readonly<Record<string, string>> = {
  'https://login.microsoftonline.com': 'https://sts.windows.net',
  'https://login.microsoftonline.us': 'https://sts.windows.net',
  'https://login.partner.microsoftonline.cn': 'https://sts.chinacloudapi.cn',
}

export function issuerOfTenant({ authority }: Pick<EntraTenants, 'authority'>, tid: string): string {
  return `${authority}/${tid}/v2.0`
}

function olderIssuer({ authority }: EntraTenants, tid: string): string {
  return `${OLDER[authority] ?? authority}/${tid}/`
}

export function tokenEndpointOf({ authority }: Pick<EntraTenants, 'authority'>, tid: string): string {
  return `${authority}/${tid}/oauth2/v2.0/token`
}

/** The tenant of an issuer of either kind. */
export function tenantOf(issuer: string): string | undefined {
  return /\/([0-9a-f-]{36})\/(?:v2\.0)?$/.exec(issuer)?.[1]
}

/** The metadata of one tenant name its issuer; those of many name a template, which nobody else may. */
export function isIssuer(tenants: EntraTenants): (named: string) => boolean {
  const expected = issuerOfTenant(tenants, GUID.test(tenants.tenant) ? tenants.tenant : TEMPLATE)
  return (named) => named === expected
}

/** @throws LoginRefused for a tenant that is not among those of the configuration */
export function tenantOfClaims({ tenants }: EntraTenants, { tid }: JWTPayload): string {
  if (typeof tid !== 'string' || !GUID.test(tid)) throw new LoginRefused('tid is no tenant')
  if (!tenants.includes(tid)) throw new LoginRefused('the tenant is not among those that may sign in')
  return tid
}

/** The issuer that a token of this tenant must name: of the kind that it says. @throws LoginRefused */
export function issuerOf(tenants: EntraTenants, claims: JWTPayload): string {
  const tid = tenantOfClaims(tenants, claims)
  const older = olderIssuer(tenants, tid)
  return claims.iss === older ? older : issuerOfTenant(tenants, tid)
}

export function issues(tenants: EntraTenants): (issuer: string) => boolean {
  const all = new Set(tenants.tenants.flatMap((tid) => [issuerOfTenant(tenants, tid), olderIssuer(tenants, tid)]))
  return (issuer) => all.has(issuer)
}

/** Tokens of the older kind are verified by the keys that the older metadata name. */
export function keysOf(tenants: EntraTenants, issuer: string): string | undefined {
  return issuer.endsWith('/v2.0') ? undefined : `${tenants.authority}/${tenants.tenant}/discovery/keys`
}

/**
 * Each key says whose tokens it signs: a template fits every tenant, another one that tenant alone. Without it a key for
 * personal accounts could sign for a company.
 */
export function mayKeySign(tenants: EntraTenants): (key: Readonly<Record<string, unknown>>, issuer: string) => boolean {
  return (key, issuer) => {
    const named = key['issuer']
    if (named === undefined) return GUID.test(tenants.tenant)
    const tid = tenantOf(issuer)
    if (typeof named !== 'string' || tid === undefined) return false
    const signs = named.replace(TEMPLATE, tid)
    return signs === issuerOfTenant(tenants, tid) || signs === olderIssuer(tenants, tid)
  }
}
