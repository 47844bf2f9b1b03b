import { settledBy, type StandingDecision } from '../approval/approval.ts'
import type { Act, ApplicationRecord, ApprovalStore, RequestDecision, StoredRequest } from '../approval/approval-store.ts'
import { toApplication, toDecision, toRequest, type ApplicationRow, type DecisionRow, type RequestRow } from './approval-rows.ts'
import type { Transaction } from './database.ts'
import { addNotices } from './notices.ts'
import { endGrants } from './grants.ts'
import type { StoreParts } from './parts.ts'

export function approvalStore(parts: StoreParts): ApprovalStore {
  return { ...applicationVerbs(parts), ...queueVerbs(parts), ...requestVerbs(parts), ...decisionVerbs(parts) }
}

function applicationVerbs({ db, audit, changed }: StoreParts): Pick<ApprovalStore, 'facts' | 'addApplication' | 'sawApplication' | 'applications' | 'pin'> {
  return {
    async facts(id) {
      const [[row], decisions] = await Promise.all([
        db.query<ApplicationRow>('SELECT * FROM applications WHERE id = $1', [id]),
        db.query<DecisionRow>('SELECT * FROM application_decisions WHERE application = $1', [id]),
      ])
      return { decisions: decisions.map(toDecision), ...(row === undefined ? {} : { known: toApplication(row) }) }
    },
    addApplication: (application, at) =>
      db.transaction(async (tx) => {
        if (await insertApplication(tx, application, at)) await changed(tx, { kind: 'application', key: application.id, at })
      }),
    sawApplication: ({ id, clientId, name, digest, voucher }, at, { events, notices, watched = false }) =>
      db.transaction(async (tx) => {
        const [row] = await tx.query<ApplicationRow>(
          'UPDATE applications SET client_id = $1, name = $2, digest = $3, voucher = $4, changed_at = $5 WHERE id = $6 AND digest <> $3 RETURNING *',
          [clientId, name, digest, voucher ?? null, at, id],
        )
        if (row === undefined) return
        await changed(tx, { kind: 'application', key: id, at })
        const [approved] = await tx.query("SELECT application FROM application_decisions WHERE application = $1 AND effect = 'approve' AND digest <> $2 LIMIT 1", [id, digest])
        // That it is again what was approved is no news.
        if (!watched && approved === undefined && (row.pin === null || row.pin === digest)) return
        await addNotices(tx, notices)
        await audit.append(tx, events)
      }),
    async applications(max) {
      const rows = await db.query<ApplicationRow>('SELECT * FROM applications ORDER BY changed_at DESC, id LIMIT $1', [max])
      const decisions = await db.query<DecisionRow>('SELECT * FROM application_decisions ORDER BY application, upstream, access')
      const byApplication = Map.groupBy(decisions, (decision) => decision.application)
      return rows.map((row) => ({ ...toApplication(row), decisions: (byApplication.get(row.id) ?? []).map(toDecision) }))
    },
    pin: (application, digest, { at }, ...events) =>
      db.transaction(async (tx) => {
        // What an administrator looked at is pinned, or nothing is.
        const pinned = await tx.query('UPDATE applications SET pin = $1 WHERE id = $2 AND ($3 = 0 OR digest = $1) RETURNING id', [digest ?? null, application, digest === undefined ? 0 : 1])
        if (pinned.length === 0) return false
        await audit.append(tx, events)
        await changed(tx, { kind: 'application', key: application, at })
        return true
      }),
  }
}

async function insertApplication(tx: Transaction, { id, clientId, name, verified, voucher, digest }: ApplicationRecord, at: number): Promise<boolean> {
  const added = await tx.query(
    `INSERT INTO applications (id, client_id, name, verified, voucher, digest, pin, first_seen_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, NULL, $7, $7)
     ON CONFLICT (id) DO NOTHING RETURNING id`,
    [id, clientId, name, verified ? 1 : 0, voucher ?? null, digest, at],
  )
  return added.length > 0
}

function queueVerbs({ db, audit }: StoreParts): Pick<ApprovalStore, 'ask' | 'reap'> {
  return {
    async ask(request, { since, max }, notices, ...events) {
      // Pages that wait and clients that try again ask often: nobody's row is locked for what waits already.
      const [known] = await db.query<RequestRow>("SELECT * FROM approval_requests WHERE key = $1 AND state = 'pending'", [request.key])
      if (known !== undefined) return { kind: 'waiting', request: toRequest(known) }
      return db.transaction(async (tx) => {
        // The person's row first: of their requests at once, each counts what the one before it added.
        await tx.query('UPDATE users SET checked_at = checked_at WHERE id = $1', [request.userId])
        const [waiting] = await tx.query<RequestRow>("SELECT * FROM approval_requests WHERE key = $1 AND state = 'pending'", [request.key])
        if (waiting !== undefined) return { kind: 'waiting', request: toRequest(waiting) }
        // Who asked since then found that nobody had decided, and somebody has meanwhile.
        const [decided] = await tx.query("SELECT id FROM approval_requests WHERE key = $1 AND decided_at >= $2 AND state <> 'withdrawn' LIMIT 1", [request.key, since])
        if (decided !== undefined) return { kind: 'decided' }
        const [own] = await tx.query<{ n: number }>("SELECT COUNT(*) AS n FROM approval_requests WHERE user_id = $1 AND kind = $2 AND state = 'pending'", [request.userId, request.kind])
        if ((own?.n ?? 0) >= max) return { kind: 'too many' }
        const added = await tx.query(
          `INSERT INTO approval_requests (id, key, kind, application, digest, user_id, request, state, reference, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9) ON CONFLICT (key) WHERE state = 'pending' DO NOTHING RETURNING id`,
          [request.id, request.key, request.kind, request.content.id, request.content.digest, request.userId, JSON.stringify(request.content), request.reference, request.createdAt],
        )
        if (added.length > 0) {
          await addNotices(tx, notices)
          await audit.append(tx, events)
          return { kind: 'waiting', request: { ...request, state: 'pending' } }
        }
        // Another person asked for the same at the same time.
        const [theirs] = await tx.query<RequestRow>("SELECT * FROM approval_requests WHERE key = $1 AND state = 'pending'", [request.key])
        return theirs === undefined ? { kind: 'decided' } : { kind: 'waiting', request: toRequest(theirs) }
      })
    },
    async reap({ pending, decided }) {
      await db.query("DELETE FROM approval_requests WHERE state = 'pending' AND created_at < $1", [pending])
      await db.query("DELETE FROM approval_requests WHERE state <> 'pending' AND decided_at < $1", [decided])
      // An unverified application is its registration, and goes with it.
      await db.query(
        `DELETE FROM applications WHERE verified = 0 AND NOT EXISTS (SELECT 1 FROM clients WHERE clients.id = applications.client_id)
         AND NOT EXISTS (SELECT 1 FROM approval_requests WHERE approval_requests.application = applications.id)`,
      )
      await db.query("DELETE FROM application_decisions WHERE application LIKE 'dyn!_%' ESCAPE '!' AND NOT EXISTS (SELECT 1 FROM clients WHERE clients.id = application_decisions.application)")
    },
  }
}

function requestVerbs({ db, audit, changed }: StoreParts): Pick<ApprovalStore, 'findRequest' | 'requests' | 'decide' | 'withdrawCall' | 'callDecision'> {
  return {
    async findRequest(id) {
      const [row] = await db.query<RequestRow>('SELECT * FROM approval_requests WHERE id = $1', [id])
      return row === undefined ? undefined : toRequest(row)
    },
    async requests(state, max) {
      const order = state === 'pending' ? 'created_at, id' : 'decided_at DESC, id'
      return (await db.query<RequestRow>(`SELECT * FROM approval_requests WHERE state = $1 ORDER BY ${order} LIMIT $2`, [state, max])).map(toRequest)
    },
    decide: (id, decision, act, event) =>
      db.transaction(async (tx) => {
        const state = decision.effect === 'approve' ? 'approved' : 'refused'
        // Of two administrators at once, one finds it pending.
        const [row] = await tx.query<RequestRow>(
          "UPDATE approval_requests SET state = $1, decision = $2, decided_by = $3, decided_at = $4 WHERE id = $5 AND state = 'pending' RETURNING *",
          [state, JSON.stringify(decision), act.by, act.at, id],
        )
        if (row === undefined) return (await tx.query('SELECT id FROM approval_requests WHERE id = $1', [id])).length === 0 ? 'unknown' : 'already decided'
        const request = toRequest(row)
        await settle(tx, request, decision, act)
        await audit.append(tx, [event(request)])
        await changed(tx, { kind: 'application', key: request.content.id, at: act.at })
        return 'decided'
      }),
    withdrawCall: (id, act, event) =>
      db.transaction(async (tx) => {
        const [row] = await tx.query<RequestRow>("UPDATE approval_requests SET state = 'withdrawn' WHERE id = $1 AND kind = 'call' AND state IN ('approved', 'refused') RETURNING *", [id])
        if (row === undefined) return false
        const request = toRequest(row)
        const { upstream = '' } = request.content.needs[0] ?? {}
        await tx.query('DELETE FROM call_decisions WHERE user_id = $1 AND application = $2 AND upstream = $3 AND tool = $4', [request.userId, request.content.id, upstream, request.content.tool ?? ''])
        await audit.append(tx, [event(request)])
        await changed(tx, { kind: 'application', key: request.content.id, at: act.at })
        return true
      }),
    async callDecision({ userId, application, upstream, tool }) {
      const [row] = await db.query<{ effect: RequestDecision['effect']; reason: string | null }>(
        'SELECT effect, reason FROM call_decisions WHERE user_id = $1 AND application = $2 AND upstream = $3 AND tool = $4',
        [userId, application, upstream, tool],
      )
      return row === undefined ? undefined : { effect: row.effect, ...(row.reason === null ? {} : { reason: row.reason }) }
    },
  }
}

/** What was decided holds for the application as it was when it was asked for, whatever it is by now. */
async function settle(tx: Transaction, { kind, content, userId }: StoredRequest, decision: RequestDecision, act: Act): Promise<void> {
  const { effect, reason, groups } = decision
  if (kind === 'call') {
    await tx.query(
      `INSERT INTO call_decisions (user_id, application, upstream, tool, effect, reason, decided_by, decided_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
       ON CONFLICT (user_id, application, upstream, tool) DO UPDATE SET effect = excluded.effect, reason = excluded.reason, decided_by = excluded.decided_by, decided_at = excluded.decided_at`,
      [userId, content.id, content.needs[0]?.upstream ?? '', content.tool ?? '', effect, reason ?? null, act.by, act.at],
    )
    return
  }
  for (const need of content.needs.flatMap((each) => settledBy(each, effect))) {
    await upsertDecision(tx, content.id, { ...need, effect, digest: content.digest, ...(groups === undefined ? {} : { groups }), ...(reason === undefined ? {} : { reason }) }, act)
  }
  // What is approved anew is what is wanted.
  if (effect === 'approve') await tx.query('UPDATE applications SET pin = $1 WHERE id = $2 AND pin IS NOT NULL', [content.digest, content.id])
}

async function upsertDecision(tx: Transaction, application: string, { upstream, access, effect, digest, groups, reason }: StandingDecision, { by, at }: Act): Promise<void> {
  await tx.query(
    `INSERT INTO application_decisions (application, upstream, access, effect, digest, groups, reason, decided_by, decided_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (application, upstream, access) DO UPDATE SET effect = excluded.effect, digest = excluded.digest, groups = excluded.groups,
       reason = excluded.reason, decided_by = excluded.decided_by, decided_at = excluded.decided_at`,
    [application, upstream, access, effect, digest, groups === undefined ? null : JSON.stringify(groups), reason ?? null, by, at],
  )
}

/** What is decided about the whole application answers what waits for it: nobody is asked what was said already. */
async function answerPending(tx: Transaction, application: string, decision: StandingDecision | undefined, { by, at }: Act): Promise<void> {
  if (decision === undefined) return
  const { effect, digest, groups, reason } = decision
  const made: RequestDecision = { effect, ...(groups === undefined ? {} : { groups }), ...(reason === undefined ? {} : { reason }) }
  const covered = effect === 'refuse' ? '' : " AND kind = 'application' AND digest = $6"
  await tx.query(`UPDATE approval_requests SET state = $1, decision = $2, decided_by = $3, decided_at = $4 WHERE application = $5 AND state = 'pending'${covered}`, [
    effect === 'approve' ? 'approved' : 'refused',
    JSON.stringify(made),
    by,
    at,
    application,
    ...(effect === 'refuse' ? [] : [digest]),
  ])
}

function decisionVerbs({ db, audit, changed }: StoreParts): Pick<ApprovalStore, 'replaceDecisions'> {
  return {
    replaceDecisions: (application, decisions, act, withGrants, ...events) =>
      db.transaction(async (tx) => {
        await tx.query('DELETE FROM application_decisions WHERE application = $1', [application])
        for (const decision of decisions) await upsertDecision(tx, application, decision, act)
        await answerPending(tx, application, decisions[0], act)
        await audit.append(tx, events)
        await changed(tx, { kind: 'application', key: application, at: act.at })
        if (!withGrants) return 0
        await tx.query('DELETE FROM call_decisions WHERE application = $1', [application])
        const clients = '(client_id = $1 OR client_id IN (SELECT id FROM clients WHERE application = $1))'
        await tx.query(`DELETE FROM consents WHERE ${clients}`, [application])
        // Not its clients: one that is cut never comes back, and an application may be approved again.
        return endGrants({ changed }, tx, clients.replaceAll('$1', '$2'), [application], act.at)
      }),
  }
}
