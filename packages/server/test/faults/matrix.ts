/** One fault that was injected, and what came of it. */
export interface Observed {
  readonly id: string
  readonly injected: string
  readonly expected: string
  readonly observed: string
  /** The file of the test. */
  readonly test: string
}

const HEAD = `# Faults

What breaks around a gateway, injected on purpose, and what it does then. \`npm run faults\` injects all of it, on two nodes over a real PostgreSQL, with real processes that are killed, paused and starved; \`npm run faults -- --write\` writes this page.

Every client of these runs writes down what it asked, which node, and what came of it. After each group of faults the whole history is checked beside the database ([history.ts](../packages/server/test/faults/history.ts), itself tested with histories that are wrong):

- **I1** no token is accepted later than 10 seconds after its revocation (two seconds while the nodes hear one another)
- **I2** a grant has one live refresh token at most; a refresh token has one successor, and a code is answered once
- **I3** a client that repeats its request within a minute is not logged out
- **I4** what was acknowledged is in the database, and its audit event too

Then all output of all nodes, every column of the database and every error page are searched for the tokens, codes, verifiers, cookies, keys and upstream tokens of the run.

A kill needs no hook in the product: a proxy between node and database lets the k-th piece of data through and nothing after it, and the node is killed while it waits.

`

/** The page of all faults. */
export function matrix(faults: readonly Observed[]): string {
  const byId = [...faults].sort((a, b) => a.id.localeCompare(b.id))
  const whole = byId.filter(({ expected }) => expected !== '')
  const single = byId.filter(({ expected }) => expected === '')
  const rows = whole.map(({ id, injected, expected, observed, test }) => `| ${[id, injected, expected, observed].map(cell).join(' | ')} | ${link(test)} |`)
  const others = single.map(({ id, injected, test }) => `| ${id} | ${cell(injected)} | ${link(test)} |`)
  return `${HEAD}## Whole processes

| fault | injected | expected | observed | test |
|---|---|---|---|---|
${rows.join('\n')}

## In one process

| fault | what is shown | test |
|---|---|---|
${others.join('\n')}

${LIMITS}`
}

const LIMITS = `## What remains

- **A code that was used** is never answered again (RFC 6749 §4.1.2): when a node dies between the commit of an exchange and its answer, the repeated request ends the grant, and the client asks for a new code. The person's browser is still signed in, so nobody types anything.
- **Upstreams that rotate refresh tokens** leave a window between their rotation and our write. A node that dies in it takes the new token along: the dead one is tried once more, when the lease of 30 seconds is over, and the person connects the account again.
- **The identity provider's refresh token** has the same window: the person is treated as signed out by the provider, and signs in again.
- **Calls are recorded before they are answered**: without a database they are refused with 503 within seconds, while requests that need no record go on until the node has heard of no revocation for ten seconds.
`

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}

function link(file: string): string {
  return `[${file.split('/').at(-1) ?? file}](../${file})`
}
