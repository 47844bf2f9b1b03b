import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { KeySourceError, readKeySource } from './key-source.ts'

const directory = mkdtempSync(join(tmpdir(), 'lanyard-keys-'))
after(() => rmSync(directory, { recursive: true }))

const key = randomBytes(32)
const line = `k1:${key.toString('base64url')}`

function keyFile(text: string, mode = 0o600): string {
  const path = join(directory, randomBytes(6).toString('hex'))
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

/** Refused with a message that names the source and shows no key. */
function refused(source: string, message: RegExp, environment: NodeJS.ProcessEnv = {}): void {
  assert.throws(
    () => readKeySource(source, false, environment),
    (error) => error instanceof KeySourceError && message.test(error.message) && !error.message.includes(key.toString('base64url')) && !error.message.includes(key.toString('base64')),
  )
}

test('a file or a variable of one or several lines; the first key is the current one', () => {
  const other = randomBytes(32)
  const text = `new:${other.toString('base64url')}\n\n${line}\r\n`
  const expected = [{ id: 'new', key: other }, { id: 'k1', key }]
  assert.deepEqual(readKeySource(`file:${keyFile(text)}`, false), expected)
  assert.deepEqual(readKeySource('env:KEK', false, { KEK: text }), expected)
  assert.deepEqual(readKeySource('env:KEK', false, { KEK: text.replaceAll('\n', ' ') }), expected)
})

test('standard base64, as openssl prints it, is the same key', () => {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const bytes = randomBytes(32)
    assert.deepEqual(readKeySource('env:KEK', false, { KEK: `k1:${bytes.toString('base64')}` })[0]?.key, bytes)
  }
})

test('a file that others can read is refused, until its owner alone can', { skip: process.platform === 'win32' }, () => {
  for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602, 0o777, 0o610]) refused(`file:${keyFile(line, mode)}`, /others can read this file/)
  for (const mode of [0o600, 0o400, 0o700]) assert.equal(readKeySource(`file:${keyFile(line, mode)}`, false).length, 1)
})

test('what is missing, empty, weak, short, long or doubled is refused', () => {
  refused(`file:${join(directory, 'missing')}`, /cannot be read/)
  refused(`file:${directory}`, /cannot be read|others can read/)
  refused('env:KEK', /the environment has no KEK/)
  refused('env:KEK', /there is no key/, { KEK: '' })
  refused(`file:${keyFile(' \n')}`, /there is no key/)
  refused('env:KEK', /is not random/, { KEK: `k1:${Buffer.alloc(32).toString('base64url')}` })
  refused('env:KEK', /is not random/, { KEK: `k1:${Buffer.from('abababababababababababababababab').toString('base64url')}` })
  refused('env:KEK', /two keys have one identifier/, { KEK: `${line}\nk1:${randomBytes(32).toString('base64url')}` })
  for (const bad of [line.slice(3), line.slice(0, -1), `${line}A`, line.replace('k1', 'K1'), line.replace('k1', ''), line.replace('k1', 'a.b'), `k1=${key.toString('hex')}`, `k1:${key.toString('hex')}`, `k1:${'!'.repeat(43)}`, `# key\n${line}`]) {
    refused('env:KEK', /each line must be an identifier/, { KEK: bad })
  }
  refused('vault:somewhere', /a key source is/)
  refused('nothing', /a key source is/)
})

test('a missing file is generated where that is asked for: private, whole, random, and the same ever after', () => {
  const path = join(directory, 'deep', 'folder', 'kek')
  const first = readKeySource(`file:${path}`, true)
  assert.deepEqual(readKeySource(`file:${path}`, true), first)
  assert.deepEqual(readKeySource(`file:${path}`, false), first)
  if (process.platform !== 'win32') {
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.equal(statSync(join(directory, 'deep')).mode & 0o777, 0o700)
  }
  assert.deepEqual(readdirSync(join(directory, 'deep', 'folder')), ['kek'], 'no draft is left')
  const [other] = readKeySource(`file:${join(directory, 'other')}`, true)
  assert.ok(other && !other.key.equals(first[0]?.key ?? other.key))
  assert.notEqual(other.id, first[0]?.id, 'what one key sealed says that it is missing, not that it was changed')
})

test('a key is never generated over what is there, nor where nothing can be written', () => {
  const empty = keyFile('')
  assert.throws(() => readKeySource(`file:${empty}`, true), /there is no key/)
  assert.equal(readFileSync(empty, 'utf8'), '')
  if (process.platform !== 'win32') assert.throws(() => readKeySource(`file:${keyFile(line, 0o644)}`, true), /others can read/)
  const file = keyFile('a file, no folder')
  assert.throws(() => readKeySource(`file:${file}/kek`, true), KeySourceError)
  mkdirSync(join(directory, 'taken'), { recursive: true })
  assert.throws(() => readKeySource(`file:${join(directory, 'taken')}`, true), KeySourceError)
  assert.ok(!existsSync(`${file}/kek`))
})

test('of several processes that start at once one makes the key, and all read that one', async () => {
  const module = new URL('./key-source.ts', import.meta.url).href
  for (let round = 0; round < 2; round += 1) {
    const path = join(directory, `raced-${round}`)
    // All wait for one moment, so that their start-up times do not order them.
    const script = `
      import { readKeySource } from ${JSON.stringify(module)}
      while (Date.now() < ${Date.now() + 700}) {}
      const [key] = readKeySource(${JSON.stringify(`file:${path}`)}, true)
      process.stdout.write(key.id + key.key.toString('hex'))`
    const keys = await Promise.all(Array.from({ length: 4 }, () => output(script)))
    assert.match(keys[0] ?? '', /^k[0-9a-f]{6}[0-9a-f]{64}$/)
    assert.equal(new Set(keys).size, 1, keys.join('\n'))
  }
  assert.deepEqual(readdirSync(directory).filter((name) => name.startsWith('raced')), ['raced-0', 'raced-1'])
})

function output(script: string): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part))
    child.stderr.setEncoding('utf8').on('data', (part: string) => (text += part))
    child.on('close', () => resolve(text))
  })
}
