import type { Store } from './open.ts'

/** Why a node should get no requests now; undefined when it should. */
export async function unready(store: Pick<Store, 'ping' | 'feed'>): Promise<string | undefined> {
  try {
    await store.ping()
  } catch {
    return 'the store does not answer'
  }
  return store.feed.fresh ? undefined : 'this node has not heard of revocations for a while'
}
