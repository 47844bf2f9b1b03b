// How the tasks of upstreams are called towards clients. What an upstream calls a task opens it to whoever knows the name,
// where people share an account: so no client ever sees it, also where the upstream is the only one (RS-43).
import { hash } from 'node:crypto'
import type { StateSealer } from '../../keys/seal.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import { unreadable } from '../answers.ts'
import type { CallPolicy } from '../call-policy.ts'
import type { Visit } from '../call.ts'
import type { Permissions } from '../permit.ts'
import type { Revision } from '../revisions.ts'
import type { NamedTask, TaskStore } from './task-store.ts'

/** Who may name a task: the person and application that began it, where they began it, in the words that they began it in. */
export type Owner = Pick<Visit, 'caller' | 'profile'> & { readonly revision: Pick<Revision, 'era'> }

export interface Task {
  readonly upstream: Upstream
  /** The upstream's own name for it. */
  readonly own: string
  /** The tool that began it, where that is known. */
  readonly tool?: string
}

export interface TaskNames {
  /**
   * Names a task that begins. Of 2025, where clients are told of tasks without having asked, all nodes know it.
   *
   * @param ttl milliseconds that the upstream keeps it for, as it says
   * @throws McpError 502 for what is no name
   */
  name(owner: Owner, task: Omit<Task, 'own'> & { readonly own: unknown }, ttl: unknown): string | Promise<string>
  /** @returns undefined for one that was changed, is somebody else's, has expired, or is of no upstream of the profile */
  open(owner: Owner, name: unknown): Task | undefined
  /** Looks up what the client calls these tasks, where this node does not know. @returns undefined when there is nothing to look up */
  learn(owner: Owner, upstream: Pick<Upstream, 'id'>, owns: readonly unknown[]): Promise<void> | undefined
  /** What the client calls a task, as far as this node knows. */
  known(owner: Owner, upstream: Pick<Upstream, 'id'>, own: unknown): string | undefined
}

export interface TaskDeps {
  readonly tasks: TaskNames
  readonly policy: CallPolicy
}

const PURPOSE = 'mcp task'
/** An upstream may keep a task for longer than it says. */
const SHORTEST_MS = 3600_000
const LONGEST_MS = 30 * 24 * 3600_000
/** Bytes of it, printed as JSON: with the name of the tool, a header can carry what is sealed of it. */
const MAX_OWN = 1024
const MAX_NAME = 4096
const MAX_KNOWN = 20_000

export interface TaskNameDeps {
  readonly state: StateSealer
  readonly taskStore: TaskStore
  readonly now: () => number
}

export function taskNames({ state, taskStore, now }: TaskNameDeps): TaskNames {
  const known = new Map<string, string>()
  const learn = (key: string, name: string): void => {
    known.delete(key)
    known.set(key, name)
    const [oldest] = known.keys()
    if (known.size > MAX_KNOWN && oldest !== undefined) known.delete(oldest)
  }
  /** Names on their way into the store: what is told of such a task waits for it. */
  const pending = new Map<string, Promise<string>>()
  const keep = async (key: string, task: NamedTask): Promise<string> => {
    const standing = await taskStore.add(task, now())
    learn(key, standing)
    return standing
  }
  const find = async (owner: Owner, upstream: Pick<Upstream, 'id'>, byHash: ReadonlyMap<string, string>): Promise<void> => {
    await Promise.allSettled([...byHash.values()].flatMap((own) => pending.get(keyOf(owner, upstream, own)) ?? []))
    const found = await taskStore.find(ownerOf(owner, upstream), [...byHash.keys()], now())
    for (const [hashed, name] of found) learn(keyOf(owner, upstream, byHash.get(hashed) ?? ''), name)
  }
  const open: TaskNames['open'] = (owner, name) => {
    const opened = typeof name === 'string' && name.length <= MAX_NAME ? state.open(PURPOSE, contextOf(owner), name, now()) : undefined
    if (opened === undefined) return undefined
    // What was sealed here has this form.
    const [id, own, tool] = opened as [string, string, string | null]
    const upstream = owner.profile.upstreams.find((each) => each.id === id)
    if (upstream === undefined) return undefined
    learn(keyOf(owner, upstream, own), String(name))
    return { upstream, own, ...(tool === null ? {} : { tool }) }
  }
  return {
    open,
    name(owner, { upstream, own, tool }, ttl) {
      if (typeof own !== 'string' || own === '' || Buffer.byteLength(JSON.stringify(own)) > MAX_OWN) throw unreadable(upstream, 'task identifier')
      const key = keyOf(owner, upstream, own)
      const before = known.get(key)
      const standing = before === undefined ? undefined : open(owner, before)
      if (before !== undefined && standing !== undefined && (tool ?? standing.tool) === standing.tool) return before
      const lifetime = typeof ttl === 'number' ? Math.min(Math.max(ttl, SHORTEST_MS), LONGEST_MS) : LONGEST_MS
      const name = state.seal(PURPOSE, contextOf(owner), [upstream.id, own, tool ?? null], now() + lifetime)
      if (owner.revision.era === 'modern') {
        learn(key, name)
        return name
      }
      const naming = keep(key, { owner: ownerOf(owner, upstream), own: hashOf(own), name, expiresAt: now() + lifetime }).finally(() => pending.delete(key))
      pending.set(key, naming)
      return naming
    },
    learn(owner, upstream, owns) {
      const unknown = owns.filter((own) => typeof own === 'string' && !known.has(keyOf(owner, upstream, own))).map(String)
      if (owner.revision.era === 'modern' || unknown.length === 0) return undefined
      return find(owner, upstream, new Map(unknown.map((own) => [hashOf(own), own])))
    },
    known: (owner, upstream, own) => (typeof own === 'string' ? known.get(keyOf(owner, upstream, own)) : undefined),
  }
}

/** Whoever may use the tool that began a task may hear of it; the call itself was approved, where that was needed. */
export function mayHear(permitted: Permissions, { tool }: Pick<Task, 'tool'>): boolean {
  const decision = tool === undefined ? permitted.everything() : permitted.tool(tool)
  return decision.allow || decision.effect === 'approval'
}

function contextOf({ caller, profile, revision }: Owner): readonly string[] {
  return [caller.user.id, caller.clientId, profile.id, revision.era]
}

function ownerOf(owner: Owner, { id }: Pick<Upstream, 'id'>): string {
  return hashOf(JSON.stringify([...contextOf(owner), id]))
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url')
}

function keyOf(owner: Owner, { id }: Pick<Upstream, 'id'>, own: string): string {
  return JSON.stringify([...contextOf(owner), id, own])
}
