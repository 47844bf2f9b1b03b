import { loadConfig, type Config } from '../config/load.ts'
import { keyOverlapMs } from '../config/settings.ts'
import type { KeyRecord } from '../keys/key-store.ts'
import { sealer } from '../keys/seal.ts'
import type { KeyRing } from '../keys/signing.ts'
import { encryptionKeys, signingKeys } from '../main.ts'
import { keyStore, type KeyKind } from '../store/keys.ts'
import { CommandFailed, print, type CommonOptions } from './command.ts'
import { withStore } from './store.ts'

const MEANING: Readonly<Record<KeyRecord['state'], string>> = {
  next: 'published, will sign next',
  active: 'signs',
  retired: 'verifies until its last token has ended',
  revoked: 'ended, with every token that it signed',
}

interface KeyOptions extends CommonOptions {
  /** The keys that sign ID-JAGs, in place of those of access tokens. */
  readonly assertions?: boolean
  /** The keys that prove this gateway to Entra ID, in place of those of access tokens. */
  readonly federation?: boolean
}

function kindOf({ assertions, federation }: KeyOptions): KeyKind {
  if (federation === true) return 'federation'
  return assertions === true ? 'assertion' : 'access'
}

/** Lists the signing keys; needs no key-encryption key. */
export async function keysList(options: KeyOptions): Promise<void> {
  const records = await withStore(loadConfig(options.config), (parts) => keyStore(parts, kindOf(options)).all())
  const keys = records.map(({ kid, algorithm, state, since }) => ({ kid, algorithm, state, since: new Date(since).toISOString() }))
  const lines = keys.map((key) => `${key.kid}  ${key.algorithm.padEnd(5)}  ${key.state.padEnd(7)}  since ${key.since.slice(0, 16).replace('T', ' ')} UTC  (${MEANING[key.state]})`)
  print(options, keys, lines.length === 0 ? ['There is no signing key yet: the gateway makes the first ones when it starts.'] : lines)
}

/** Signs with the next key from now on. */
export async function keysRotate(options: KeyOptions & { readonly force?: boolean }): Promise<void> {
  const config = loadConfig(options.config)
  await withKeys(config, options, async (ring) => {
    const result = await ring.rotate({ force: options.force === true })
    if (result === 'too_early') {
      const minutes = Math.ceil(keyOverlapMs(config) / 60_000)
      throw new CommandFailed(`the next key has not been published for ${minutes} minutes yet, so resource servers may not know it: wait, or add --force`)
    }
    if (result === 'raced') throw new CommandFailed('somebody else rotated the keys at the same moment: look with "lanyard keys list"')
    const active = (await ring.list()).find((key) => key.state === 'active')
    print(options, { rotated: true, active: active?.kid ?? null }, [`Rotated: ${active?.kid ?? 'unknown'} signs from now on; running nodes follow within a second.`])
  })
}

/** Ends a key and every token that it signed, on all nodes. */
export async function keysRevoke(kid: string, options: KeyOptions): Promise<void> {
  await withKeys(loadConfig(options.config), options, async (ring) => {
    const done = await ring.revoke(kid)
    if (!done) throw new CommandFailed(`there is no key ${kid}, or it was revoked before: look with "lanyard keys list"`)
    print(options, { revoked: kid }, [`Revoked: ${kid} and every token that it signed have ended; running nodes follow within a second.`])
  })
}

function withKeys(config: Config, options: KeyOptions, run: (ring: KeyRing) => Promise<void>): Promise<void> {
  return withStore(config, async (parts) => {
    const kind = kindOf(options)
    if ((await keyStore(parts, kind).all()).length === 0) throw new CommandFailed('there is no signing key yet: the gateway makes the first ones when it starts')
    await run(await signingKeys(config, parts, sealer(encryptionKeys(config, false)), kind))
  })
}
