// The route table of the whole product, without a process: what tests that go over every route go by.
import { randomBytes } from 'node:crypto'
import { stringify } from 'yaml'
import { app } from '../../src/app.ts'
import { parseConfig } from '../../src/config/load.ts'
import { outbound } from '../../src/http/outbound.ts'
import type { Route } from '../../src/http/route.ts'
import { sealer, stateSealer } from '../../src/keys/seal.ts'
import { keyRing } from '../../src/keys/signing.ts'
import { keyStore } from '../../src/store/keys.ts'
import { livePolicy } from '../../src/policy/live-policy.ts'
import { ruleStore } from '../../src/store/rules.ts'
import { openStore } from '../../src/store/open.ts'
import { profileStore } from '../../src/store/profiles.ts'
import { storedProfiles } from '../../src/upstreams/stored-profiles.ts'

const SETTINGS = {
  issuer: 'https://lanyard.example',
  store: 'sqlite::memory:',
  identityProviders: [{ id: 'corp', type: 'oidc', issuer: 'https://idp.example', clientId: 'lanyard' }],
  upstreams: [{ id: 'notes', url: 'https://notes.example/mcp' }],
}

/** Routes do not depend on what is configured, but for those that are switched off. */
export async function routeTable(): Promise<readonly Route[]> {
  const config = parseConfig(stringify(SETTINGS), { file: 'lanyard.yaml', directory: '/nowhere', environment: {} })
  const store = await openStore(config.store, { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: 900_000 })
  const encryption = [{ id: 'k1', key: randomBytes(32) }]
  const secrets = sealer(encryption)
  const keys = await keyRing({ store: keyStore(store), sealer: secrets, algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now: Date.now })
  const sender = outbound({ allow: [], discoveredLoopback: false })
  const stored = await storedProfiles(profileStore(store), store.feed)
  const rules = await livePolicy({ declared: config.rules, store: ruleStore(store), feed: store.feed, upstreams: [], log: () => undefined })
  const made = app({ config, store, storedProfiles: stored, policy: rules, keys, sealer: secrets, state: stateSealer(encryption), outbound: sender, log: () => undefined, now: Date.now })
  made.close()
  await sender.close()
  await store.close()
  return made.routes
}
