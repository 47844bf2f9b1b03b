// Where notices arrive: a webhook's receiver that checks them as docs/configuration.md says, and a mail host.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'

export interface Delivery {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface WebhookReceiver {
  readonly url: string
  /** Everything that arrived, refused or not. */
  readonly deliveries: readonly Delivery[]
  /** What was accepted: signed, fresh, and not seen before. */
  readonly accepted: readonly Readonly<Record<string, unknown>>[]
  /** What it answers next, in turn, instead of looking at what arrives. */
  readonly failures: (number | 'hang' | 'redirect')[]
  close(): Promise<void>
}

const TOLERANCE_S = 300

/** @param now milliseconds since the epoch, by the receiver's clock */
export async function webhookReceiver(secret: string, now: () => number = Date.now): Promise<WebhookReceiver> {
  const deliveries: Delivery[] = []
  const accepted: Readonly<Record<string, unknown>>[] = []
  const failures: (number | 'hang' | 'redirect')[] = []
  const seen = new Set<string>()
  const server = createServer((request, response) => {
    void (async () => {
      let body = ''
      for await (const chunk of request as AsyncIterable<Buffer>) body += chunk.toString('utf8')
      deliveries.push({ headers: request.headers, body })
      const failure = failures.shift()
      if (failure === 'hang') return
      if (failure !== undefined) {
        response.writeHead(failure === 'redirect' ? 307 : failure, { location: '/elsewhere' }).end('x'.repeat(10_000))
        return
      }
      const problem = check(request.headers, body, { secret, seen, now: now() })
      if (problem === undefined) accepted.push(JSON.parse(body) as Record<string, unknown>)
      response.writeHead(problem === undefined ? 204 : 400).end(problem)
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/lanyard`,
    deliveries,
    accepted,
    failures,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** As docs/configuration.md tells whoever receives notices. */
function check(headers: IncomingHttpHeaders, body: string, { secret, seen, now }: { readonly secret: string; readonly seen: Set<string>; readonly now: number }): string | undefined {
  const [id, timestamp, signature] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => String(headers[name]))
  const expected = Buffer.from(`v1,${createHmac('sha256', secret).update(`${String(id)}.${String(timestamp)}.${body}`).digest('base64')}`)
  const given = Buffer.from(signature ?? '')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return 'the signature does not match'
  if (Math.abs(now / 1000 - Number(timestamp)) > TOLERANCE_S) return 'too old'
  if (seen.has(String(id))) return 'seen before'
  seen.add(String(id))
  return undefined
}

export interface MailHost {
  readonly port: number
  readonly letters: readonly Letter[]
  /** Whoever logged in. */
  readonly logins: readonly string[]
  close(): Promise<void>
}

export interface Letter {
  readonly from: string
  readonly to: readonly string[]
  /** As it came, headers and all. */
  readonly text: string
  readonly secure: boolean
}

export interface MailHostOptions {
  readonly tls?: { readonly key: string; readonly cert: string; readonly implicit?: boolean }
  readonly login?: { readonly user: string; readonly password: string }
  readonly refuses?: () => boolean
}

export async function mailHost({ tls, login, refuses = () => false }: MailHostOptions = {}): Promise<MailHost> {
  const letters: Letter[] = []
  const logins: string[] = []
  const server = new SMTPServer({
    ...(tls === undefined ? {} : { key: tls.key, cert: tls.cert }),
    secure: tls?.implicit === true,
    authOptional: login === undefined,
    disabledCommands: [...(tls === undefined ? ['STARTTLS'] : []), ...(login === undefined ? ['AUTH'] : [])],
    onAuth: (auth, _session, callback) => {
      const { username = '', password } = auth
      if (username !== login?.user || password !== login.password) return callback(new Error('wrong password'))
      logins.push(username)
      return callback(null, { user: username })
    },
    onData: (stream, session, callback) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        if (refuses()) return callback(Object.assign(new Error('try again later'), { responseCode: 451 }))
        const { mailFrom, rcptTo } = session.envelope
        letters.push({ from: mailFrom === false ? '' : mailFrom.address, to: rcptTo.map(({ address }) => address), text: Buffer.concat(chunks).toString('utf8'), secure: session.secure })
        return callback()
      })
    },
  })
  server.on('error', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.server.address() as AddressInfo).port, letters, logins, close: () => new Promise((resolve) => server.close(() => resolve())) }
}
