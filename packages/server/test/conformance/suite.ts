// Runs the official suite in a process of its own, and reads what it checked.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { stripVTControlCharacters } from 'node:util'
import * as z from 'zod'

const ROOT = resolve(import.meta.dirname, '../../../..')
const SUITE = join(dirname(createRequire(import.meta.url).resolve('@modelcontextprotocol/conformance/package.json')), 'dist/index.js')
const MAX_MS = 120_000

const checksSchema = z.array(
  z.object({ id: z.string(), status: z.enum(['SUCCESS', 'FAILURE', 'WARNING', 'SKIPPED', 'INFO']), description: z.string(), errorMessage: z.string().optional(), details: z.unknown().optional() }),
)

export type Check = z.output<typeof checksSchema>[number]

export interface SuiteRun {
  readonly exitCode: number | null
  /** What was checked, by scenario. */
  readonly scenarios: ReadonlyMap<string, readonly Check[]>
  readonly output: string
}

/** @param onLine is told each line of standard output as it comes */
export async function runSuite(args: readonly string[], onLine: (line: string) => void = () => undefined): Promise<SuiteRun> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-conformance-'))
  try {
    const { exitCode, output } = await run([...args, '-o', directory], onLine)
    return { exitCode, output, scenarios: await readChecks(directory) }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** The names of the scenarios of a revision: extensions are no part of any. */
export async function clientScenarios(revision: string): Promise<readonly string[]> {
  const { output } = await run(['list', '--client', '--spec-version', revision])
  return [...output.matchAll(/^\s*- (auth\/\S+)/gm)].map(([, name = '']) => name)
}

async function run(args: readonly string[], onLine: (line: string) => void = () => undefined): Promise<Pick<SuiteRun, 'exitCode' | 'output'>> {
  // The program under test is started by its name: with the Node that runs this.
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH'] ?? ''}`, NODE_NO_WARNINGS: '1' }
  const child = spawn(process.execPath, [SUITE, ...args], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: MAX_MS })
  const lines: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(stripVTControlCharacters(line))
      if (stream === child.stdout) onLine(line)
    })
  }
  const exitCode = await new Promise<number | null>((done, failed) => child.once('close', done).once('error', failed))
  return { exitCode, output: lines.join('\n') }
}

/** Each scenario has a folder, named by mode, scenario and time. */
async function readChecks(directory: string): Promise<ReadonlyMap<string, readonly Check[]>> {
  const found = new Map<string, readonly Check[]>()
  for (const file of (await readdir(directory, { recursive: true })).filter((name) => name.endsWith('checks.json'))) {
    const scenario = dirname(file).replace(/^(?:server|authorization)-/, '').replace(/-\d{4}-\d{2}-\d{2}T[\d-]+Z$/, '')
    found.set(scenario, checksSchema.parse(JSON.parse(await readFile(join(directory, file), 'utf8'))))
  }
  return found
}
