import { html } from 'hono/html'
import { addressBucket } from '../http/address.ts'
import { page, plain, referenceLine, sentence, type Html } from '../http/page.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { OAuthError } from '../oauth/error.ts'
import type { AskingDevice } from './authorize-store.ts'
import { printUserCode } from './device.ts'
import type { Step } from './step.ts'

const USER_CODE = 'user code'
const MINUTE_MS = 60_000

export interface DeviceFactsDeps {
  /** Absent when device codes are switched off: then no request comes here. */
  readonly devices?: { readonly state: StateSealer }
  readonly now: () => number
}

export function sealUserCode(state: StateSealer, deviceId: string, userCode: string, expiresAt: number): string {
  return state.seal(USER_CODE, [deviceId], { userCode }, expiresAt)
}

function openUserCode({ devices, now }: DeviceFactsDeps, device: AskingDevice): string | undefined {
  const opened = devices?.state.open(USER_CODE, [device.id], device.userCode, now()) as { readonly userCode: string } | undefined
  return opened?.userCode
}

/** What a person can check of a device that they cannot see from here (RFC 8628 §5.4): its code, its place, its time. */
export function deviceFacts(deps: DeviceFactsDeps, device: AskingDevice, { context }: Step): Html {
  const code = openUserCode(deps, device)
  return html`<dt>It shows</dt>
    <dd class="user-code">${code === undefined ? 'no longer known' : html`<code>${printUserCode(code)}</code>`}</dd>
    <dt>Asked from</dt>
    <dd><code>${plain(device.address, 64)}</code> ${isElsewhere(device, context.address) ? html`<span class="badge unverified">another network than this browser’s</span>` : html`<span class="muted">the network of this browser</span>`}</dd>
    <dt>Asked</dt>
    <dd>${timeOf(device.askedAt, deps.now())}</dd>`
}

/** L03: the name proves nothing, as any program can say it, and what is approved is used by whoever asked. */
export function deviceWarning(device: AskingDevice, { client, context }: Step, name: string): Html {
  const proven = !client.tokenEndpointAuthMethods.includes('none')
  return html`<div class="warning">
    <p><strong>${proven ? 'Somebody, somewhere, asked for this.' : `Any program, anywhere, can say that it is ${name}.`}</strong> Go on only if you started it yourself just now, and it shows the code above. If somebody sent you the code or a link to this page, do not allow it: they would act as you.</p>
    ${isElsewhere(device, context.address) ? html`<p><strong>It does not ask from where you are.</strong> That is right for a server that you are logged in to, and wrong for a program on this computer or in this room.</p>` : ''}
  </div>`
}

function isElsewhere({ address }: AskingDevice, here: string): boolean {
  return addressBucket(address) !== addressBucket(here)
}

function timeOf(askedAt: number, now: number): string {
  const minutes = Math.floor((now - askedAt) / MINUTE_MS)
  const ago = minutes < 1 ? 'less than a minute ago' : minutes === 1 ? 'a minute ago' : `${minutes} minutes ago`
  return `${ago}, at ${new Date(askedAt).toISOString().slice(11, 16)} UTC`
}

/** The person's part is done: the device learns the rest by itself. */
export function deviceAllowedPage(name: string): Promise<Response> {
  return page({
    title: 'The device is connected',
    body: html`<h1>The device is connected</h1>
      <p role="status">${name} goes on by itself within a few seconds. You can close this page.</p>
      <p class="muted">What you allowed stands on <a href="/">your own page</a>, where you can end it.</p>`,
  })
}

export function deviceRefusedPage(error: OAuthError, byPerson: boolean, reference: string): Promise<Response> {
  const title = byPerson ? 'You did not allow it' : 'The device was not connected'
  return page({
    title,
    status: byPerson ? 200 : 403,
    body: html`<h1>${title}</h1>
      <p role="status">${byPerson ? 'The device got no access. You can close this page.' : sentence(error.message)}</p>
      ${byPerson ? html`<p class="muted">If you did not start this yourself, tell your administrator: somebody may have tried to act as you.</p>` : ''}
      ${referenceLine(reference)}`,
  })
}
