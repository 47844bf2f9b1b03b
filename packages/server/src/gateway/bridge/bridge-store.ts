/** The session of a 2025 client with an upstream that has none: what 2026-07-28 says in every request is remembered here. */
export interface ClientSession {
  readonly id: string
  readonly userId: string
  readonly upstream: string
  /** What the client said at the beginning, and what the upstream can tell of by itself. */
  readonly opening: Opening
  readonly level?: string
  /** The resources that the client wants to hear of. */
  readonly uris: readonly string[]
}

export interface Opening {
  readonly version: string
  readonly capabilities: Readonly<Record<string, unknown>>
  readonly clientInfo: Readonly<Record<string, unknown>>
  /** What can be listened to: `tools`, `prompts`, `resources` change as lists; `subscribe` to single resources. */
  readonly tells: readonly string[]
}

export interface BridgeStore {
  addSession(session: Omit<ClientSession, 'uris' | 'level'>, expiresAt: number): Promise<void>
  findSession(id: string, now: number): Promise<ClientSession | undefined>
  /** All nodes hear of it. */
  setLevel(id: string, level: string, at: number): Promise<void>
  /** All nodes hear of it. @returns false for one too many */
  subscribe(id: string, uri: string, max: number, at: number): Promise<boolean>
  unsubscribe(id: string, uri: string, at: number): Promise<void>
  endSession(id: string, at: number): Promise<void>
  /** Leaves a note for whichever node waits at this address; all nodes hear of it. */
  post(note: Note, at: number): Promise<void>
  /** Takes what was left there: once, whoever asks. */
  take(address: string): Promise<readonly string[]>
  reap(now: number): Promise<void>
}

export interface Note {
  readonly id: string
  readonly address: string
  readonly body: string
  readonly expiresAt: number
}
