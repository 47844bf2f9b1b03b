// People in more groups than a token holds: Graph is asked for all of them, and what the token says of where to ask (the
// address of an API that was retired) is not used.
import * as z from 'zod'
import { OutboundError, type Outbound } from '../../http/outbound.ts'
import { LoginRefused, ProviderUnavailable } from '../providers/provider.ts'

/** With the person's own token, where it is one for Graph; else as the app itself. */
export type GraphToken = () => Promise<{ readonly token: string; readonly path: 'me' | `users/${string}` }>

export interface GraphGroups {
  /** @throws LoginRefused, ProviderUnavailable */
  groups(key: string, tokenFor: GraphToken): Promise<readonly string[]>
}

export interface GraphDeps {
  readonly graphUrl: string
  readonly outbound: Pick<Outbound, 'request'>
  readonly now: () => number
}

/** A group that somebody left counts for as long, at most, besides the time between two checks. */
const FRESH_MS = 60_000
const MAX_KNOWN = 10_000
const MAX_BYTES = 256 * 1024
const objects = z.object({ value: z.array(z.string()) })
const failure = z.object({ error: z.object({ code: z.string().regex(/^\w{1,60}$/) }) })

export function graphGroups({ graphUrl, outbound, now }: GraphDeps): GraphGroups {
  const known = new Map<string, { readonly groups: readonly string[]; readonly until: number }>()
  const underWay = new Map<string, Promise<readonly string[]>>()

  const ask = async (key: string, tokenFor: GraphToken): Promise<readonly string[]> => {
    const { token, path } = await tokenFor()
    const groups = await memberships(outbound, `${graphUrl}/v1.0/${path}/getMemberObjects`, token)
    if (known.size >= MAX_KNOWN) known.clear()
    known.set(key, { groups, until: now() + FRESH_MS })
    return groups
  }
  return {
    groups(key, tokenFor) {
      const found = known.get(key)
      if (found !== undefined && found.until > now()) return Promise.resolve(found.groups)
      let work = underWay.get(key)
      if (work === undefined) {
        work = ask(key, tokenFor).finally(() => underWay.delete(key))
        underWay.set(key, work)
      }
      return work
    },
  }
}

async function memberships(outbound: Pick<Outbound, 'request'>, url: string, token: string): Promise<readonly string[]> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json' }
  const { status, body } = await outbound.request(url, { method: 'POST', provenance: 'configured', headers, body: '{"securityEnabledOnly":false}', maxBytes: MAX_BYTES }).catch((error: unknown) => {
    throw error instanceof OutboundError ? new ProviderUnavailable(`Graph does not answer: ${error.reason}`, { cause: error }) : error
  })
  const json = jsonOf(body)
  if (status === 429 || status >= 500) throw new ProviderUnavailable(`Graph answers with an error: ${status}`)
  if (status !== 200) throw new LoginRefused(`Graph says nothing of the groups: ${status} ${failure.safeParse(json).data?.error.code ?? ''}`.trim())
  const { data } = objects.safeParse(json)
  if (data === undefined) throw new ProviderUnavailable('Graph answers with something that is no list of groups')
  return data.value
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
