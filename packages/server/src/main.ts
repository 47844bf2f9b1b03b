// Owns the process: opens what the rooms need, listens, keeps house, and ends everything in order. Start-up asks no
// identity provider and no upstream for anything.
import { setFlagsFromString } from 'node:v8'
import { app, type App } from './app.ts'
import { jsonLines } from './audit/json-lines.ts'
import type { Config } from './config/load.ts'
import { isFederated } from './config/entra-settings.ts'
import { makesAssertions } from './config/id-jag-settings.ts'
import { keyOverlapMs, upstreamSettings } from './config/settings.ts'
import { apiCatalogue, type ApiCatalogue } from './gateway/openapi/catalogue.ts'
import { DocumentError } from './gateway/openapi/document.ts'
import { outbound } from './http/outbound.ts'
import type { RouterSettings } from './http/router.ts'
import { listen, type RunningServer } from './http/server.ts'
import { KeySourceError, readKeySource, type EncryptionKey } from './keys/key-source.ts'
import { SealError, sealer, stateSealer, type Sealer } from './keys/seal.ts'
import { keyRing, openKeyRing, type KeyRing } from './keys/signing.ts'
import { livePolicy } from './policy/live-policy.ts'
import type { AuditSink } from './store/audit-log.ts'
import { keyStore, type KeyKind } from './store/keys.ts'
import { openStore, StoreError, type Store } from './store/open.ts'
import type { StoreParts } from './store/parts.ts'
import { profileStore } from './store/profiles.ts'
import { ruleStore } from './store/rules.ts'
import { storedProfiles } from './upstreams/stored-profiles.ts'

const DAY_MS = 24 * 3600_000
const DRAIN_MS = 25_000
const MAINTENANCE_MS = 5 * 60_000
const REVOCATION_MS = 30_000
const NOTICES_MS = 2_000

export interface StartOptions {
  /** Where audit events go besides the store: JSON lines on standard output when absent. */
  readonly sink?: AuditSink
}

export interface Running {
  /** Where this node listens, which is not where people reach it. */
  readonly address: string
  /** Lets requests end for a while, then ends everything. */
  readonly close: () => Promise<void>
}

/** The gateway cannot start: the message says why and what to do next. */
export class StartError extends Error {
  override readonly name = 'StartError'
  /** Whether the configuration is to be mended, rather than what surrounds the gateway. */
  readonly isConfiguration: boolean
  constructor(message: string, isConfiguration: boolean, cause: unknown) {
    super(message, { cause })
    this.isConfiguration = isConfiguration
  }
}

/** Starts one node. @throws StartError */
export async function start(config: Config, options: StartOptions = {}): Promise<Running> {
  const opened = new AsyncDisposableStack()
  try {
    const encryption = encryptionKeys(config, config.generateKeyEncryptionKey)
    const secrets = sealer(encryption)
    const store = await open(config, options.sink ?? jsonLines())
    opened.defer(() => store.close())
    const keys = await signingKeys(config, store, secrets)
    const assertionKeys = makesAssertions(config) ? await signingKeys(config, store, secrets, 'assertion') : undefined
    const federationKeys = isFederated(config) ? await signingKeys(config, store, secrets, 'federation') : undefined
    // Addresses that others name may be loopback only where the gateway itself is.
    const sender = outbound({ allow: config.outbound.allow, discoveredLoopback: config.issuer.startsWith('http:') })
    opened.defer(() => sender.close())
    const apis = apiCatalogue({ outbound: sender, now: Date.now })
    await readDocuments(config, apis)
    const stored = await storedProfiles(profileStore(store), store.feed)
    const rules = await livePolicy({ declared: config.rules, store: ruleStore(store), feed: store.feed, upstreams: config.upstreams.map(({ id }) => id), log })
    const gateway = app({ config, store, storedProfiles: stored, apis, policy: rules, keys, ...(assertionKeys && { assertionKeys }), ...(federationKeys && { federationKeys }), sealer: secrets, state: stateSealer(encryption), outbound: sender, log, now: Date.now })
    const server = await listenOn(config, gateway)
    opened.defer(() => server.close(DRAIN_MS))
    // Streams without an end would keep the server from ending.
    opened.defer(() => gateway.close())
    // Nobody waits for them but whoever needs them.
    const made = federationKeys?.begin().catch((error: unknown) => logFailure('making of the keys for Entra ID', error))
    opened.defer(() => made)
    opened.defer(every(MAINTENANCE_MS, 'maintenance', () => gateway.maintain()))
    opened.defer(every(REVOCATION_MS, 'revocation at providers', () => gateway.revokeDue()))
    opened.defer(every(NOTICES_MS, 'sending of notices', () => gateway.sendNotices()))
    // What was loaded at start has made no young generation of it (bin/lanyard.js); what is busy from here on may.
    setFlagsFromString('--semi-space-growth-factor=2')
    return { address: server.address, close: () => opened.disposeAsync() }
  } catch (error) {
    await opened.disposeAsync()
    throw error
  }
}

/** Reads the key-encryption keys that the configuration names. @throws StartError */
export function encryptionKeys(config: Config, generate: boolean): readonly EncryptionKey[] {
  try {
    return readKeySource(config.keyEncryption, generate)
  } catch (error) {
    if (error instanceof KeySourceError) throw new StartError(`keyEncryption: ${error.message}`, true, error)
    throw error
  }
}

async function open(config: Config, sink: AuditSink): Promise<Store> {
  try {
    return await openStore(config.store, { sink, now: Date.now, maxTokenLifetimeMs: config.tokens.accessTokenSeconds * 1000 })
  } catch (error) {
    if (error instanceof StoreError) throw new StartError(error.message, false, error)
    throw error
  }
}

/** Opens the signing keys, and makes the first ones, but for RSA keys: they take their time, and start-up waits for none. @throws StartError */
export async function signingKeys(config: Config, parts: StoreParts, secrets: Sealer, kind: KeyKind = 'access'): Promise<KeyRing> {
  const { algorithm, rotateAfterDays } = config.signing
  const settings = { store: keyStore(parts, kind), sealer: secrets, rotateAfterMs: rotateAfterDays * DAY_MS, overlapMs: keyOverlapMs(config), now: Date.now }
  try {
    // Microsoft promises to verify RS256, and nothing else.
    if (kind === 'federation') return await openKeyRing({ ...settings, algorithm: 'RS256' })
    return await keyRing({ ...settings, algorithm })
  } catch (error) {
    if (!(error instanceof SealError)) throw error
    throw new StartError(`keyEncryption: ${config.keyEncryption} is not the key that the store was sealed with (${error.message})`, true, error)
  }
}

/**
 * Reads the OpenAPI documents of HTTP APIs. A file is part of the configuration; what has an address may be there later.
 *
 * @throws StartError
 */
async function readDocuments(config: Config, apis: ApiCatalogue): Promise<void> {
  for (const upstream of upstreamSettings(config)) {
    const document = upstream.http?.openApi?.document
    if (document === undefined) continue
    const reading = apis.tools(upstream).catch((error: unknown) => {
      if (!(error instanceof DocumentError)) throw error
      const message = `the OpenAPI document of the upstream ${upstream.id}: ${error.message}`
      if (!/^https?:/.test(document)) throw new StartError(message, true, error)
      log({ level: 'warning', message })
    })
    // Start-up waits for no other machine.
    if (!/^https?:/.test(document)) await reading
  }
}

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there; end it, or choose another port',
  EACCES: 'this user may not listen there; choose a port above 1023',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'the host name is not known',
}

async function listenOn(config: Config, { fetch, mcp }: App): Promise<RunningServer> {
  try {
    return await listen({ listen: config.listen, fetch, mcp })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    throw new StartError(`cannot listen on ${config.listen}: ${LISTEN_ERRORS[code] ?? code}`, false, error)
  }
}

/** One line for a program to read; never request data, never a secret. */
const log: RouterSettings['log'] = (line) => void process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`)

function logFailure(name: string, error: unknown): void {
  log({ level: 'error', message: `${name} failed`, error: error instanceof Error ? error.message : 'not an error' })
}

/** Repeats a task until the returned function is called, which waits for a run that is under way. Nodes that start together spread. */
function every(intervalMs: number, name: string, task: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout
  const schedule = (): void => {
    timer = setTimeout(run, intervalMs * (0.5 + Math.random())).unref()
  }
  const run = (): void => {
    running = task()
      .catch((error: unknown) => logFailure(name, error))
      .finally(schedule)
  }
  schedule()
  return async () => {
    clearTimeout(timer)
    await running
    clearTimeout(timer)
  }
}
