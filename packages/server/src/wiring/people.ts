// Wires people: identity providers, sign-in and sessions.
import { providerSettings } from '../config/settings.ts'
import { flows } from '../identity/flow.ts'
import { login } from '../identity/login.ts'
import { identityProviders } from '../identity/providers/index.ts'
import { providerTokens } from '../identity/provider-tokens.ts'
import { recheck } from '../identity/recheck.ts'
import { sessions } from '../identity/sessions.ts'
import type { Ground } from './ground.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

export type People = ReturnType<typeof identityRoom>

export function identityRoom({ config, issuer, identityStore: store, store: { feed }, cookies, keys, federation, sealer, state, outbound, limits, audit, now }: Ground) {
  const { idleHours, absoluteHours, recheckMinutes } = config.sessions
  const providers = identityProviders(providerSettings(config), { outbound, now, own: { issuer, sign: (claims, type) => keys.sign(claims, type) }, ...(federation && { federation }) })
  const browserFlows = flows(cookies)
  const browserSessions = sessions({ cookies, store, providers, idleMs: idleHours * HOUR_MS, now })
  return {
    providers,
    flows: browserFlows,
    sessions: browserSessions,
    login: login({ issuer, providers, store, sealer, state, flows: browserFlows, sessions: browserSessions, cookies, audit, sessionMs: absoluteHours * HOUR_MS, flood: limits.authorizations, now }),
    providerTokens: providerTokens({ providers, store, sealer, feed, now }),
    recheck: recheck({ providers, store, sealer, audit, feed, everyMs: recheckMinutes * MINUTE_MS, now }),
  }
}
