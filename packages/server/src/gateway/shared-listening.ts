// Owns that an upstream is listened to once for all who would hear the same: what is asked of it is the same to the letter, the
// credential included, so that it could not tell them apart. Each of them has an answer that names their own request.
import { hash, newId } from '../oauth/secret.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { isResponse, kindOf, messages, requireResponse } from './answers.ts'
import type { Contact } from './call.ts'
import { Stopped, type Answer, type Reader, type Sink, type UpstreamRequest } from './exchange.ts'
import type { Forward } from './forward.ts'
import { isObject, parseExactly } from './message.ts'
import type { OpenCall } from './open-calls.ts'
import { eventParser, formatEvent } from './sse.ts'
import { tellsOfOthers } from './tasks/words.ts'

/** What a slow reader may be behind, in characters, before their stream ends: they listen again, and read the lists anew. */
const MAX_BEHIND = 1024 * 1024
const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged'

/** A text without the identifier of the request: it stood between each two of these. */
type Said = readonly string[]

/** One stream of an upstream, and those who hear it. */
interface Station {
  /** Whether there is one: an upstream may answer with something else. */
  readonly opened: Promise<boolean>
  /** The identifier that the upstream knows the request by: one that nobody else can have written. */
  readonly id: string
  readonly listeners: Set<Listener>
  /** What whoever comes later has to hear first. */
  acknowledged: Said | undefined
  /** Undefined when nothing more comes of it. */
  source: Answer | undefined
  /** Nobody finds it any more. */
  forget(): void
}

interface Asked {
  readonly upstream: Upstream
  readonly request: UpstreamRequest
  readonly call: OpenCall
  readonly contact: Contact | undefined
  /** The client's identifier, and the message without it. */
  readonly id: unknown
  readonly message: Readonly<Record<string, unknown>>
}

/** Sends requests on, and shares the streams of `subscriptions/listen`. */
export function sharedListening(forward: Forward): Forward {
  const stations = new Map<string, Station>()
  return {
    async send(upstream, request, call, contact) {
      const message = request.headers['mcp-method'] === 'subscriptions/listen' ? messageOf(request) : undefined
      if (message === undefined) return forward.send(upstream, request, call, contact)
      const { id, ...rest } = message
      const key = hash(JSON.stringify([upstream.id, request.headers, rest]))
      const asked = { upstream, request, call, contact, id, message: rest }
      const known = stations.get(key)
      if (known !== undefined && (await known.opened) && known.source !== undefined) return join(known, asked)
      return open(forward, stations, key, asked)
    },
  }
}

function messageOf({ body }: UpstreamRequest): Readonly<Record<string, unknown>> | undefined {
  // As it was written: a number that a double cannot hold arrives as it left.
  const message: unknown = typeof body === 'string' ? parseExactly(body) : undefined
  return isObject(message) && message['id'] !== undefined ? message : undefined
}

async function open(forward: Forward, stations: Map<string, Station>, key: string, asked: Asked): Promise<Answer> {
  const { upstream, request, call, contact, message } = asked
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const forget = (): void => void (stations.get(key) === station && stations.delete(key))
  const station: Station = { opened: promise, id: newId('sub'), listeners: new Set(), acknowledged: undefined, source: undefined, forget }
  if (!stations.has(key)) stations.set(key, station)
  // It goes on when whoever opened it has gone.
  const line: OpenCall = { issued: call.issued, endsAt: call.endsAt, stream: true, ended: call.ended, stop: undefined }
  call.stop = () => line.stop?.()
  try {
    const answer = await forward.send(upstream, { ...request, body: JSON.stringify({ ...message, id: station.id }) }, line, contact)
    if (answer.status !== 200 || kindOf(answer) !== 'events') return renamed(answer, station, asked)
    const own = join(station, asked)
    station.source = answer
    void broadcast(station, answer, asked)
    resolve(true)
    return own
  } finally {
    if (station.source === undefined) forget()
    resolve(false)
  }
}

async function broadcast(station: Station, answer: Answer, { upstream, message: { params } }: Asked): Promise<void> {
  const { taskIds } = isObject(params) && isObject(params['notifications']) ? params['notifications'] : {}
  const change = messages(upstream, (message) => {
    // H07, H20: it answers nothing else that a client asked: what it lists by that nobody has looked at.
    if (isResponse(message)) return requireResponse(message, station.id, upstream)
    // RS-32: who shares an account at the upstream has tasks of their own there.
    return tellsOfOthers(message, taskIds) ? undefined : message
  })
  const parser = eventParser(({ data, lines }) => {
    const passed = data === undefined || data === '' ? data : change.data(data)
    if (data !== undefined && typeof passed !== 'string') return
    const said = unnamed(formatEvent({ data: typeof passed === 'string' ? passed : undefined, lines }), station)
    if (data?.includes(ACKNOWLEDGED) === true) station.acknowledged ??= said
    for (const listener of station.listeners) listener.hear(said)
  })
  const outcome = await answer.consume((chunk) => parser.push(chunk)).then(() => 'ended' as const, (error: unknown) => (error instanceof Error ? error : new Error('the stream broke off')))
  station.source = undefined
  station.forget()
  for (const listener of station.listeners) listener.end(outcome)
}

/** Whoever comes now opens another one. */
function close(station: Station): void {
  const { source } = station
  station.source = undefined
  station.forget()
  source?.cancel()
}

/** An answer of their own for one more listener. */
function join(station: Station, { call, id }: Asked): Answer {
  if (call.ended !== undefined) throw new Stopped('stopped')
  const listener = new Listener(station, id)
  station.listeners.add(listener)
  call.stop = () => listener.cancel()
  if (station.acknowledged !== undefined) listener.hear(station.acknowledged)
  return listener
}

const HEADERS = { 'content-type': 'text/event-stream' }

/** One of those who hear a station: what they have heard, as far as they have read it. */
class Listener implements Answer {
  readonly status = 200
  readonly headers = HEADERS
  readonly #station: Station
  readonly #id: string
  #behind = ''
  #take: ((chunk: Buffer) => void) | undefined
  #reader: Reader | undefined
  #waiting = false
  #outcome: 'ended' | Error | undefined
  #tell: (outcome: 'ended' | Error) => void = () => undefined

  constructor(station: Station, id: unknown) {
    this.#station = station
    this.#id = JSON.stringify(id)
  }

  hear(said: Said): void {
    this.#behind += said.join(this.#id)
    this.#give()
    if (this.#behind.length > MAX_BEHIND) this.end(new Error('the reader is too slow'))
  }

  end(outcome: 'ended' | Error): void {
    if (!this.#station.listeners.delete(this)) return
    if (this.#station.listeners.size === 0) close(this.#station)
    // However slow the reader is: there is no more than this.
    if (outcome === 'ended') this.#giveAll()
    this.#outcome = outcome
    this.#tell(outcome)
  }

  consume(take: (chunk: Buffer) => void, reader?: Reader): Promise<void> {
    this.#take = take
    this.#reader = reader
    if (this.#outcome === 'ended') this.#giveAll()
    else this.#give()
    return new Promise((resolve, reject) => {
      this.#tell = (outcome) => (outcome === 'ended' ? resolve() : reject(outcome))
      if (this.#outcome !== undefined) this.#tell(this.#outcome)
    })
  }

  async pipe(sink: Sink): Promise<void> {
    await this.consume((chunk) => sink.write(chunk), sink)
    sink.end()
  }

  cancel(): void {
    this.end(new Stopped('stopped'))
  }

  /** Gives on what there is when the reader has room for it. */
  #give(): void {
    if (this.#waiting || this.#behind === '') return
    this.#giveAll()
    if (this.#reader?.writableNeedDrain !== true) return
    this.#waiting = true
    this.#reader.once('drain', () => {
      this.#waiting = false
      this.#give()
    })
  }

  #giveAll(): void {
    if (this.#take === undefined || this.#behind === '') return
    this.#take(Buffer.from(this.#behind))
    this.#behind = ''
  }
}

/** Wherever the identifier stands, it names the request. */
function unnamed(text: string, { id }: Station): Said {
  return text.split(JSON.stringify(id))
}

/** What an upstream answers that is no stream, in the words of whoever asked. */
function renamed(answer: Answer, station: Station, { id }: Asked): Answer {
  const { 'content-length': _length, ...headers } = answer.headers
  const consume: Answer['consume'] = async (take) => {
    const chunks: Buffer[] = []
    let size = 0
    await answer.consume((chunk) => {
      size += chunk.length
      if (size > MAX_BEHIND) throw new Error('the answer is too large')
      chunks.push(chunk)
    })
    take(Buffer.from(unnamed(Buffer.concat(chunks).toString('utf8'), station).join(JSON.stringify(id))))
  }
  return {
    status: answer.status,
    headers,
    consume,
    pipe: (sink) => consume((chunk) => sink.write(chunk)).then(() => void sink.end()),
    cancel: () => answer.cancel(),
  }
}
