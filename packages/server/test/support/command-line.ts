// Command-line MCP clients, as a person runs them: their own process, their own home, and a browser that they open.
import { spawn } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '../../../..')

export interface Home {
  readonly directory: string
  /** Runs a client of `node_modules/.bin` and gives it lines on standard input, one after the answer to the last. */
  run(command: string, args: readonly string[], input?: readonly string[]): Promise<Output>
  remove(): Promise<void>
}

export interface Output {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Makes an empty home directory whose `xdg-open` and `$BROWSER` are the fake browser. */
export async function makeHome(person = 'alice'): Promise<Home> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-home-'))
  const opener = join(directory, 'xdg-open')
  await writeFile(opener, `#!/bin/sh\nexec "${process.execPath}" "${join(import.meta.dirname, 'fake-browser.ts')}" "$1" >>"${directory}/browser.log" 2>&1\n`)
  await chmod(opener, 0o755)
  const environment = {
    ...process.env,
    HOME: directory,
    XDG_CONFIG_HOME: directory,
    MCP_REMOTE_CONFIG_DIR: join(directory, 'mcp-remote'),
    MCP_INSPECTOR_SECRET_STORE: 'file',
    MCP_AUTO_OPEN_ENABLED: 'true',
    BROWSER: opener,
    PERSON: person,
    PATH: `${directory}:${process.env['PATH'] ?? ''}`,
  }
  return {
    directory,
    run: (command, args, input) => run(join(ROOT, 'node_modules/.bin', command), args, environment, input),
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}

function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv, input: readonly string[] = []): Promise<Output> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [program, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    const pending = [...input]
    let stdout = ''
    let stderr = ''
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
    const next = (): void => {
      // A notification gets no answer: what follows it is sent along.
      for (let line = pending.shift(); line !== undefined; line = pending.shift()) {
        child.stdin.write(`${line}\n`)
        if ((JSON.parse(line) as { id?: unknown }).id !== undefined) return
      }
      child.stdin.end()
      if (input.length > 0) setTimeout(() => child.kill('SIGTERM'), 500)
    }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      if (input.length > 0 && text.includes('"jsonrpc"')) next()
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('exit', (code) => {
      clearTimeout(timer)
      done({ code, stdout, stderr })
    })
    next()
  })
}
