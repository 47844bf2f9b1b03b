// W2: which tools there are, of fifty upstreams with twenty each: asked again, and for the first time.
import { interleave, type Cell } from '../interleave.ts'
import { median } from '../measure.ts'
import type { Budget, Findings, Row } from '../report.ts'
import { startLanyard, type Lanyard } from '../subjects/lanyard.ts'
import { signIn } from '../subjects/lanyard-people.ts'
import { startUndiciProxy, startUpstream, UNDICI, type Upstream } from '../subjects/peers.ts'
import type { Subject } from '../subjects/subject.ts'
import { isLanyard } from './w1.ts'
import { withSubjects, type Circumstances, type Workload } from './workload.ts'

const UPSTREAMS = 50
const TOOLS = { each: 20, shown: 15 }
/** What an upstream of this workload takes to answer. */
const SLOWEST_MS = 20
const PROMISED = { warmMicros: 1500, coldMs: SLOWEST_MS + 20 }

export const w2: Workload = async (circumstances) => {
  const upstream = await startUpstream()
  const origin = new URL(upstream.url).origin
  const wide = Array.from({ length: UPSTREAMS }, (_, index) => `${origin}/wide/${index}/mcp`)
  try {
    const starts = [() => startUndiciProxy(`${origin}/wide/0/mcp`), () => startLanyard({ store: 'sqlite', upstream: upstream.url, accounts: false, rules: 10, wide })]
    return await withSubjects<Subject, Findings>(starts, (subjects) => measure(circumstances, upstream, subjects))
  } finally {
    await upstream.close()
  }
}

async function measure({ load, quick, rounds }: Circumstances, _upstream: Upstream, subjects: readonly Subject[]): Promise<Findings> {
  const cells: Cell[] = []
  for (const subject of subjects) {
    const token = isLanyard(subject) ? { token: (await signIn(subject, 'alice')).accessToken } : {}
    const tools = isLanyard(subject) ? UPSTREAMS * TOOLS.shown : TOOLS.each
    cells.push({ subject, variant: '', job: () => ({ kind: 'list', url: subject.url, ...token, connections: 4, tools }) })
  }
  const plan = { workload: 'W2', rounds, warmUpSeconds: quick ? 0.3 : 4, closedSeconds: quick ? 0.5 : 1.5 }
  const { rows, failures } = await interleave(load, cells, plan, ({ subject }) => subject.name === UNDICI)
  const lanyard = subjects.find(isLanyard)
  const cold = lanyard === undefined ? [] : await firstLists(lanyard, rounds)
  return { rows: [...rows, ...cold], budgets: budgets([...rows, ...cold]), failures, notes: [`W2: ${UPSTREAMS} upstreams with ${TOOLS.each} tools each, of which the caller may use ${TOOLS.shown}; each takes ${SLOWEST_MS} ms to answer. The proxy passes on the list of one of them`] }
}

/** The first list after a start, again and again. */
async function firstLists(lanyard: Lanyard, rounds: number): Promise<Row[]> {
  const { accessToken } = await signIn(lanyard, 'bob')
  const took: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    await lanyard.restart()
    took.push(await timed(lanyard.url, accessToken))
  }
  return [{ workload: 'W2', subject: 'lanyard on SQLite, first list after a start', cpuMicros: null, perSecond: null, p50ms: median(took), p99ms: Math.max(...took), rssMb: null, ratio: null }]
}

async function timed(url: string, token: string): Promise<number> {
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {}, 'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1' } }
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list', authorization: `Bearer ${token}` }
  const startedAt = performance.now()
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: meta } }) })
  const text = await answer.text()
  if (answer.status !== 200) throw new Error(`${answer.status}: ${text.slice(0, 300)}`)
  return performance.now() - startedAt
}

function budgets(rows: readonly Row[]): Budget[] {
  return rows.flatMap(({ subject, cpuMicros, p50ms }): Budget[] => {
    if (!subject.startsWith('lanyard')) return []
    if (cpuMicros !== null) return [{ promise: `${subject}: a list of ${UPSTREAMS * TOOLS.each} tools, filtered, at most ${PROMISED.warmMicros / 1000} ms of processor time`, measured: `${(cpuMicros / 1000).toFixed(2)} ms`, holds: cpuMicros <= PROMISED.warmMicros }]
    return [{ promise: `${subject}: at most ${PROMISED.coldMs} ms, ${SLOWEST_MS} of them its upstreams'`, measured: `${(p50ms ?? 0).toFixed(0)} ms`, holds: (p50ms ?? Infinity) <= PROMISED.coldMs }]
  })
}
