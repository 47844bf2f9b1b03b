// How two nodes meet over one call: what a client says to one of them is for the call that another one holds.
import type { ChangeFeed } from '../../audit/change.ts'
import type { StateSealer } from '../../keys/seal.ts'
import { newId } from '../../oauth/secret.ts'
import type { BridgeStore } from './bridge-store.ts'
import type { Json } from './translate.ts'

export interface Mailbox {
  /** Waits at an address until it is left. */
  wait(address: string, receive: (note: Json) => void): () => void
  /** Tells whoever waits there, on this node or another; nobody may. */
  post(address: string, note: Json): Promise<void>
}

export interface MailboxDeps {
  readonly bridgeStore: Pick<BridgeStore, 'post' | 'take'>
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly state: StateSealer
  readonly now: () => number
}

const PURPOSE = 'mcp bridge note'
/** Whoever waits hears at once, or by polling a second later. */
const KEEP_MS = 60_000
export const NOTE_PREFIX = 'note '

export function mailbox({ bridgeStore, feed, state, now }: MailboxDeps): Mailbox {
  const waiting = new Map<string, (note: Json) => void>()
  feed.subscribe(({ kind, key }) => {
    if (kind !== 'bridge' || !key.startsWith(NOTE_PREFIX)) return
    const address = key.slice(NOTE_PREFIX.length)
    if (waiting.has(address)) void collect(address).catch(() => undefined)
  })
  const collect = async (address: string): Promise<void> => {
    for (const sealed of await bridgeStore.take(address)) {
      // What people answer is for nobody who reads the database.
      const note = state.open(PURPOSE, [address], sealed, now())
      if (typeof note === 'object' && note !== null) waiting.get(address)?.(note as Json)
    }
  }
  return {
    wait(address, receive) {
      waiting.set(address, receive)
      return () => void waiting.delete(address)
    },
    async post(address, note) {
      const receive = waiting.get(address)
      if (receive !== undefined) return receive(note)
      const expiresAt = now() + KEEP_MS
      await bridgeStore.post({ id: newId('note'), address, body: state.seal(PURPOSE, [address], note, expiresAt), expiresAt }, now())
    },
  }
}
