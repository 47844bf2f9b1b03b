// What clients did and what came of it, and a checker that reads it afterwards, beside what the database says then.
// It is pure: the history is recorded by client.ts.

export type Action = 'exchange' | 'refresh' | 'call' | 'revoke' | 'connect'

/**
 * `refused`: for good (`invalid_grant`, 401). `unavailable`: an answer that asks to come back, or any other error.
 * `unanswered`: the connection broke; what was asked may have happened or not.
 */
export type Outcome = 'done' | 'refused' | 'unavailable' | 'unanswered'

/** One request of one client. Tokens and codes stand here by their hash; times in milliseconds since the epoch. */
export interface Entry {
  readonly action: Action
  readonly client: string
  readonly node: string
  readonly startedAt: number
  readonly endedAt: number
  readonly outcome: Outcome
  /** What the client presented: a code, a refresh token, an access token. */
  readonly presented: string
  /** Of what was issued: the grant, its access token's identifier, its refresh token. */
  readonly grant?: string
  readonly jti?: string
  readonly access?: string
  readonly refresh?: string
}

/** What the database holds at the end. */
export interface FinalState {
  readonly grants: readonly { readonly id: string; readonly revoked: boolean }[]
  readonly refreshTokens: readonly { readonly hash: string; readonly grant: string; readonly used: boolean }[]
  readonly connections: readonly string[]
  readonly audit: readonly { readonly action: string; readonly grant?: string; readonly jti?: string; readonly connection?: string }[]
}

export interface Bounds {
  /** How long after its revocation was acknowledged a token may still be accepted. */
  readonly revocationMs: number
  /** How long a repeated refresh gets the same answer. */
  readonly replayMs: number
}

/** What the history and the database prove to have gone wrong; nothing when all held. */
export function violations(history: readonly Entry[], state: FinalState, bounds: Bounds): readonly string[] {
  return [...revokedTokens(history, bounds), ...severalSuccessors(history, state), ...loggedOut(history, bounds), ...lost(history, state)]
}

/** I1: no token is accepted after its revocation and the bound. */
function revokedTokens(history: readonly Entry[], { revocationMs }: Bounds): readonly string[] {
  const revoked = new Map<string, number>()
  for (const entry of history) if (entry.action === 'revoke' && entry.outcome === 'done' && entry.grant !== undefined) revoked.set(entry.grant, entry.endedAt)
  const late = (entry: Entry): boolean => entry.startedAt > (revoked.get(entry.grant ?? '') ?? Number.POSITIVE_INFINITY) + revocationMs
  return history
    .filter((entry) => entry.outcome === 'done' && entry.action !== 'revoke' && late(entry))
    .map((entry) => `I1: ${entry.node} accepted a ${entry.action} of ${entry.grant} ${entry.startedAt - (revoked.get(entry.grant ?? '') ?? 0)} ms after its revocation`)
}

/** I2: at most one live refresh token per grant, and one successor of each. */
function severalSuccessors(history: readonly Entry[], state: FinalState): readonly string[] {
  const found: string[] = []
  const successors = new Map<string, string>()
  for (const { action, outcome, presented, refresh } of history) {
    if ((action !== 'refresh' && action !== 'exchange') || outcome !== 'done' || refresh === undefined) continue
    const first = successors.get(presented) ?? refresh
    if (first !== refresh) found.push(`I2: ${presented} was answered with ${first} and with ${refresh}`)
    successors.set(presented, first)
  }
  const live = new Map<string, number>()
  for (const { grant, used } of state.refreshTokens) if (!used) live.set(grant, (live.get(grant) ?? 0) + 1)
  for (const [grant, count] of live) if (count > 1) found.push(`I2: grant ${grant} has ${count} live refresh tokens`)
  const minted = new Map<string, number>()
  for (const { action, grant = '' } of state.audit) if (action === 'token.issued') minted.set(grant, (minted.get(grant) ?? 0) + 1)
  for (const [grant, count] of minted) if (count > 1) found.push(`I2: tokens were issued ${count} times for the code of grant ${grant}`)
  return found
}

/** I3: a client whose refresh token was current, or that repeats its request within the window, is not logged out. */
function loggedOut(history: readonly Entry[], { replayMs }: Bounds): readonly string[] {
  const ended = new Set(history.filter(({ action }) => action === 'revoke').map(({ grant }) => grant))
  const firstTry = new Map<string, number>()
  const found: string[] = []
  for (const entry of history) {
    if (entry.action !== 'refresh') continue
    const first = firstTry.get(entry.presented) ?? entry.startedAt
    firstTry.set(entry.presented, first)
    if (entry.outcome !== 'refused' || ended.has(entry.grant)) continue
    if (entry.endedAt - first <= replayMs) found.push(`I3: ${entry.client} was logged out by ${entry.node}, ${entry.endedAt - first} ms after it used its refresh token first`)
  }
  return found
}

/** I4: what was acknowledged is in the database, and its audit event too. */
function lost(history: readonly Entry[], state: FinalState): readonly string[] {
  const jtis = new Set(state.audit.flatMap(({ jti }) => jti ?? []))
  const grants = new Map(state.grants.map((grant) => [grant.id, grant]))
  const refreshTokens = new Set(state.refreshTokens.map(({ hash }) => hash))
  const isRecorded = (action: string, grant: string): boolean => state.audit.some((event) => event.action === action && event.grant === grant)
  const missing = (entry: Entry): string | undefined => {
    const grant = entry.grant ?? ''
    const record = grants.get(grant)
    if (entry.action === 'connect') {
      if (!state.connections.includes(entry.presented)) return 'its connection'
      return state.audit.some((event) => event.action === 'connection.created' && event.connection === entry.presented) ? undefined : 'its audit event'
    }
    if (record === undefined) return 'its grant'
    if (entry.action === 'revoke') return !record.revoked ? 'its revocation' : isRecorded('token.revoked', grant) ? undefined : 'its audit event'
    if (!jtis.has(entry.jti ?? '')) return 'its audit event'
    // A grant that was ended takes its refresh tokens along.
    return record.revoked || refreshTokens.has(entry.refresh ?? '') ? undefined : 'its refresh token'
  }
  return history.flatMap((entry) => {
    const what = entry.outcome === 'done' && entry.action !== 'call' ? missing(entry) : undefined
    return what === undefined ? [] : [`I4: ${entry.node} acknowledged a ${entry.action} of ${entry.client}, and ${what} is not in the database`]
  })
}
