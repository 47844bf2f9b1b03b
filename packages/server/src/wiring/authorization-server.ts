// Wires the authorization endpoint and what is issued.
import { authorizeRoutes } from '../authorize/endpoint.ts'
import { homeRoutes } from '../authorize/home.ts'
import { stepUpRoutes } from '../authorize/step-up-page.ts'
import { ASSERTION_ALGORITHMS } from '../clients/assertion.ts'
import { CLIENT_AUTH_METHODS } from '../clients/metadata.ts'
import { workloadAuthMethods } from '../clients/workload.ts'
import { acrValues, introspectors, scopeEntries, tokenLifetimes } from '../config/settings.ts'
import type { Route } from '../http/route.ts'
import { knownUsers } from '../identity/known-users.ts'
import { scopeMapping } from '../identity/scope-mapping.ts'
import { stepUpStore } from '../store/step-ups.ts'
import { tokens, type Tokens } from '../token/routes.ts'
import type { Accounts } from './accounts.ts'
import type { Applications } from './applications.ts'
import { assertionProfiles, exchangeTargets } from './assertions.ts'
import { exchangeWiring, vending } from './exchange.ts'
import { deviceCodes, deviceRoom } from './devices.ts'
import type { Ground } from './ground.ts'
import type { People } from './people.ts'
import { pushRoom } from './pushed-requests.ts'

export function authorizeRoom(ground: Ground, applications: Applications, people: People, accounts: Accounts): readonly Route[] {
  const device = deviceRoom(ground, applications, people)
  const push = pushRoom(ground, applications)
  const deps = {
    ...device.steps,
    ...push.taking,
    issuer: ground.issuer,
    clients: applications.clients,
    approvals: applications.approvals,
    profiles: ground.profiles,
    sessions: people.sessions,
    signIn: people.login,
    policy: ground.policy,
    connections: accounts.connections,
    stored: ground.storedProfiles,
    editing: ground.editing,
    store: ground.authorizeStore,
    audit: ground.audit,
    flows: people.flows,
    flood: ground.limits.authorizations,
    grantSeconds: tokenLifetimes(ground.config).grant,
    now: ground.now,
    stepUps: stepUpStore(ground.store),
    scopes: scopeMapping(scopeEntries(ground.config)),
  }
  return [push.route, ...device.routes, ...homeRoutes(deps), ...authorizeRoutes(deps), ...stepUpRoutes({ ...deps, state: ground.state })]
}

export function tokenRoom(ground: Ground, applications: Applications, people: People, accounts: Accounts): Tokens {
  const { recheck } = people
  const { authentication, approvals: judging } = applications
  const { config, issuer, tokenStore: store, keys, sealer, policy: rules, limits, audit, now } = ground
  return tokens({
    issuer,
    store,
    keys,
    sealer,
    authentication,
    users: knownUsers(ground.findUser, ground.store.feed),
    machines: ground.machines,
    ...deviceCodes(ground),
    assertions: assertionProfiles(ground, applications),
    otherKeys: [ground.assertionKeys ?? [], ground.federationKeys ?? []].flat(),
    exchangeTargets: [vending(ground, applications, accounts), ...exchangeTargets(ground)],
    ...exchangeWiring(ground, people),
    stepUps: stepUpStore(ground.store),
    scopes: scopeMapping(scopeEntries(ground.config)),
    recheck,
    approvals: judging,
    cutoffs: ground.store.cutoffs,
    policy: rules,
    profiles: ground.profiles,
    recorder: audit,
    lifetimes: tokenLifetimes(config),
    limits,
    proof: ground.proof,
    mayIntrospect: introspectors(config),
    metadata: { authMethods: [...CLIENT_AUTH_METHODS, ...workloadAuthMethods(applications.clients.workloads ?? [])], assertionAlgorithms: ASSERTION_ALGORITHMS, acrValues: acrValues(config), requirePushed: config.requirePushedAuthorizationRequests, baselineScope: config.baselineScope, registration: config.registration },
    now,
  })
}
