// Wires what answers calls, and what decides for others.
import { elevation } from '../authorize/step-up-link.ts'
import { introspectors } from '../config/settings.ts'
import { decisionPointRoutes } from '../gateway/decision-point.ts'
import { gateway } from '../gateway/gateway.ts'
import type { Route } from '../http/route.ts'
import { bridgeStore } from '../store/bridge.ts'
import { lateSessionStore } from '../store/late-sessions.ts'
import { taskStore } from '../store/tasks.ts'
import { pinStore } from '../store/pins.ts'
import { stepUpStore } from '../store/step-ups.ts'
import type { Tokens } from '../token/routes.ts'
import type { Accounts } from './accounts.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'

export function dataPlane(ground: Ground, { approvals: judging, notices }: Applications, { connector, connections }: Accounts, { accepting: verifier }: Tokens): ReturnType<typeof gateway> {
  const { config, issuer, store, state, outbound, limits, audit, log, now } = ground
  return gateway({
    issuer,
    hosts: config.hosts,
    allowedOrigins: config.allowedOrigins,
    clientAddress: ground.address,
    protectedServers: ground.servers,
    elevation: elevation({ issuer, state, stepUps: stepUpStore(store), grants: ground.tokenStore, now }),
    isProxy: ground.isProxy,
    proxyKey: config.forwardAuthKey,
    profiles: ground.profiles,
    connector,
    connections,
    verifier,
    proof: ground.proof,
    policy: ground.policy,
    ...ground.external,
    cutoffs: store.cutoffs,
    feed: store.feed,
    pins: pinStore(store),
    bridgeStore: bridgeStore(store),
    lateSessionStore: lateSessionStore(store),
    taskStore: taskStore(store),
    notices,
    state,
    ...(ground.apis === undefined ? {} : { apis: ground.apis }),
    streams: outbound.streams,
    audit,
    flood: limits.refusedTokens,
    log,
    approvals: judging,
    now,
  })
}

export function decisionPoint({ config, issuer, policy, upstreams, findUser, store, limits, audit, now }: Ground, { authentication, approvals: judging }: Applications): readonly Route[] {
  return decisionPointRoutes({ issuer, authentication, mayAsk: introspectors(config), policy, approvals: judging, findUser, upstreams, cutoffs: store.cutoffs, audit, flood: limits.floods, now })
}
