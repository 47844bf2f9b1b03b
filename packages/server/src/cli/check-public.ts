// Checks what a client sees from outside, through whatever proxy stands at the issuer's address.
import type { Config } from '../config/load.ts'
import { profileSettings, upstreamSettings } from '../config/settings.ts'
import type { Outbound } from '../http/outbound.ts'
import { profiles } from '../upstreams/profiles.ts'
import type { Profile } from '../upstreams/upstream.ts'
import { INITIALIZE, MCP_HEADERS, whyOf } from './check-reach.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

const PROXY = 'see that the proxy passes every path and the Host header on to this gateway unchanged'

export async function checkPublic(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const { issuer } = config
  try {
    await outbound.request(`${issuer}/livez`, { provenance: 'configured' })
  } catch (error) {
    return [warning('public metadata', `${issuer} does not answer: ${whyOf(error)}`, 'start the gateway and its proxy, then check again; what clients see was not checked')]
  }
  const all = profiles(issuer, upstreamSettings(config), profileSettings(config)).all()
  return [await guarded('authorization server', () => checkServer(issuer, outbound)), ...(await Promise.all(all.map((profile) => checkProfile(issuer, profile, outbound))))]
}

/** RFC 8414 §3.3: the issuer in the document is identical to the one that it was asked for. */
async function checkServer(issuer: string, outbound: Outbound): Promise<Finding> {
  const check = 'authorization server'
  const url = `${issuer}/.well-known/oauth-authorization-server`
  const document = await json(outbound, url)
  if (document === undefined) return failed(check, `there is no metadata at ${url}`, PROXY)
  if (document['issuer'] !== issuer) return failed(check, `the metadata at ${url} are of ${text(document['issuer'])}`, 'another gateway answers there, or one with another configuration')
  const jwks = await json(outbound, text(document['jwks_uri']))
  if (!Array.isArray(jwks?.['keys']) || jwks['keys'].length === 0) return failed(check, `there are no keys at ${text(document['jwks_uri'])}`, PROXY)
  return ok(check, `${url} names ${issuer} and ${jwks['keys'].length} keys`)
}

function checkProfile(issuer: string, profile: Profile, outbound: Outbound): Promise<Finding> {
  const check = `endpoint ${new URL(profile.resource).pathname}`
  return guarded(check, async () => {
    const answer = await outbound.request(profile.resource, { method: 'POST', provenance: 'configured', headers: MCP_HEADERS, body: INITIALIZE })
    if (answer.status !== 401) return failed(check, `answers ${answer.status} instead of 401 to a client without a token`, answer.status >= 500 ? 'look at /readyz and at the log of the gateway' : PROXY)
    // RS-2, RFC 9728 §5.1
    const named = /\bresource_metadata="([^"]*)"/i.exec(answer.headers.get('www-authenticate') ?? '')?.[1]
    if (named === undefined) return failed(check, 'its challenge names no resource metadata', 'see that the proxy leaves the header WWW-Authenticate alone')
    const document = await json(outbound, named)
    if (document === undefined) return failed(check, `there are no resource metadata at ${named}`, PROXY)
    // RFC 9728 §3.3: identical to the address that the client was given.
    if (document['resource'] !== profile.resource) return failed(check, `its resource metadata are of ${text(document['resource'])}`, 'another gateway answers there, or one with another configuration')
    const servers: unknown = document['authorization_servers']
    if (!Array.isArray(servers) || !servers.includes(issuer)) return failed(check, 'its resource metadata do not name the issuer as their authorization server', PROXY)
    return ok(check, 'its challenge leads to its resource metadata, and those to the issuer')
  })
}

async function guarded(check: string, run: () => Promise<Finding>): Promise<Finding> {
  try {
    return await run()
  } catch (error) {
    return failed(check, whyOf(error), PROXY)
  }
}

async function json(outbound: Outbound, url: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (!URL.canParse(url)) return undefined
  const answer = await outbound.request(url, { provenance: 'configured' })
  if (answer.status !== 200) return undefined
  try {
    const value: unknown = JSON.parse(answer.body)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : 'nothing'
}
