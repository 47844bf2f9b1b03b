import { createHash, createHmac } from 'node:crypto'
import { OutboundError, type Outbound } from '../http/outbound.ts'
import type { NoticeTarget } from './notice.ts'

export interface WebhookSettings {
  readonly url: string
  readonly secret: string
}

const TIMEOUT_MS = 10_000
const MAX_ANSWER_BYTES = 64 * 1024

/**
 * Posts notices as Standard Webhooks say it: `webhook-signature: v1,` and the base64 of an HMAC-SHA256 over identifier,
 * timestamp and body, joined by dots. Whoever receives it refuses old timestamps and identifiers that came before.
 */
export function webhookTarget({ url, secret }: WebhookSettings, outbound: Outbound): NoticeTarget {
  const key = signingKey(secret)
  return {
    name: webhookName(url),
    async send({ id, body }, at) {
      const timestamp = String(Math.floor(at / 1000))
      const headers = { 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${sign(key, id, timestamp, body)}` }
      try {
        const { status } = await outbound.request(url, { method: 'POST', provenance: 'configured', headers, body, timeoutMs: TIMEOUT_MS, maxBytes: MAX_ANSWER_BYTES })
        return status >= 200 && status < 300 ? undefined : `it answered ${status}`
      } catch (error) {
        // What it answered is of no interest: a long answer is an answer.
        if (error instanceof OutboundError) return error.reason
        throw error
      }
    },
  }
}

/** The address may be a secret in itself: rows and records name it by a hash. */
function webhookName(url: string): string {
  return `webhook:${new URL(url).host}:${createHash('sha256').update(url).digest('base64url').slice(0, 12)}`
}

/** Standard Webhooks: a secret that begins with `whsec_` is base64; any other stands for its own bytes. */
function signingKey(secret: string): Buffer {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : Buffer.from(secret)
}

function sign(key: Buffer, id: string, timestamp: string, body: string): string {
  return createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
}
