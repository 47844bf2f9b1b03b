// Bytes on a connection, for requests that no client would send, and for answers as they came.
import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly head: string
  readonly body: string
}

export function open(address: string): Promise<Socket> {
  const { hostname, port } = new URL(address)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname)
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
  })
}

/** What a busy machine may take for its first word. */
const FIRST_MS = 10_000

/** Sends the pieces one after the other and reads until the server closes, or has said something and then nothing for a while. */
export async function exchange(address: string, pieces: Iterable<string | Buffer>, quietMs = 500): Promise<string> {
  const socket = await open(address)
  let text = ''
  const ended = new Promise<void>((resolve) => {
    socket.setTimeout(FIRST_MS, () => resolve())
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      socket.setTimeout(quietMs)
    })
    socket.on('error', () => resolve())
    socket.on('close', () => resolve())
  })
  for (const piece of pieces) {
    if (socket.destroyed) break
    if (!socket.write(piece)) await Promise.race([ended, new Promise((resolve) => void socket.once('drain', resolve))])
  }
  await ended
  socket.destroy()
  return text
}

/** The answers in what came, in order. */
export function answersOf(text: string): RawAnswer[] {
  const answers: RawAnswer[] = []
  let rest = text
  for (let status = statusOf(rest); status !== undefined; status = statusOf(rest)) {
    const end = rest.indexOf('\r\n\r\n')
    const head = rest.slice(0, end)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    const body = /\r\ntransfer-encoding: *chunked/i.test(head) ? rest.slice(end + 4, rest.indexOf('0\r\n\r\n', end + 4) + 5) : rest.slice(end + 4, end + 4 + length)
    answers.push({ status, head, body })
    rest = rest.slice(end + 4 + body.length)
  }
  return answers
}

function statusOf(text: string): number | undefined {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]
  return status === undefined ? undefined : Number(status)
}
