// The peers that are programs of this folder.
import { startProgram } from '../program.ts'
import { findNginx } from './nginx.ts'
import type { Subject } from './subject.ts'

export interface Upstream extends Subject {
  /** The same server as a protected resource. */
  readonly protectedUrl: string
  /** Asked, it tells all who listen that its tools have changed. */
  readonly newsUrl: string
}

/** The MCP server behind all subjects, which is a subject itself: what a call costs there is in every call. */
export async function startUpstream(): Promise<Upstream> {
  const program = await startProgram<{ readonly url: string; readonly protectedUrl: string; readonly newsUrl: string }>('subjects/upstream.ts')
  return { name: 'direct', pid: program.pid, ...program.facts, close: () => program.stop() }
}

export const UNDICI = 'undici proxy'

export const startUndiciProxy = (upstream: string): Promise<Subject> => peer(UNDICI, 'subjects/undici-proxy.ts', upstream)

export const SDK_GATEWAY = 'SDK gateway'

export const startSdkGateway = (upstream: string): Promise<Subject> => peer(SDK_GATEWAY, 'subjects/sdk-gateway.ts', upstream)

async function peer(name: string, file: string, upstream: string): Promise<Subject> {
  const program = await startProgram(file, [upstream])
  return { name, pid: program.pid, url: program.facts.url, close: () => program.stop() }
}

/** What to say when it is not there. */
export function nginxNotes(): readonly string[] {
  return findNginx() === undefined ? ['nginx is not installed (apt-get install nginx, or NGINX=/path/to/nginx): it was left out'] : []
}
