// Nodes on which people sign in by the emulator of Entra ID.
import assert from 'node:assert/strict'
import type { EntraIdSettings } from '../../../src/identity/providers/entra-id.ts'
import type { ProviderSettings } from '../../../src/identity/providers/index.ts'
import { browser } from '../browser.ts'
import { eachIdentity, ISSUER, type IdentityCluster, type IdentityNode, type whoami } from '../identity-nodes.ts'
import { entra, GATEWAY, GATEWAY_SECRET, TENANT, type Entra, type Person } from './entra.ts'

export type Options = Partial<EntraIdSettings['entra']> & Pick<Partial<EntraIdSettings>, 'acrValues' | 'claims'>

export function entraSettings(idp: Entra, { acrValues = [], claims = [], ...more }: Options = {}): ProviderSettings<'entra-id'> {
  const tenant = more.tenant ?? TENANT
  return {
    type: 'entra-id',
    id: 'entra',
    name: 'Contoso',
    issuer: `${idp.origin}/${tenant}/v2.0`,
    clientId: GATEWAY,
    scopes: ['openid', 'profile', 'email', 'offline_access', 'User.Read'],
    groupsClaim: 'groups',
    offlineAccess: 'scope',
    acrValues,
    claims,
    entra: { authority: idp.origin, graphUrl: idp.origin, tenant, tenants: [tenant], overage: 'delegated', credential: { type: 'secret', secret: GATEWAY_SECRET }, ...more },
  }
}

export interface World {
  readonly cluster: IdentityCluster
  readonly idp: Entra
  /** A node of the gateway with this provider. */
  start(options?: Options): Promise<IdentityNode>
  person(name: string): Person
}

export function eachEntra(name: string, run: (world: World) => Promise<void>): void {
  eachIdentity(name, async (cluster) => {
    const idp = await entra()
    idp.now = cluster.now
    try {
      await run({
        cluster,
        idp,
        start: (options) => cluster.start([entraSettings(idp, options)]),
        person: (login) => idp.tenants.get(TENANT)?.get(login) ?? assert.fail(login),
      })
    } finally {
      await idp.close()
    }
  })
}

/** Signs in as a person. @returns the page that it ends on */
export async function signIn(node: IdentityNode, person = 'alice') {
  const page = await visitor(node).approve(`${ISSUER}/whoami`, { person })
  return { status: page.status, text: page.text }
}

function visitor(node: IdentityNode) {
  return browser({ fetch: (url, init) => (url.startsWith(`${ISSUER}/`) ? node.request(url, init as Parameters<IdentityNode['request']>[1]) : fetch(url, init)) })
}

export async function signedIn(node: IdentityNode, person = 'alice'): Promise<Awaited<ReturnType<typeof whoami>>> {
  const { status, text } = await signIn(node, person)
  assert.equal(status, 200, text)
  return JSON.parse(text)
}
