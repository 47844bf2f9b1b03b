import { createHash } from 'node:crypto'
import type { ChangeFeed } from '../audit/change.ts'
import type { AuditEvent } from '../audit/event.ts'
import { remembered } from '../audit/remembered.ts'
import { applicationDigest, applicationOf, voucherOf } from '../clients/application.ts'
import type { Applications, Client } from '../clients/client.ts'
import { directoryDigest } from '../clients/metadata-document.ts'
import { plain } from '../http/page.ts'
import type { NewNotice, Notices } from '../notices/notice.ts'
import { newId } from '../oauth/secret.ts'
import type { ApprovalSettings, Need, Standing } from './approval.ts'
import type { ApplicationFacts, ApplicationRecord, ApprovalRequest, ApprovalStore, Asked, CallKey, RequestContent } from './approval-store.ts'

/** Who asks for an application to be approved, and for what. */
export interface Ask {
  readonly client: Client
  readonly person: Person
  readonly needs: readonly Need[]
  readonly resource: string
  readonly reference: string
  readonly address: string
  /** When it was found that nobody has decided, in milliseconds since the epoch. */
  readonly since: number
}

export interface Person {
  readonly id: string
  readonly name?: string
  readonly email?: string
  readonly groups: readonly string[]
}

/** A call that a rule lets through with approval alone. */
export interface CallAsk extends Pick<Ask, 'person' | 'resource' | 'address'> {
  readonly clientId: string
  readonly upstream: string
  readonly tool: string
}

export type CallAnswer = { readonly kind: 'approved' | 'waiting' | 'too many' } | { readonly kind: 'refused'; readonly reason: string }

export interface Approvals {
  /** As the store has it: for a flow, which must not go by what was. */
  standingOf(client: Client): Promise<Standing>
  /** As this node knows it, until anything about it changes: for tokens and calls. */
  standing(clientId: string): Promise<Standing>
  ask(ask: Ask): Promise<Asked>
  /** Whether the call may be made; when nobody has decided, one request waits for it. */
  call(ask: CallAsk): Promise<CallAnswer>
  /** What was decided about the call, if anything was: nobody is asked. */
  decided(ask: Pick<CallAsk, 'clientId' | 'upstream' | 'tool'> & { readonly person: Pick<Person, 'id'> }): Promise<CallAnswer | undefined>
  /** A person lets the application act for them: it is known from now on. */
  used(client: Client): Promise<void>
  /** The client's own words came anew. */
  seen(client: Client): Promise<void>
}

export interface ApprovalDeps {
  readonly settings: ApprovalSettings
  readonly applications: Applications
  readonly store: ApprovalStore
  readonly notices: Pick<Notices, 'compose'>
  /** Told when a notice waits to be sent. */
  readonly noticeDue: () => void
  readonly feed: Pick<ChangeFeed, 'subscribe' | 'fresh'>
  readonly now: () => number
}

const MAX_KNOWN = 20_000
/** What one person may have waiting: nobody fills the queue for the others. */
const MAX_WAITING = 10
const MAX_CALLS_WAITING = 50

export function approvals(deps: ApprovalDeps): Approvals {
  const { store, settings, now } = deps
  const known = remembered<ApplicationFacts>(deps.feed, ['application'], MAX_KNOWN)
  const facts = async (id: string): Promise<ApplicationFacts> => {
    const found = deps.feed.fresh ? known.get(id) : undefined
    if (found !== undefined) return found
    const keep = known.asking(id)
    const read = await store.facts(id)
    keep(read)
    return read
  }
  return {
    async standingOf(client) {
      const application = applicationOf(client)
      return { ...standing(await store.facts(application.id)), ...settings, application, digest: applicationDigest(client) }
    },
    async standing(clientId) {
      const application = await deps.applications.of(clientId)
      return { ...standing(await facts(application.id)), ...settings, application }
    },
    ask: (ask) => askFor(deps, ask),
    call: (ask) => callFor(deps, ask),
    decided: async (ask) => (await decidedOn(deps, ask)).answer,
    async used(client) {
      const record = recordOf(client)
      const { known: before } = await facts(record.id)
      if (before === undefined) await store.addApplication(record, now())
      else if (before.digest !== record.digest) await saw(deps, record)
    },
    async seen(client) {
      const record = recordOf(client)
      const { known: before } = await facts(record.id)
      if (before !== undefined && before.digest !== record.digest) await saw(deps, record)
    },
  }
}

function standing({ known, decisions }: ApplicationFacts): Pick<Standing, 'digest' | 'pin' | 'decisions'> {
  return { decisions, ...(known === undefined ? {} : { digest: known.digest }), ...(known?.pin === undefined ? {} : { pin: known.pin }) }
}

function recordOf(client: Client): ApplicationRecord {
  const voucher = voucherOf(client)
  const { id, verified } = applicationOf(client)
  return { id, verified, clientId: client.id, name: plain(client.name, 120), digest: applicationDigest(client), ...(voucher === undefined ? {} : { voucher }) }
}

async function saw({ store, notices, noticeDue, now }: ApprovalDeps, record: ApplicationRecord): Promise<void> {
  const { id: application, clientId, verified, name } = record
  const told = notices.compose({ type: 'application.changed', summary: `${name} is not what it was when it was approved, pinned or listed`, facts: { application, name, verified, voucher: record.voucher } })
  const listed = directoryDigest(application)
  await store.sawApplication(record, now(), { watched: listed !== undefined && listed !== record.digest, events: [{ action: 'application.changed', outcome: 'success', clientId, application, verified, detail: { name, digest: record.digest } }], notices: told })
  if (told.length > 0) noticeDue()
}

async function askFor(deps: ApprovalDeps, { client, person, needs, resource, reference, address, since }: Ask): Promise<Asked> {
  const record = recordOf(client)
  const content: RequestContent = { ...record, redirectUris: client.redirectUris, resource, needs, person: personName(person) }
  const key = keyOf(['application', record.id, record.digest, ...needs.map(({ upstream, access }) => `${upstream} ${access}`).sort()])
  const asked = await put(deps, { kind: 'application', key, userId: person.id, content, reference }, { since, max: MAX_WAITING }, address)
  if (asked.kind === 'waiting') await deps.store.addApplication(record, deps.now())
  return asked
}

async function decidedOn(deps: ApprovalDeps, { clientId, person, upstream, tool }: Parameters<Approvals['decided']>[0]): Promise<{ readonly call: CallKey; readonly verified: boolean; readonly answer?: CallAnswer }> {
  const { id: application, verified } = await deps.applications.of(clientId)
  const call: CallKey = { userId: person.id, application, upstream, tool }
  const decided = await deps.store.callDecision(call)
  if (decided === undefined) return { call, verified }
  return { call, verified, answer: decided.effect === 'approve' ? { kind: 'approved' } : { kind: 'refused', reason: decided.reason ?? 'your administrator has refused this call' } }
}

async function callFor(deps: ApprovalDeps, ask: CallAsk): Promise<CallAnswer> {
  const { clientId, person, upstream, tool, resource, address } = ask
  const since = deps.now()
  const { call, verified, answer } = await decidedOn(deps, ask)
  if (answer !== undefined) return answer
  const { application } = call
  const { known } = await deps.store.facts(application)
  const record: ApplicationRecord = known ?? { id: application, clientId, name: application, verified, digest: '' }
  const content: RequestContent = { ...record, resource, needs: [{ upstream, access: 'write' }], tool, person: personName(person) }
  const asked = await put(deps, { kind: 'call', key: keyOf(['call', ...Object.values(call)]), userId: person.id, content, reference: '' }, { since, max: MAX_CALLS_WAITING }, address)
  return { kind: asked.kind === 'too many' ? 'too many' : 'waiting' }
}

/** Puts a request into the queue, with the notices that tell of it. */
async function put(deps: ApprovalDeps, asked: Omit<ApprovalRequest, 'id' | 'createdAt'>, limits: { readonly since: number; readonly max: number }, address: string): Promise<Asked> {
  const request: ApprovalRequest = { ...asked, id: newId('apr'), createdAt: deps.now() }
  const notices = noticesOf(deps, request)
  const result = await deps.store.ask(request, limits, notices, askedEvent(request, address))
  if (notices.length > 0 && result.kind === 'waiting' && result.request.id === request.id) deps.noticeDue()
  return result
}

function askedEvent({ id, userId, content, reference, kind }: ApprovalRequest, address: string): AuditEvent {
  const { clientId, verified, resource, tool, needs } = content
  const detail = { request: id, kind, needs: needs.map(({ upstream, access }) => `${upstream} ${access}`) }
  return { action: 'approval.requested', outcome: 'success', subject: userId, clientId, application: content.id, verified, resource, address, detail, ...(tool === undefined ? {} : { tool }), ...(reference === '' ? {} : { reference }) }
}

/** Look-alikes are told apart by who vouches for them, so that stands beside every name. */
function noticesOf({ notices }: ApprovalDeps, { id, kind, content, reference }: ApprovalRequest): readonly NewNotice[] {
  const { name, verified, voucher, person, tool, needs } = content
  const shown = `${name} (${voucher ?? 'unverified'})`
  const summary = kind === 'call' ? `${person} asks to use ${tool === '*' || tool === undefined ? 'prompts and resources' : tool} from ${shown}` : `${person} asks to use ${shown}`
  const facts = { request: id, kind, application: content.id, name, verified, voucher, person, resource: content.resource, tool, needs: needs.map(({ upstream, access }) => `${upstream} ${access}`), reference: reference === '' ? undefined : reference }
  return notices.compose({ type: 'approval.requested', summary, facts })
}

function personName({ id, name, email }: Person): string {
  return plain(name ?? email ?? id, 80)
}

function keyOf(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}
