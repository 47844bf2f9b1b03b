// A real nginx with the configuration of the example, on ports of the test's own.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { eventually } from './eventually.ts'

export const EXAMPLE = resolve(import.meta.dirname, '../../../../examples/forward-auth')

const PATHS = [process.env['NGINX'], '/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/bin/nginx', '/opt/homebrew/bin/nginx']
const NGINX = PATHS.find((path) => path !== undefined && existsSync(path))

/** Why tests with nginx cannot run here, or false. @throws Error in continuous integration, where they must. */
export function withoutNginx(): string | false {
  if (NGINX !== undefined) return false
  const reason = 'no nginx: install it, or name one in NGINX'
  if (process.env['CI'] === 'true') throw new Error(reason)
  return reason
}

/**
 * @param ports those that the example's configuration names, and the ones to use instead
 * @param changed what else is to be another text in it
 */
export async function startNginx(ports: Readonly<Record<string, string>>, changed: (text: string) => string = (text) => text): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-nginx-'))
  await mkdir(join(directory, 'temp'))
  for (const file of ['nginx.conf', 'protected.conf']) await writeFile(join(directory, file), changed(withPorts(await readFile(join(EXAMPLE, file), 'utf8'), ports)))
  const child = spawn(NGINX ?? 'nginx', ['-p', directory, '-c', join(directory, 'nginx.conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
  const ended = new Promise<void>((done) => child.once('exit', () => done()))
  const close = async (): Promise<void> => {
    child.kill('SIGTERM')
    await ended
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await eventually('nginx answers', async () => {
      if (child.exitCode !== null) throw new Error(`nginx ended: ${complaint}`)
      return fetch(`http://127.0.0.1:${ports['8090']}/`).then(() => true, () => false)
    })
  } catch (error) {
    await close()
    throw error
  }
  return close
}

export function withPorts(text: string, ports: Readonly<Record<string, string>>): string {
  return text.replace(/\b127\.0\.0\.1:(\d+)/g, (whole, port: string) => (port in ports ? `127.0.0.1:${ports[port]}` : whole))
}
