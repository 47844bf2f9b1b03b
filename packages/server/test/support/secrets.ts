// Every secret that the clients of a test hold, and a search for them where none may stand in the clear: what the nodes
// print, every column of the database, every error page.
import { readKeySource } from '../../src/keys/key-source.ts'
import { sealer } from '../../src/keys/seal.ts'
import { openDatabase } from '../../src/store/open.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import { vault } from '../../src/vault/credential.ts'

type Ask = (url: string, init: RequestInit) => Promise<Response>

export interface Secrets {
  /** Keeps secrets: tokens, codes, verifiers, client secrets, cookies. What is too short to be one is left out. */
  add(kind: string, ...values: readonly (string | undefined)[]): void
  /** Keeps what the gateway answered with an error. */
  page(text: string): void
  /** Keeps what a browser is given: cookies, codes, and the error pages. */
  watch(ask: Ask): Ask
  /** What of each secret is looked for, and what kind it is of. */
  readonly parts: ReadonlyMap<string, string>
  readonly pages: readonly string[]
}

const MIN_LENGTH = 20

export function secrets(): Secrets {
  const parts = new Map<string, string>()
  const pages: string[] = []
  const add: Secrets['add'] = (kind, ...values) => {
    for (const value of values) for (const part of pieces(value ?? '')) parts.set(part, kind)
  }
  return {
    add,
    page: (text) => void pages.push(text),
    watch: (ask) => async (url, init) => {
      const response = await ask(url, init)
      for (const cookie of response.headers.getSetCookie()) add('cookie', /^[^=]+=([^;]*)/.exec(cookie)?.[1])
      const location = response.headers.get('location')
      if (location !== null) add('code', ...new URL(location, url).searchParams.getAll('code'))
      // Between the gateway and the provider; a client's own state is the client's.
      if (new URL(url).pathname.endsWith('/callback')) add('state', ...new URL(url).searchParams.getAll('state'))
      if (response.status >= 400) pages.push(await response.clone().text())
      return response
    },
    parts,
    pages,
  }
}

/** A half of a secret is one, too; the header of a JWT is none. */
function pieces(value: string): readonly string[] {
  const [first = '', ...rest] = value.split('.')
  return [...(first.startsWith('eyJ') && rest.length > 0 ? [] : [first]), ...rest].filter((piece) => piece.length >= MIN_LENGTH)
}

export interface Searched {
  /** Everything that all nodes printed. */
  readonly output: readonly string[]
  readonly store: string
  /** The source of the keys that seal: what they open is looked for as well. */
  readonly keyEncryption: string
}

/** Looks for every secret. @returns where one was found, by its kind alone */
export async function leaks(known: Secrets, { output, store, keyEncryption }: Searched): Promise<readonly string[]> {
  const tables = await readTables(store)
  addSealed(known, tables, keyEncryption)
  const found = new Set<string>()
  const look = (place: string, text: string): void => {
    for (const [part, kind] of known.parts) if (text.includes(part)) found.add(`${kind} in ${place}`)
  }
  look('the output of a node', output.join('\n'))
  look('an error page', known.pages.join('\n'))
  for (const [table, rows] of tables) for (const row of rows) for (const [column, value] of Object.entries(row)) look(`the column ${table}.${column}`, String(value))
  return [...found]
}

type Row = Readonly<Record<string, unknown>>

async function readTables(store: string): Promise<ReadonlyMap<string, readonly Row[]>> {
  const db = openDatabase(store)
  try {
    const list = db.dialect === 'sqlite' ? `SELECT name FROM sqlite_master WHERE type = 'table'` : `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`
    const names = (await db.query<{ name: string }>(list)).map(({ name }) => name)
    const tables = new Map<string, readonly Row[]>()
    for (const name of names) tables.set(name, await db.query<Row>(`SELECT * FROM "${name}"`))
    return tables
  } finally {
    await db.close()
  }
}

/** What the test's clients never saw: the identity provider's and the upstreams' tokens, and the signing keys. */
function addSealed(known: Secrets, tables: ReadonlyMap<string, readonly Row[]>, keyEncryption: string): void {
  const keys = readKeySource(keyEncryption, false)
  const { open } = sealer(keys)
  const rows = (table: string): readonly Readonly<Record<string, string | null>>[] => (tables.get(table) ?? []) as readonly Readonly<Record<string, string | null>>[]
  for (const { id, tokens } of rows('users')) if (tokens) for (const value of strings(open(tokens as Sealed, ['users', id ?? '', 'tokens']))) known.add('identity provider’s token', value)
  for (const { user_id: user, upstream, credential } of rows('connections')) {
    const { accessToken, refreshToken } = vault(sealer(keys)).open(user ?? '', upstream ?? '', credential as Sealed)
    known.add('upstream token', accessToken, refreshToken)
  }
  for (const { kid, kind, private_jwk: jwk } of rows('signing_keys')) known.add('signing key', (JSON.parse(open(jwk as Sealed, ['signing_keys', kind ?? '', kid ?? '', 'private_jwk'])) as { d: string }).d)
  for (const { key } of keys) known.add('key-encryption key', key.toString('base64url'), key.toString('base64'), key.toString('hex'))
}

function strings(json: string): readonly string[] {
  return Object.values(JSON.parse(json) as Record<string, unknown>).filter((value) => typeof value === 'string')
}
