// Command-line MCP clients, as a person runs them: their own process, their own home, and a browser that they open.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { freePort } from './ports.ts'

const ROOT = resolve(import.meta.dirname, '../../../..')
const BROWSER = join(import.meta.dirname, 'fake-browser.ts')
/** How clients say where a person signs in. */
const SIGN_IN = /(?:visiting|visit|navigate to[^:]*):\s+(?:\[\d+\]\s+)?(http\S+\/(?:authorize|device)\?\S+)\s/

export interface Home {
  readonly directory: string
  /** Where MCP Inspector's programs keep what they are as OAuth clients. */
  readonly clientConfig: string
  /** Runs a client of `node_modules/.bin` and gives it lines on standard input, one after the answer to the last. */
  run(command: string, args: readonly string[], input?: readonly string[]): Promise<Output>
  /** Replaces every access token that a client stored by one that nobody issued. @returns in how many files */
  spoilAccessTokens(): Promise<number>
  remove(): Promise<void>
}

export interface Output {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Makes an empty home directory. No browser opens in it by itself: the address that a client prints is opened for it. */
export async function makeHome(person = 'alice'): Promise<Home> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-home-'))
  const environment = {
    ...process.env,
    HOME: directory,
    XDG_CONFIG_HOME: directory,
    MCP_REMOTE_CONFIG_DIR: join(directory, 'mcp-remote'),
    MCP_INSPECTOR_SECRET_STORE: 'file',
    MCP_AUTO_OPEN_ENABLED: 'true',
    BROWSER: '/bin/true',
    PERSON: person,
    MCP_CLIENT_CONFIG_PATH: join(directory, 'client.json'),
    // MCP Inspector's programs would share one port, and tests run at the same time.
    MCP_OAUTH_CALLBACK_URL: `http://127.0.0.1:${await freePort()}/oauth/callback`,
  }
  return {
    directory,
    clientConfig: join(directory, 'client.json'),
    run: (command, args, input) => run(join(ROOT, 'node_modules/.bin', command), args, environment, input),
    spoilAccessTokens: () => spoilAccessTokens(directory),
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}

function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv, input: readonly string[] = []): Promise<Output> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [program, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    const pending = [...input]
    let stdout = ''
    let stderr = ''
    let opened: string | undefined
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
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
      const url = SIGN_IN.exec(stderr)?.[1]
      if (url === undefined || url === opened) return
      opened = url
      void run(BROWSER, [url], env)
    })
    child.on('exit', (code) => {
      clearTimeout(timer)
      done({ code, stdout, stderr })
    })
    next()
  })
}

async function spoilAccessTokens(directory: string): Promise<number> {
  let files = 0
  for (const name of await readdir(directory, { recursive: true })) {
    const file = join(directory, name)
    if (!(await stat(file)).isFile()) continue
    const text = await readFile(file, 'utf8')
    const spoiled = text.replace(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, 'expired')
    if (spoiled === text) continue
    await writeFile(file, spoiled)
    files += 1
  }
  return files
}
