import { applicationTrace } from '../clients/application.ts'
import type { Client } from '../clients/client.ts'
import { clientEndpoint, type AskingClient, type ClientEndpointDeps } from '../clients/client-endpoint.ts'
import { addressBucket } from '../http/address.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { Route } from '../http/route.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash, newId, newSecret } from '../oauth/secret.ts'
import type { Profiles } from '../upstreams/upstream.ts'
import { mayUseDevices, newUserCode, printUserCode, type DeviceRules } from './device.ts'
import type { DeviceRequest, DeviceStore } from './device-store.ts'
import { requestedProfile, requestedScope } from './target.ts'
import { mayAsk } from './validate.ts'

const LIFETIME_SECONDS = 600
/** RFC 8628 §3.2: what a device waits between two questions when it is told nothing. */
const POLL_SECONDS = 5
/** A user code that another device has is not given out; that this happens so often in a row does not happen. */
const TRIES = 5

export interface DeviceAuthorizationDeps extends ClientEndpointDeps {
  readonly issuer: string
  readonly profiles: Profiles
  readonly rules: DeviceRules
  readonly devices: Pick<DeviceStore, 'add'>
  /** Per client and network. */
  readonly requests: RateLimit
  readonly now: () => number
}

/** The device authorization endpoint (RFC 8628 §3.1): whoever has no browser gets a code, and somebody approves it elsewhere. */
export function deviceAuthorizationEndpoint(deps: DeviceAuthorizationDeps): Route {
  return clientEndpoint(deps, { path: '/device_authorization', refused: 'device.refused' }, (asking) => begin(deps, asking))
}

async function begin(deps: DeviceAuthorizationDeps, { client, params, context }: AskingClient): Promise<Response> {
  if (!mayUseDevices(deps.rules, client)) throw new OAuthError('unauthorized_client', 'the client may not ask for device codes')
  requireRate(deps.requests, `device ${client.id} ${addressBucket(context.address)}`)
  const profile = requestedProfile(params, deps.profiles)
  if (!mayAsk(profile, client)) throw new OAuthError('unauthorized_client', 'only an application that your administrator configured may have this')
  const { address, reference } = context
  const now = deps.now()
  const device = { id: newId('dev'), clientId: client.id, resource: profile.resource, scope: requestedScope(params, profile), reference, address, createdAt: now, expiresAt: now + LIFETIME_SECONDS * 1000 }
  const { code, userCode } = await addDevice(deps, client, device)
  const body = {
    device_code: code,
    user_code: printUserCode(userCode),
    verification_uri: `${deps.issuer}/device`,
    verification_uri_complete: `${deps.issuer}/device?user_code=${printUserCode(userCode)}`,
    expires_in: LIFETIME_SECONDS,
    interval: POLL_SECONDS,
  }
  return Response.json(body, { headers: { 'cache-control': 'no-store', pragma: 'no-cache' } })
}

async function addDevice(deps: DeviceAuthorizationDeps, client: Client, device: DeviceRequest): Promise<{ readonly code: string; readonly userCode: string }> {
  const { clientId, resource, scope, reference, address } = device
  const event = { action: 'device.requested', outcome: 'success', clientId, ...applicationTrace(client), resource, reference, address, detail: { scope } } as const
  for (let tries = 0; tries < TRIES; tries += 1) {
    const code = newSecret('lyd_dc')
    const userCode = newUserCode()
    if (await deps.devices.add({ ...device, hash: hash(code), userCodeHash: hash(userCode), pollSeconds: POLL_SECONDS }, event)) return { code, userCode }
  }
  throw new OAuthError('temporarily_unavailable', 'please try again in a moment', { reason: 'no user code is free', retryAfter: 5 })
}
