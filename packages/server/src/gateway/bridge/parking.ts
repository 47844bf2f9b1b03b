// Calls of 2026-07-28 clients that wait at a 2025 upstream until somebody has answered its question.
import { createHash } from 'node:crypto'
import type { StateSealer } from '../../keys/seal.ts'
import type { Contact } from '../call.ts'
import { NAMED } from '../revisions.ts'
import type { Json } from './translate.ts'

/** Where a parked call is taken up again: what the client carries between two requests, sealed. */
export interface Ticket {
  /** The call; absent where it has to be made again. */
  readonly park?: string
  /** Where it waits. */
  readonly node?: string
  /** Each ticket is for one return. */
  readonly round?: string
  readonly digest: string
}

export interface Parking<Parked> {
  /** Whether one more call of this user may wait. */
  readonly has: (userId: string) => boolean
  /** @param round names the one return that this place is for */
  put(park: string, round: string, userId: string, parked: Parked): void
  /** Takes it out, once; undefined for another round, or when it is not here (any more). */
  take(park: string, round: string): Parked | undefined
  remove(park: string): void
  /** All that wait here. */
  all(): readonly Parked[]
}

export const STATE_PREFIX = 'lanyard-bridge.'
export const PARKED_MS = 300_000
const PURPOSE = 'mcp bridge call'
const MAX_PARKED = 1000
const MAX_PER_USER = 20

export function parking<Parked>(): Parking<Parked> {
  const places = new Map<string, { readonly userId: string; readonly round: string; readonly parked: Parked }>()
  const perUser = new Map<string, number>()
  const remove = (park: string): void => {
    const place = places.get(park)
    if (place === undefined) return
    places.delete(park)
    const left = (perUser.get(place.userId) ?? 1) - 1
    if (left === 0) perUser.delete(place.userId)
    else perUser.set(place.userId, left)
  }
  return {
    has: (userId) => places.size < MAX_PARKED && (perUser.get(userId) ?? 0) < MAX_PER_USER,
    put(park, round, userId, parked) {
      remove(park)
      places.set(park, { userId, round, parked })
      perUser.set(userId, (perUser.get(userId) ?? 0) + 1)
    },
    take(park, round) {
      const place = places.get(park)
      if (place?.round !== round) return undefined
      remove(park)
      return place.parked
    },
    remove,
    all: () => [...places.values()].map(({ parked }) => parked),
  }
}

/** RS-33: bound to who called what, for a while; changed or in other hands, it opens nothing. */
export interface Tickets {
  seal(contact: Contact, message: Json & { readonly method: string }, params: Json, ticket: Omit<Ticket, 'digest'>): string
  /** @returns undefined for what is none, or none for this request of this caller */
  open(contact: Contact, message: Json & { readonly method: string }, params: Json, state: unknown): Ticket | undefined
}

export function tickets(state: StateSealer, now: () => number): Tickets {
  const owner = ({ caller, profile, upstream }: Contact, method: string, params: Json): readonly string[] => {
    const name = NAMED[method] === undefined ? '' : params[NAMED[method]]
    return [caller.user.id, caller.clientId, caller.grantId, profile.id, upstream.id, method, typeof name === 'string' ? name : '']
  }
  return {
    seal: (contact, { method }, params, ticket) => `${STATE_PREFIX}${state.seal(PURPOSE, owner(contact, method, params), { ...ticket, digest: digest(params) }, now() + PARKED_MS)}`,
    open(contact, { method }, params, given) {
      if (typeof given !== 'string' || !given.startsWith(STATE_PREFIX)) return undefined
      const ticket = state.open(PURPOSE, owner(contact, method, params), given.slice(STATE_PREFIX.length), now()) as Ticket | undefined
      return ticket?.digest === digest(params) ? ticket : undefined
    },
  }
}

/** What was asked for: a retry is the same request. Who reports progress where may differ. */
function digest({ _meta, ...params }: Json): string {
  return createHash('sha256').update(JSON.stringify(params)).digest('base64url')
}
