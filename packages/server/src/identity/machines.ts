import type { User } from './user.ts'

/** A client that may stand for itself, as an operator configured it. */
export interface MachineSettings {
  readonly clientId: string
  readonly name: string
  readonly owner?: string
  readonly groups: readonly string[]
  readonly scopes?: readonly string[]
}

/** The clients that are principals of their own. They are configured, so no store is asked for them. */
export interface Machines {
  ofClient(clientId: string): User | undefined
  find(userId: string): User | undefined
}

export const NO_MACHINES: Machines = { ofClient: () => undefined, find: () => undefined }

/** No identity provider has this name. */
const PROVIDER = 'lanyard:clients'
/** RFC 9068 §5: no person's identifier begins like this, whatever a client is called. */
const PREFIX = 'machine:'

/** What a machine client is called where people have their identifiers: in tokens (RFC 9068 §2.2), rules and the audit trail. */
export function machineId(clientId: string): string {
  return `${PREFIX}${encodeURI(clientId.toWellFormed())}`
}

/** @param issuer of the gateway: it vouches for them */
export function machines(issuer: string, settings: readonly MachineSettings[]): Machines {
  const users = settings.map(({ clientId, ...machine }): User => ({ ...machine, kind: 'machine', id: machineId(clientId), provider: PROVIDER, issuer, subject: clientId, disabled: false }))
  const byId = new Map(users.map((user) => [user.id, user]))
  return {
    ofClient: (clientId) => byId.get(machineId(clientId)),
    find: (userId) => (userId.startsWith(PREFIX) ? byId.get(userId) : undefined),
  }
}
