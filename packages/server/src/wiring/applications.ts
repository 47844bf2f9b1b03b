// Wires who the applications are, what administrators decided about them, and how these are told.
import { approvals } from '../approval/approvals.ts'
import { clientAuthentication } from '../clients/authentication.ts'
import { metadataDocuments } from '../clients/metadata-document.ts'
import { registrationRoutes } from '../clients/registration.ts'
import { clients } from '../clients/registry.ts'
import { remoteKeys } from '../clients/remote-keys.ts'
import { softwareStatements } from '../clients/software-statement.ts'
import { approvalSettings, emailSettings, preRegisteredClients, statementSettings } from '../config/settings.ts'
import { inBackground } from '../http/background.ts'
import type { Route } from '../http/route.ts'
import { emailTarget } from '../notices/email.ts'
import type { Notices } from '../notices/notice.ts'
import { outbox } from '../notices/outbox.ts'
import { webhookTarget } from '../notices/webhook.ts'
import { outboxStore } from '../store/notices.ts'
import type { Tokens } from '../token/routes.ts'
import type { Ground } from './ground.ts'

export type Applications = ReturnType<typeof clientRoom>

export function clientRoom(ground: Ground) {
  const { config, issuer, store, clientStore, outbound, audit, now } = ground
  const registry = clients({
    preRegistered: preRegisteredClients(config),
    ...(config.registration.clientIdMetadataDocuments ? { documents: metadataDocuments({ outbound, audit, fetched: (client) => judging.seen(client), now }) } : {}),
    statementIssuers: statementSettings(config).issuers.map(({ issuer }) => issuer),
    store: clientStore,
    feed: store.feed,
    now,
  })
  const authentication = clientAuthentication({ issuer, tokenEndpoint: `${issuer}/token`, clients: registry, store: clientStore, outbound, audit, now })
  const letters = noticeRoom(ground)
  const judging = approvals({
    settings: approvalSettings(config),
    applications: registry,
    store: ground.approvalStore,
    notices: letters,
    noticeDue: () => inBackground(ground, 'sending of notices', () => letters.sendDue()),
    feed: store.feed,
    now,
  })
  return { clients: registry, authentication, approvals: judging, notices: letters }
}

export function noticeRoom({ config, issuer, store, outbound, now }: Ground): Notices {
  const email = emailSettings(config)
  const targets = [...config.notices.webhooks.map((webhook) => webhookTarget(webhook, outbound)), ...(email === undefined ? [] : [emailTarget(email)])]
  return outbox({ gateway: issuer, targets, store: outboxStore(store), now })
}

export function registrationRoom({ config, issuer, clientStore, outbound, limits, audit, now }: Ground, { grantTypes }: Tokens): readonly Route[] {
  if (!config.registration.dynamic) return []
  const { registrationsPerHour } = config.limits
  const statements = softwareStatements(statementSettings(config), remoteKeys(outbound, now), now)
  return registrationRoutes({ issuer, store: clientStore, audit, grantTypes, statements, registrationsPerHour, flood: limits.registrations, now })
}
