import type { Rule } from '../policy/rule.ts'
import type { RuleChanges, RuleStore, StoredRule } from '../policy/rule-store.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'

interface RuleRow {
  readonly id: string
  readonly definition: string
  readonly version: number
}

/** Rows of one statement: every driver takes so many parameters. */
const MAX_ROWS = 500

export function ruleStore({ db, audit, changed }: StoreParts): RuleStore {
  const tell = (tx: Transaction, key: string, at: number): Promise<void> => changed(tx, { kind: 'rules', key, at })
  return {
    async all() {
      const rows = await db.query<RuleRow>('SELECT id, definition, version FROM rules')
      // Databases sort by rules of their own: all nodes name the same rule.
      return rows.sort((a, b) => (a.id < b.id ? -1 : 1)).map(toStored)
    },
    add: (rule, now, ...events) =>
      db.transaction(async (tx) => {
        const added = await tx.query('INSERT INTO rules (id, definition, version, created_at, updated_at) VALUES ($1, $2, 1, $3, $3) ON CONFLICT (id) DO NOTHING RETURNING id', [rule.id, JSON.stringify(rule), now])
        if (added.length === 0) return false
        await audit.append(tx, events)
        await tell(tx, rule.id, now)
        return true
      }),
    change: ({ rule, version }, now, ...events) =>
      db.transaction(async (tx) => {
        const stored = await tx.query('UPDATE rules SET definition = $2, version = version + 1, updated_at = $3 WHERE id = $1 AND version = $4 RETURNING id', [rule.id, JSON.stringify(rule), now, version])
        if (stored.length === 0) return false
        await audit.append(tx, events)
        await tell(tx, rule.id, now)
        return true
      }),
    remove: (id, now, ...events) =>
      db.transaction(async (tx) => {
        const removed = await tx.query('DELETE FROM rules WHERE id = $1 RETURNING id', [id])
        if (removed.length === 0) return false
        await audit.append(tx, events)
        await tell(tx, id, now)
        return true
      }),
    replace: (rules, now, events) =>
      db.transaction(async (tx) => {
        // Of two at once, each puts its whole set: what the other one added while it was read must not stay.
        if (tx.dialect === 'postgres') await tx.query('LOCK TABLE rules IN EXCLUSIVE MODE')
        const changes = difference(await tx.query<RuleRow>('SELECT id, definition, version FROM rules'), rules)
        await write(tx, changes, now)
        if (changes.added.length + changes.changed.length + changes.removed.length === 0) return changes
        await audit.append(tx, events(changes))
        await tell(tx, '*', now)
        return changes
      }),
  }
}

function difference(stored: readonly RuleRow[], rules: readonly Rule[]): RuleChanges {
  const before = new Map(stored.map(({ id, definition }) => [id, definition]))
  const after = new Set(rules.map(({ id }) => id))
  return {
    added: rules.filter(({ id }) => !before.has(id)),
    changed: rules.filter((rule) => before.has(rule.id) && before.get(rule.id) !== JSON.stringify(rule)),
    removed: [...before.keys()].filter((id) => !after.has(id)),
  }
}

async function write(tx: Transaction, { added, changed, removed }: RuleChanges, now: number): Promise<void> {
  for (const part of slices(removed)) await tx.query(`DELETE FROM rules WHERE id IN (${part.map((_, index) => `$${index + 1}`).join(', ')})`, part)
  for (const part of slices([...added, ...changed])) {
    const rows = part.map((_, index) => `($${index * 2 + 2}, $${index * 2 + 3}, 1, $1, $1)`).join(', ')
    await tx.query(
      `INSERT INTO rules (id, definition, version, created_at, updated_at) VALUES ${rows}
       ON CONFLICT (id) DO UPDATE SET definition = excluded.definition, version = rules.version + 1, updated_at = excluded.updated_at`,
      [now, ...part.flatMap((rule) => [rule.id, JSON.stringify(rule)])],
    )
  }
}

function slices<Item>(items: readonly Item[]): (readonly Item[])[] {
  return Array.from({ length: Math.ceil(items.length / MAX_ROWS) }, (_, part) => items.slice(part * MAX_ROWS, (part + 1) * MAX_ROWS))
}

/** Only what was checked by its schema is ever written. */
function toStored({ definition, version }: RuleRow): StoredRule {
  return { rule: JSON.parse(definition) as Rule, version }
}
