import type { AuditEvent } from '../audit/event.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { OAuthError } from '../oauth/error.ts'
import type { Authorization } from './authorization.ts'
import type { AskingDevice, PendingRequest } from './authorize-store.ts'
import { clientName } from './consent-page.ts'
import { deviceAllowedPage, deviceRefusedPage } from './device-facts.ts'
import type { DeviceRules } from './device.ts'
import type { DeviceStore } from './device-store.ts'
import { requestEnded } from './respond.ts'
import type { Step } from './step.ts'

export interface DeviceSteps {
  readonly rules: DeviceRules
  readonly store: Pick<DeviceStore, 'grant' | 'deny'>
  readonly state: StateSealer
}

interface DeviceStepDeps {
  readonly devices?: DeviceSteps
  readonly now: () => number
}

/** Gives the device the grant that it fetches by itself. */
export async function grantDevice({ devices, now }: DeviceStepDeps, step: Step, authorization: Authorization, event: AuditEvent): Promise<Response> {
  const { pending, signedIn } = step
  const deviceId = pending.request.device?.id ?? ''
  if ((await devices?.store.grant(pending.id, signedIn.session.id, deviceId, authorization, now(), event)) !== true) throw requestEnded()
  return deviceAllowedPage(clientName(step))
}

/** RFC 8628 §3.5: whatever ends the request in the browser, the device is told `access_denied`. */
export async function denyDevice({ devices }: DeviceStepDeps, { id, reference }: PendingRequest, device: AskingDevice, error: OAuthError, events: readonly AuditEvent[]): Promise<Response> {
  if ((await devices?.store.deny(id, device.id, ...events)) !== true) throw requestEnded()
  return deviceRefusedPage(error, events.some(({ action }) => action === 'consent.denied'), reference)
}
