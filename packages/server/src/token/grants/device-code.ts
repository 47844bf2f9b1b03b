import type { AuditEvent } from '../../audit/event.ts'
import { DEVICE_CODE } from '../../oauth/grant-type.ts'
import { OAuthError, type OAuthErrorCode } from '../../oauth/error.ts'
import { hash, type Hashed } from '../../oauth/secret.ts'
import { requireResource } from '../narrow.ts'
import type { Consumption, GrantRecord, NewRefreshToken } from '../token-store.ts'
import { boundTo, firstTokens } from './first-tokens.ts'
import type { GrantType } from './grant.ts'

/** `used` before, `ended` since it was granted; of `waiting` devices, one that asks `too soon` must leave more time from now on. */
export type Poll = { readonly kind: 'unknown' | 'waiting' | 'too soon' | 'denied' | 'expired' | 'used' | 'ended' } | ({ readonly kind: 'granted' } & GrantRecord)

export interface DeviceCodes {
  /** What became of the device's request; another client's codes are unknown. `now` in milliseconds since the epoch. */
  poll(code: { readonly hash: Hashed; readonly clientId: string; readonly now: number }): Promise<Poll>
  /** Uses a code whose request was granted and adds the first refresh token of its grant, for one caller alone. */
  consumeDevice(change: { readonly hash: Hashed; readonly grantId: string; readonly at: number; readonly refreshToken?: NewRefreshToken; readonly jkt?: string }, events: readonly AuditEvent[]): Promise<Consumption>
}

export interface DeviceGrantOptions {
  /** Absent when the flow is switched off. */
  readonly devices?: DeviceCodes
  readonly now: () => number
}

/** The device authorization grant (RFC 8628 §3.4): somebody approved elsewhere, in a browser. */
export function deviceCode(devices: DeviceCodes, now: () => number): GrantType {
  return {
    type: DEVICE_CODE,
    presented: (params) => hash(params.require('device_code')),
    async authorize(request) {
      const { client, params } = request
      const hashed = hash(params.require('device_code'))
      const poll = await devices.poll({ hash: hashed, clientId: client.id, now: now() })
      if (poll.kind !== 'granted') throw notYet(poll.kind)
      const { authorization, createdAt } = poll
      requireResource(params, authorization.resource)
      return {
        authorization,
        scope: authorization.scope,
        grantedAt: createdAt,
        recheck: false,
        async issue(issuer, hold) {
          const { issued, events, record } = firstTokens(issuer, request, poll, hold(authorization.scope))
          const result = await devices.consumeDevice({ hash: hashed, grantId: authorization.id, at: Math.floor(now() / 1000), ...(record && { refreshToken: record }), ...boundTo(request) }, events)
          if (result !== 'consumed') throw notYet(result === 'spent' ? 'used' : 'ended')
          return issued
        },
      }
    },
  }
}

/** RFC 8628 §3.5: what the device is told while, and in place of, what it waits for. */
const TOLD: Readonly<Partial<Record<Exclude<Poll['kind'], 'granted'>, readonly [OAuthErrorCode, string]>>> = {
  waiting: ['authorization_pending', 'nobody has answered yet; ask again'],
  'too soon': ['slow_down', 'ask less often: leave five seconds more between two requests from now on'],
  denied: ['access_denied', 'the request was denied'],
  expired: ['expired_token', 'the device code has expired; begin again'],
}

function notYet(kind: Exclude<Poll['kind'], 'granted'>): OAuthError {
  const told = TOLD[kind]
  // One answer for a code of nobody, of another client, and for one that is over.
  return told === undefined ? new OAuthError('invalid_grant', 'the device code is invalid, or was used before', { reason: `device code: ${kind}` }) : new OAuthError(...told)
}
