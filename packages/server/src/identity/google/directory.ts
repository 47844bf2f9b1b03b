import * as z from 'zod'
import type { OutboundResponse } from '../../http/outbound.ts'
import { answered, GoogleRefused, GoogleUnavailable } from './errors.ts'
import { jsonOf, type GoogleDeps, type GoogleToken, type ServiceAccount } from './service-account.ts'

export const GROUPS_SCOPE = 'https://www.googleapis.com/auth/admin.directory.group.readonly'

/** The Directory API's most. */
const PAGE = 200
/** A part of them would leave out the one that a rule denies. */
const MAX_PAGES = 10
const MAX_GROUP_LENGTH = 256
const FRESH_MS = 5 * 60_000
const MAX_KEPT = 20_000
const MAX_BYTES = 2 * 1024 * 1024

const listing = z.object({ groups: z.array(z.object({ email: z.string() })).default([]), nextPageToken: z.string().max(4096).optional() })

export interface DirectorySettings {
  readonly url: string
  /** The administrator in whose name it asks; the service account itself, which then needs a role, when absent. */
  readonly administrator?: string
}

/** Which groups people are in: Google's ID tokens say nothing of it. */
export interface Directory {
  /**
   * The addresses of the groups that a person is a direct member of, at most five minutes old.
   * @param userKey the person's identifier, which stays theirs when their address changes
   * @throws GoogleRefused, GoogleUnavailable
   */
  groups(userKey: string): Promise<readonly string[]>
}

interface Kept {
  readonly groups: readonly string[]
  readonly at: number
}

export function directory({ url, administrator }: DirectorySettings, account: ServiceAccount, { outbound, now }: GoogleDeps): Directory {
  const kept = new Map<string, Kept>()
  const underWay = new Map<string, Promise<readonly string[]>>()
  const ask = (token: GoogleToken, userKey: string, from: string): Promise<OutboundResponse> => {
    const asked = new URL(`${url}/admin/directory/v1/groups`)
    asked.search = new URLSearchParams({ userKey, maxResults: String(PAGE), ...(from === '' ? {} : { pageToken: from }) }).toString()
    return answered(outbound.request(asked, { provenance: 'configured', maxBytes: MAX_BYTES, headers: { authorization: `Bearer ${token.accessToken}` } }))
  }
  const page = async (userKey: string, from: string): Promise<z.output<typeof listing>> => {
    const token = await account.token([GROUPS_SCOPE], administrator)
    let answer = await ask(token, userKey, from)
    if (answer.status === 401) {
      // It ended before its time: whoever delegated it took that back.
      account.refused(token)
      answer = await ask(await account.token([GROUPS_SCOPE], administrator), userKey, from)
    }
    if (answer.status === 404) throw new GoogleRefused('unknown_user')
    if (answer.status !== 200) throw new GoogleRefused(answer.status === 403 ? 'no_role' : 'refused', String(answer.status))
    const parsed = listing.safeParse(jsonOf(answer.body)).data
    if (parsed === undefined) throw new GoogleUnavailable('the Directory API answers with something else')
    return parsed
  }
  const fetchAll = async (userKey: string): Promise<readonly string[]> => {
    const groups = new Set<string>()
    let from = ''
    for (let pages = 0; pages < MAX_PAGES; pages += 1) {
      const { groups: found, nextPageToken } = await page(userKey, from)
      for (const { email } of found) if (email !== '' && email.length <= MAX_GROUP_LENGTH) groups.add(email.toLowerCase())
      if (nextPageToken === undefined || nextPageToken === '') return keep(userKey, [...groups])
      from = nextPageToken
    }
    throw new GoogleRefused('too_many_groups')
  }
  const keep = (userKey: string, groups: readonly string[]): readonly string[] => {
    kept.delete(userKey)
    kept.set(userKey, { groups, at: now() })
    const [oldest] = kept.keys()
    if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest)
    return groups
  }
  return {
    groups(userKey) {
      const known = kept.get(userKey)
      if (known !== undefined && now() - known.at < FRESH_MS) return Promise.resolve(known.groups)
      let work = underWay.get(userKey)
      if (work === undefined) {
        work = fetchAll(userKey).finally(() => underWay.delete(userKey))
        underWay.set(userKey, work)
      }
      return work
    },
  }
}
