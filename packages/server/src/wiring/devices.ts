// Wires devices without a browser: the endpoint where they ask, the page where somebody enters their code.
import { deviceAuthorizationEndpoint } from '../authorize/device-authorization.ts'
import { devicePageRoutes, type UserCodeLimits } from '../authorize/device-page.ts'
import type { DeviceSteps } from '../authorize/device-step.ts'
import { rateLimit } from '../http/rate-limit.ts'
import type { Route } from '../http/route.ts'
import { deviceStore } from '../store/devices.ts'
import type { DeviceGrantOptions } from '../token/grants/device-code.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'
import type { People } from './people.ts'

/** As long as a user code is good. */
const WINDOW_MS = 10 * 60_000

/** RFC 8628 §5.1: a person mistypes a few times, a company's network more often; of 34 bits, all guesses together find nothing. */
export function userCodeLimits(now: () => number): UserCodeLimits {
  const entries = (limit: number) => rateLimit({ limit, windowMs: WINDOW_MS, now })
  return { person: entries(10), network: entries(100), everybody: entries(1000), recorded: entries(10) }
}

export interface DeviceRoom {
  readonly routes: readonly Route[]
  readonly steps: { readonly devices?: DeviceSteps }
}

export function deviceRoom(ground: Ground, { authentication, clients }: Applications, { flows, sessions, login }: People): DeviceRoom {
  const { config, issuer, profiles, state, audit, limits, now } = ground
  const rules = config.deviceAuthorization
  if (rules.allow.length === 0) return { routes: [], steps: {} }
  const devices = deviceStore(ground.store)
  const endpoint = deviceAuthorizationEndpoint({ issuer, authentication, profiles, rules, devices, audit, requests: limits.requests, flood: limits.floods, now })
  const page = devicePageRoutes({ issuer, clients, sessions, signIn: login, flows, store: ground.authorizeStore, devices, rules, entries: userCodeLimits(now), state, audit, now })
  return { routes: [endpoint, ...page], steps: { devices: { rules, store: devices, state } } }
}

export function deviceCodes({ config, store }: Ground): Pick<DeviceGrantOptions, 'devices'> {
  return config.deviceAuthorization.allow.length === 0 ? {} : { devices: deviceStore(store) }
}
