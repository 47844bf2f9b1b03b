// W4: tokens: a code exchanged, a refresh token rotated, a token introspected, or exchanged for another (RFC 8693), an
// ID-JAG for a token; everything durable before the answer.
import type { ChildProcess } from 'node:child_process'
import { interleave, type Cell } from '../interleave.ts'
import type { Secret, TokenJob } from '../load/job.ts'
import { startProgram } from '../program.ts'
import type { Budget, Findings, Row } from '../report.ts'
import { startDatabase } from '../subjects/database.ts'
import { startAssertions, type Assertions } from '../subjects/assertions.ts'
import { AGENT, RESOURCE_SERVER, startLanyard, type Lanyard } from '../subjects/lanyard.ts'
import { mintCodes, signIn, type Person } from '../subjects/lanyard-people.ts'
import type { OidcFacts } from '../subjects/oidc-provider.ts'
import { startUpstream } from '../subjects/peers.ts'
import type { Subject } from '../subjects/subject.ts'
import { withSubjects, type Circumstances, type Workload } from './workload.ts'

const CONNECTIONS = 16
const REDIRECT_URI = 'http://127.0.0.1:53682/callback'
const PEER = 'oidc-provider on PostgreSQL'

/** A subject that has tokens to give. */
interface TokenSubject extends Subject {
  /** Codes that are ready to be exchanged. */
  mint(count: number, format: 'jwt' | 'opaque'): Promise<readonly Secret[]>
  readonly clientId: string
  readonly resourceServer: { readonly id: string; readonly secret: string }
  readonly tokenUrl: string
  readonly introspectionUrl: string
  /** What a token is exchanged for, where it can be. */
  readonly exchange?: Readonly<Record<string, string>>
  /** ID-JAGs that it takes. */
  readonly assertions?: (count: number) => readonly Secret[]
}

export const w4: Workload = async (circumstances) => {
  const upstream = await startUpstream()
  const assertions = await startAssertions()
  try {
    const starts = [
      async () => lanyardSubject(await startLanyard({ store: 'sqlite', upstream: upstream.protectedUrl, assertions }), assertions),
      async () => lanyardSubject(await startLanyard({ store: 'postgres', upstream: upstream.protectedUrl, assertions }), assertions),
      startPeer,
    ]
    return await withSubjects<TokenSubject, Findings>(starts, (subjects) => measure(circumstances, subjects))
  } finally {
    await assertions.close()
    await upstream.close()
  }
}

async function lanyardSubject(lanyard: Lanyard, assertions: Assertions): Promise<TokenSubject> {
  const person: Person = await signIn(lanyard, 'alice').catch(async (error: unknown) => {
    await lanyard.close()
    throw error
  })
  return {
    ...lanyard,
    pid: lanyard.pid,
    mint: (count) => mintCodes(lanyard, person, count),
    clientId: person.clientId,
    resourceServer: RESOURCE_SERVER,
    tokenUrl: `${lanyard.issuer}/token`,
    introspectionUrl: `${lanyard.issuer}/introspect`,
    assertions: (count) => assertions.mint(lanyard, count),
    exchange: { client_id: AGENT.id, client_secret: AGENT.secret, resource: `${lanyard.issuer}/mcp`, scope: 'mcp.read' },
  }
}

async function startPeer(): Promise<TokenSubject> {
  const database = await startDatabase()
  const program = await startProgram<OidcFacts>('subjects/oidc-provider.ts', [database.url])
  const { url } = program.facts
  return {
    name: PEER,
    url,
    pid: program.pid,
    ...(database.pid === undefined ? {} : { databasePid: database.pid }),
    mint: (count, format) => ask(program.child, { mint: count, format }),
    clientId: 'app',
    resourceServer: { id: 'resource-server', secret: 'secret-of-the-resource-server' },
    tokenUrl: `${url}/token`,
    introspectionUrl: `${url}/token/introspection`,
    async close() {
      await program.stop()
      await database.close()
    },
  }
}

function ask(child: ChildProcess, order: object): Promise<readonly Secret[]> {
  return new Promise((resolve) => {
    child.once('message', (message: { readonly codes: readonly Secret[] }) => resolve(message.codes))
    child.send(order)
  })
}

async function measure({ load, rounds, quick }: Circumstances, subjects: readonly TokenSubject[]): Promise<Findings> {
  const common = { workload: 'W4', rounds, warmUpSeconds: quick ? 0.3 : 1.5 }
  const isFloor = ({ subject }: Cell): boolean => subject.name === PEER
  const tokens = await interleave(load, [...subjects.map(refreshCell), ...subjects.map(introspectCell), ...subjects.flatMap(exchangeCell)], { ...common, closedSeconds: quick ? 0.5 : 1, openSeconds: quick ? 0.5 : 0.8 }, isFloor)
  // As long as there are codes.
  const codes = await interleave(load, [...subjects.map((subject) => codeCell(subject, quick ? 100 : 400)), ...subjects.flatMap((subject) => assertionCell(subject, quick ? 100 : 800))], { ...common, closedSeconds: 20 }, isFloor)
  const rows = [...tokens.rows, ...codes.rows]
  return { rows, budgets: budgets(rows), failures: [...tokens.failures, ...codes.failures], notes: ['code exchange and ID-JAG: p50 and p99 are those under full load, as codes and assertions are used up'] }
}

function refreshCell(subject: TokenSubject): Cell {
  return {
    subject,
    variant: 'refresh with rotation',
    job: async () => ({
      kind: 'refresh',
      url: subject.tokenUrl,
      connections: CONNECTIONS,
      form: { grant_type: 'refresh_token', client_id: subject.clientId },
      secrets: (await exchanged(subject, CONNECTIONS, 'jwt')).map(({ refreshToken }) => ({ value: refreshToken })),
    }),
  }
}

function introspectCell(subject: TokenSubject): Cell {
  const { id, secret } = subject.resourceServer
  return {
    subject,
    variant: 'introspection',
    job: async () => ({
      kind: 'introspect',
      url: subject.introspectionUrl,
      connections: CONNECTIONS,
      form: { client_id: id, client_secret: secret },
      // oidc-provider knows its opaque tokens alone.
      secrets: (await exchanged(subject, CONNECTIONS, 'opaque')).map(({ accessToken }) => ({ value: accessToken })),
    }),
  }
}

function exchangeCell(subject: TokenSubject): readonly Cell[] {
  const { exchange } = subject
  if (exchange === undefined) return []
  const form = { grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange', subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', ...exchange }
  const job = async (): Promise<TokenJob> => ({ kind: 'exchange', url: subject.tokenUrl, connections: CONNECTIONS, form, secrets: (await exchanged(subject, CONNECTIONS, 'jwt')).map(({ accessToken }) => ({ value: accessToken })) })
  return [{ subject, variant: 'token exchange', job }]
}

function codeCell(subject: TokenSubject, count: number): Cell {
  return {
    subject,
    variant: 'code exchange',
    renew: true,
    job: async (): Promise<TokenJob> => ({ kind: 'code', url: subject.tokenUrl, connections: CONNECTIONS, form: codeForm(subject), secrets: await subject.mint(count, 'jwt') }),
  }
}

function assertionCell(subject: TokenSubject, count: number): readonly Cell[] {
  const { assertions } = subject
  if (assertions === undefined) return []
  const form = { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', client_id: AGENT.id, client_secret: AGENT.secret }
  return [{ subject, variant: 'ID-JAG', renew: true, job: (): TokenJob => ({ kind: 'assertion', url: subject.tokenUrl, connections: CONNECTIONS, form, secrets: assertions(count) }) }]
}

function codeForm({ clientId }: TokenSubject): Record<string, string> {
  return { grant_type: 'authorization_code', client_id: clientId, redirect_uri: REDIRECT_URI }
}

async function exchanged(subject: TokenSubject, count: number, format: 'jwt' | 'opaque'): Promise<{ accessToken: string; refreshToken: string }[]> {
  const codes = await subject.mint(count, format)
  return Promise.all(
    codes.map(async ({ value, verifier }) => {
      const response = await fetch(subject.tokenUrl, { method: 'POST', body: new URLSearchParams({ ...codeForm(subject), code: value, code_verifier: verifier ?? '' }) })
      const answer = (await response.json()) as { access_token?: string; refresh_token?: string }
      if (answer.access_token === undefined || answer.refresh_token === undefined) throw new Error(`${subject.name}: ${response.status} ${JSON.stringify(answer)}`)
      return { accessToken: answer.access_token, refreshToken: answer.refresh_token }
    }),
  )
}

function budgets(rows: readonly Row[]): Budget[] {
  const rateOf = (variant: string): Row | undefined => rows.find(({ subject }) => subject === `lanyard on PostgreSQL, ${variant}`)
  const rate = (variant: string, least: number): Budget[] => {
    const perSecond = rateOf(variant)?.perSecond
    return typeof perSecond === 'number' ? [{ promise: `${variant} at least ${least.toLocaleString('en')}/s with PostgreSQL and fsync`, measured: `${Math.round(perSecond)}/s`, holds: perSecond >= least }] : []
  }
  const p99 = rateOf('refresh with rotation')?.p99ms
  return [
    ...rate('refresh with rotation', 2000),
    ...(typeof p99 === 'number' ? [{ promise: 'refresh with rotation p99 at half load at most 20 ms', measured: `${p99.toFixed(1)} ms`, holds: p99 <= 20 }] : []),
    ...rate('token exchange', 1500),
    ...rate('ID-JAG', 1500),
    ...rate('introspection', 6000),
  ]
}
