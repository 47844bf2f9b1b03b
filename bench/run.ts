// npm run bench -- [W1 W2 W3 W4 W5 W9 W12] [--json] [--quick] [--soak]
import { availableParallelism, cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { startLoad } from './load/load.ts'
import { requireAccounting } from './measure.ts'
import { rounded, summary, table, type Findings } from './report.ts'
import { w1 } from './workloads/w1.ts'
import { w12 } from './workloads/w12.ts'
import { w2 } from './workloads/w2.ts'
import { w3 } from './workloads/w3.ts'
import { w4 } from './workloads/w4.ts'
import { w5 } from './workloads/w5.ts'
import { w9 } from './workloads/w9.ts'
import type { Workload } from './workloads/workload.ts'

const WORKLOADS: Readonly<Record<string, Workload>> = { W1: w1, W2: w2, W3: w3, W4: w4, W5: w5, W9: w9, W12: w12 }
const ROUNDS = 5

const USAGE = `npm run bench -- [WORKLOAD ...] [--json] [--quick] [--soak]

  WORKLOAD   ${Object.keys(WORKLOADS).join(', ')}; all of them when none is named
  --json     one object per line and subject on standard output
  --quick    one short round: everything runs, nothing is precise
  --soak     W1: a million calls more, to see what becomes of memory
`

/** Progress and warnings: never among the results. */
function say(line: string): void {
  console.error(line)
}

function warnWhenBusy(when: string): void {
  const [load = 0] = loadavg()
  say(`load average ${when}: ${loadavg().map((value) => value.toFixed(2)).join(' ')} on ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Node.js ${process.versions.node}`)
  if (load > availableParallelism() / 4) say('WARNING: the machine is busy. Processor time per operation still means something; rates and latencies do not.')
}

function show(name: string, findings: Findings, json: boolean): void {
  if (json) {
    for (const row of findings.rows) console.log(JSON.stringify(rounded(row)))
  } else {
    console.log(`\n${name}\n${table(findings.rows)}`)
  }
  for (const note of findings.notes) say(`note: ${note}`)
  for (const failure of findings.failures) say(`FAILED: ${failure}`)
}

async function run(names: readonly string[], options: { readonly json: boolean; readonly quick: boolean; readonly soak: boolean }): Promise<number> {
  requireAccounting()
  warnWhenBusy('before')
  const load = await startLoad()
  const all: Findings[] = []
  try {
    for (const name of names) {
      say(`${name} ...`)
      const findings = await WORKLOADS[name]?.({ load, rounds: options.quick ? 1 : ROUNDS, quick: options.quick, soak: options.soak, say }).catch(failed(name))
      if (findings === undefined) continue
      all.push(findings)
      show(name, findings, options.json)
    }
  } finally {
    await load.stop()
  }
  warnWhenBusy('after')
  const failures = all.flatMap((findings) => findings.failures)
  const verdict = summary(all.flatMap(({ budgets }) => budgets))
  const line = `${failures.length === 0 ? 'Every subject gave right answers.' : `${failures.length} subjects FAILED.`} ${options.quick ? 'This was a smoke test: its numbers mean nothing.' : ''}`
  ;(options.json ? say : console.log)(`\n${verdict}\n${line.trim()}`)
  return failures.length === 0 ? 0 : 1
}

/** A workload that does not even start is a failure like any other. */
function failed(name: string): (error: unknown) => Findings {
  return (error) => ({ rows: [], budgets: [], notes: [], failures: [`${name}: ${error instanceof Error ? (error.stack ?? error.message) : 'failed'}`] })
}

function parse(): ReturnType<typeof parseArgs<{ options: { json: { type: 'boolean' }; quick: { type: 'boolean' }; soak: { type: 'boolean' }; help: { type: 'boolean' } }; allowPositionals: true }>> | undefined {
  try {
    return parseArgs({ options: { json: { type: 'boolean' }, quick: { type: 'boolean' }, soak: { type: 'boolean' }, help: { type: 'boolean' } }, allowPositionals: true })
  } catch {
    return undefined
  }
}

const parsed = parse()
const unknown = parsed?.positionals.filter((name) => !(name.toUpperCase() in WORKLOADS)) ?? []
if (parsed === undefined || unknown.length > 0 || parsed.values.help === true) {
  say(USAGE)
  process.exitCode = parsed?.values.help === true ? 0 : 2
} else {
  const names = parsed.positionals.length === 0 ? Object.keys(WORKLOADS) : parsed.positionals.map((name) => name.toUpperCase())
  const { json = false, quick = false, soak = false } = parsed.values
  process.exitCode = await run(names, { json, quick, soak })
}
