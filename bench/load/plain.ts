// HTTP/1.1 by hand, for short answers that tell their length: the generator shares the processors with what it measures,
// and a client that can do anything takes as much of them as a short answer does.
import { connect, type Socket } from 'node:net'

export interface PlainReply {
  readonly status: number
  readonly body: string
}

export interface PlainConnection {
  post(path: string, form: string): Promise<PlainReply>
  close(): void
}

interface Waiting {
  readonly resolve: (reply: PlainReply) => void
  readonly reject: (error: Error) => void
}

/** One keep-alive connection, one form after the other; opened anew when the server has closed it meanwhile. */
export function plainConnection(origin: string): PlainConnection {
  const { hostname, port, host } = new URL(origin)
  let socket: Socket | undefined
  let waiting: Waiting | undefined
  const open = (): Socket => {
    let received = ''
    const opened = connect(Number(port), hostname).setNoDelay().setEncoding('latin1')
    opened.on('data', (chunk: string) => {
      received += chunk
      const reply = read(received)
      if (reply === undefined) return
      received = ''
      waiting?.resolve(reply)
    })
    opened.on('error', () => undefined)
    opened.on('close', () => {
      // One that was idle may end when another has taken its place.
      if (socket === opened) waiting?.reject(new Error('the connection was closed before its answer'))
    })
    return opened
  }
  return {
    post: (path, form) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        if (socket?.writable !== true) socket = open()
        socket.write(`POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/x-www-form-urlencoded\r\naccept: application/json\r\ncontent-length: ${form.length}\r\n\r\n${form}`, 'latin1')
      }),
    close: () => void socket?.destroy(),
  }
}

const LENGTH = /\r\ncontent-length: *(\d+)\r\n/i

/** @returns undefined until all of it is there */
function read(received: string): PlainReply | undefined {
  const end = received.indexOf('\r\n\r\n') + 4
  if (end < 4) return undefined
  const length = LENGTH.exec(received)?.[1]
  if (length === undefined) return { status: 0, body: 'the answer does not tell its length' }
  if (received.length < end + Number(length)) return undefined
  return { status: Number(received.slice(9, 12)), body: received.slice(end) }
}
