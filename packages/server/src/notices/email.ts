import type { Transporter } from 'nodemailer'
import { plain } from '../http/page.ts'
import type { DueNotice, NoticeTarget } from './notice.ts'

export interface EmailSettings {
  readonly host: string
  readonly port: number
  readonly user?: string
  readonly password?: string
  readonly from: string
  readonly to: readonly string[]
  /** `implicit`: TLS from the first byte; `starttls`: or nothing is said; `none`: on this machine alone. */
  readonly tls: 'implicit' | 'starttls' | 'none'
}

const TIMEOUT_MS = 10_000
const MAX_SUBJECT = 120

/** Sends notices to the configured mail host, and to no other. */
export function emailTarget(settings: EmailSettings): NoticeTarget {
  const { host, port, from, to } = settings
  let transport: Promise<Transporter> | undefined
  return {
    name: `email:${host}:${port}`,
    async send(notice) {
      const { subject, text } = letter(notice)
      try {
        transport ??= transportTo(settings)
        await (await transport).sendMail({ from, to: [...to], subject, text, messageId: `<${notice.id}@${new URL(JSON.parse(notice.body).gateway).hostname}>` })
        return undefined
      } catch (error) {
        return mailFailure(error)
      }
    },
  }
}

/** Connects and signs in, and sends nothing. @returns why that fails */
export async function verifyEmail(settings: EmailSettings): Promise<string | undefined> {
  const transport = await transportTo(settings)
  try {
    await transport.verify()
    return undefined
  } catch (error) {
    return mailFailure(error)
  } finally {
    transport.close()
  }
}

async function transportTo({ host, port, user, password, tls }: EmailSettings): Promise<Transporter> {
  // Loaded with the first mail: who sends none needs no room for it.
  const { createTransport } = await import('nodemailer')
  return createTransport({
    host,
    port,
    secure: tls === 'implicit',
    requireTLS: tls === 'starttls',
    ignoreTLS: tls === 'none',
    tls: { minVersion: 'TLSv1.2' },
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    // A message is made of text alone: nothing in it may name a file or an address to be read.
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(user === undefined ? {} : { auth: { user, pass: password ?? '' } }),
  })
}

/** What the notice says, line by line. Names come from strangers: each stays on its line, and is no header. */
function letter({ body }: DueNotice): { readonly subject: string; readonly text: string } {
  const { id: _id, type: _type, summary, ...facts } = JSON.parse(body) as Readonly<Record<string, unknown>>
  const lines = Object.entries(facts).map(([name, value]) => `${name}: ${plain(Array.isArray(value) ? value.join(', ') : String(value), 500)}`)
  return { subject: `Lanyard: ${plain(String(summary), MAX_SUBJECT)}`, text: `${plain(String(summary), 500)}\n\n${lines.join('\n')}\n` }
}

/** The code alone: a server's answer may repeat what it was sent. */
function mailFailure(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'the mail host did not take it'
}
