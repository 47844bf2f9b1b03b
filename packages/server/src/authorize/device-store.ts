import type { AuditEvent } from '../audit/event.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { Authorization } from './authorization.ts'

/** What a device asked for (RFC 8628 §3.1). Times in milliseconds since the epoch. */
export interface DeviceRequest {
  readonly id: string
  readonly clientId: string
  readonly resource: Resource
  readonly scope: readonly string[]
  /** The reference under which the device asked. */
  readonly reference: string
  /** The network address that it asked from. */
  readonly address: string
  readonly createdAt: number
  readonly expiresAt: number
}

/** Both codes are known to the device alone, and the one that it shows to whoever looks at it. */
export interface NewDeviceRequest extends DeviceRequest {
  readonly hash: Hashed
  readonly userCodeHash: Hashed
  /** Seconds between two questions of the device. */
  readonly pollSeconds: number
}

export interface DeviceStore {
  /** False, with nothing recorded, when another device has the same user code. */
  add(device: NewDeviceRequest, ...events: readonly AuditEvent[]): Promise<boolean>
  /** The device that waits for an answer with this code. */
  findWaiting(userCodeHash: Hashed, now: number): Promise<DeviceRequest | undefined>
  /**
   * Ends the person's request and gives the waiting device its grant, once, while the session lives in which the person
   * approved: false when the request, the session or the device was gone.
   */
  grant(requestId: string, sessionId: string, deviceId: string, authorization: Authorization, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Ends the person's request and the waiting device's; false when the first was gone, and then nothing is recorded. */
  deny(requestId: string, deviceId: string, ...events: readonly AuditEvent[]): Promise<boolean>
  reap(now: number): Promise<void>
}
