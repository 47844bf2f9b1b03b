import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { complaintsOf, stop, untilAnswers } from '../program.ts'
import { freePort } from '../../packages/server/test/support/ports.ts'
import type { Subject } from './subject.ts'

const STDIO_SERVER = join(import.meta.dirname, 'stdio-echo.ts')

/** Starts supergateway in front of a standard-input server, which is what it is for: one child per session, counted with it. */
export async function startSupergateway(): Promise<Subject> {
  const port = await freePort()
  const child = spawn(process.execPath, [program(), '--stdio', `"${process.execPath}" "${STDIO_SERVER}"`, '--outputTransport', 'streamableHttp', '--stateful', '--port', String(port), '--logLevel', 'none', '--healthEndpoint', '/ready'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const complaint = complaintsOf(child)
  await untilAnswers(`http://127.0.0.1:${port}/ready`, child).catch(async (error: unknown) => {
    await stop(child)
    throw new Error(`supergateway did not start: ${complaint()}`, { cause: error })
  })
  return { name: 'supergateway', url: `http://127.0.0.1:${port}/mcp`, pid: child.pid ?? 0, close: () => stop(child) }
}

function program(): string {
  const require = createRequire(import.meta.url)
  const manifest = require.resolve('supergateway/package.json')
  const { bin } = require(manifest) as { readonly bin: string | Readonly<Record<string, string>> }
  return join(dirname(manifest), typeof bin === 'string' ? bin : (bin['supergateway'] ?? ''))
}
