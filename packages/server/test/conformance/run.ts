// The official conformance suite in all of its modes. Whatever is a failure or a warning fails, but for what
// expected-failures.yml argues, and for extensions that Lanyard does not offer.
import { readFileSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { parse } from 'yaml'
import * as z from 'zod'
import { runAuthorization } from './authorization.ts'
import { openHouse, type House } from './house.ts'
import { clientScenarios, runSuite, type Check, type SuiteRun } from './suite.ts'

const ROOT = resolve(import.meta.dirname, '../../../..')
const expectedSchema = z.strictObject({ client: z.array(z.string()).default([]) })
const here = (file: string): string => relative(ROOT, resolve(import.meta.dirname, file))
const EXPECTED = here('expected-failures.yml')
const EXPECTED_BRIDGED = here('expected-failures-bridge.yml')
/** The scenarios that the expected failures are about: the suite judges them by the file. */
const ARGUED = new Set(expectedSchema.parse(parse(readFileSync(resolve(import.meta.dirname, 'expected-failures.yml'), 'utf8'))).client.map((entry) => entry.split(':')[0]))
/** What is argued of servers of 2025 for clients of 2026-07-28, check by check. */
const BRIDGED: ReadonlySet<string> = new Set(z.strictObject({ server: z.array(z.string()) }).parse(parse(readFileSync(resolve(import.meta.dirname, 'expected-failures-bridge.yml'), 'utf8'))).server)
const OWN_DOCUMENT = 'https://lanyard.example/connections/suite/client.json'
const SERVER_REVISIONS = ['2025-11-25', '2026-07-28']
const CLIENT_REVISIONS = ['2025-03-26', '2025-06-18', '2025-11-25', '2026-07-28']
/** Extensions are of no revision. */
const CLIENT_EXTENSIONS = ['auth/client-credentials-basic', 'auth/client-credentials-jwt', 'auth/dpop', 'auth/dpop-nonce', 'auth/enterprise-managed-authorization', 'auth/wif-jwt-bearer']
const TASKS = ['lifecycle', 'capability-negotiation', 'wire-fields', 'request-state-removal', 'mrtr-input', 'request-headers', 'dispatch-and-envelope', 'status-notifications', 'required-task-error', 'mrtr-composition'].map((name) => `tasks-${name}`)
const AT_ONCE = 2
/** Fewer checks than this mean that the suite did not run, not that all is well. */
const LEAST_CHECKS = 50

let passed = 0
let failed = 0

function tell(ok: boolean, name: string, detail = ''): void {
  if (ok) passed += 1
  else failed += 1
  if (!ok) console.log(`  ✗ ${name}${detail === '' ? '' : `: ${detail}`}`)
}

/** Counts the checks of a run, and tells the bad ones. */
function count(name: string, run: SuiteRun, { scored = () => true, argued = false }: { scored?: (scenario: string) => boolean; argued?: boolean } = {}): void {
  const before = failed
  for (const [scenario, checks] of run.scenarios) {
    for (const check of scored(scenario) ? checks : []) {
      if (check.status === 'SUCCESS') tell(true, check.id)
      else if (isBad(check) && !argued) tell(false, `${scenario}:${check.id}`, check.errorMessage ?? check.description)
    }
  }
  if (run.exitCode !== 0 && before === failed) tell(false, name, `exit code ${run.exitCode}\n${run.output.split('\n').slice(-40).join('\n')}`)
}

function isBad({ status }: Check): boolean {
  return status === 'FAILURE' || status === 'WARNING'
}

async function serverMode(name: string, url: string): Promise<void> {
  for (const revision of SERVER_REVISIONS) {
    console.log(`${name}, ${revision}`)
    const before = passed
    // Of the tasks extension another fixture knows.
    count(`${name}, ${revision}`, await runSuite(['server', '--url', url, '--requirements', revision]), { scored: (scenario) => !scenario.startsWith('tasks-') })
    tell(passed - before >= LEAST_CHECKS, `${name}, ${revision}`, `only ${passed - before} checks`)
  }
}

async function throughTheGateway(house: House): Promise<void> {
  await serverMode('the fixture itself', house.fixture.url)
  await serverMode('the fixture through the gateway', house.forwarder.url)
  const calls = house.gateway.events.filter(({ action }) => action === 'call.allowed').length
  tell(calls >= LEAST_CHECKS, 'the gateway recorded the calls', `${calls} of them`)
  const faults = house.gateway.output.filter((line) => line.includes('"level":"error"'))
  tell(faults.length === 0, 'the gateway had no fault', faults.join('\n'))
}

/** The tasks extension, which is of no revision: the fixture alone, so that what fails through the gateway is the gateway's. */
async function tasksExtension({ tasks }: House): Promise<void> {
  for (const [name, url] of [['the tasks fixture itself', tasks.fixture], ['the tasks fixture through the gateway', tasks.forwarder.url]] as const) {
    console.log(name)
    await abreast(TASKS, async (scenario) => {
      const run = await runSuite(['server', '--url', url, '--scenario', scenario, '--spec-version', '2026-07-28', '--force'])
      count(`${name}, ${scenario}`, run)
      tell(run.scenarios.size === 1, `${name}, ${scenario}`, 'nothing was checked')
    })
  }
}

/** Clients of one generation, servers of the other. */
async function acrossGenerations({ bridged }: House): Promise<void> {
  for (const [era, revision] of [['modern', '2025-11-25'], ['legacy', '2026-07-28']] as const) {
    const name = `a client of ${revision} and a ${era} server`
    console.log(name)
    const before = passed
    const run = await runSuite(['server', '--url', bridged[era].url, '--requirements', revision])
    for (const [scenario, checks] of run.scenarios) {
      for (const { id, status, errorMessage, description } of scenario.startsWith('tasks-') ? [] : checks) {
        const argued = era === 'legacy' && BRIDGED.has(`${scenario}:${id}`)
        const bad = status === 'FAILURE' || status === 'WARNING'
        // A line that argues what passes must go.
        if (status === 'SUCCESS' || bad) tell(bad === argued, `${name}, ${scenario}:${id}`, errorMessage ?? description)
      }
    }
    for (const entry of era === 'legacy' ? BRIDGED : []) tell(run.scenarios.get(entry.split(':')[0] ?? '')?.some(({ id }) => entry.endsWith(`:${id}`)) === true, EXPECTED_BRIDGED, `nothing checks ${entry}`)
    tell(passed - before >= LEAST_CHECKS, name, `only ${passed - before} checks`)
  }
}

async function authorizationMode({ gateway, resource }: House): Promise<void> {
  console.log('the authorization server')
  const run = await runAuthorization(gateway.issuer, resource)
  count('the authorization server', run)
  tell(run.scenarios.size === 2, 'both scenarios', `${run.scenarios.size} ran`)
}

async function clientMode(): Promise<void> {
  const ofRevisions = (await Promise.all(CLIENT_REVISIONS.map(async (revision) => (await clientScenarios(revision)).map((scenario) => ({ revision, scenario }))))).flat()
  const runs: readonly { readonly revision?: string; readonly scenario: string }[] = [...ofRevisions, ...CLIENT_EXTENSIONS.map((scenario) => ({ scenario }))]
  console.log(`the upstream client, ${runs.length} scenarios of ${CLIENT_REVISIONS.join(', ')}, and of extensions`)
  tell(runs.length >= 40, 'the scenarios of the client', `only ${runs.length}`)
  for (const scenario of ARGUED) tell(runs.some((run) => run.scenario === scenario), 'expected-failures.yml', `there is no ${scenario}`)
  await abreast(runs, async ({ revision, scenario }) => {
    const argued = ARGUED.has(scenario)
    const run = await runSuite(['client', '--command', `node ${here('upstream-client.ts')}`, '--scenario', scenario, ...(revision === undefined ? [] : ['--spec-version', revision]), ...(argued ? ['--expected-failures', EXPECTED] : [])])
    const name = `${scenario} of ${revision ?? 'the extensions'}`
    count(name, run, { argued })
    tell(run.scenarios.size > 0, name, 'nothing was checked')
    if (scenario === 'auth/basic-cimd') tell(usedDocument(run), name, 'Lanyard did not use its metadata document')
  })
}

/** Each of them, a few at a time. */
async function abreast<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values()
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

function usedDocument({ scenarios }: SuiteRun): boolean {
  const checks = [...scenarios.values()].flat()
  const used = checks.find(({ id }) => id === 'cimd-client-id-used')?.details as { actualClientId?: string } | undefined
  return used?.actualClientId === OWN_DOCUMENT && !checks.some(({ id }) => id === 'client-registration') && checks.some(({ id, status }) => id === 'valid-bearer-token' && status === 'SUCCESS')
}

const house = await openHouse()
try {
  await throughTheGateway(house)
  await acrossGenerations(house)
  await tasksExtension(house)
  await authorizationMode(house)
} finally {
  await house.close()
}
await clientMode()
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
