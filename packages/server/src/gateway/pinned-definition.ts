// What of a tool is pinned, in one spelling: pure, and the same on every node. It does not know what was approved.
import { hash as digest } from 'node:crypto'
import { wrapOutputSchema } from './bridge/output-schema.ts'
import { isObject } from './message.ts'

/**
 * The members that are pinned: what a model reads of a tool before it decides, and what it may be called with. All else
 * (`_meta`, `icons`, `execution`) may differ from one list to the next and is not looked at.
 */
export const PINNED = ['name', 'title', 'description', 'inputSchema', 'outputSchema', 'annotations'] as const

export interface Definition {
  readonly tool: string
  /** The pinned members, in the canonical form. */
  readonly text: string
  /** SHA-256 of the text, base64url: names the definition. */
  readonly hash: string
}

/**
 * The canonical form of a tool, and its hash. The schema of its output is in it as a client of 2025 sees it: so it is the
 * same tool for clients of both generations.
 */
export function definitionOf(tool: Readonly<Record<string, unknown>>): Definition {
  const { outputSchema } = wrapOutputSchema(tool) as Readonly<Record<string, unknown>>
  const members: Readonly<Record<string, unknown>> = { ...tool, outputSchema }
  const text = canonical(Object.fromEntries(PINNED.filter((member) => members[member] !== undefined).map((member) => [member, members[member]])))
  return { tool: String(tool['name']), text, hash: digest('sha256', text, 'base64url') }
}

/**
 * JSON in the manner of RFC 8785: members by the UTF-16 code units of their names, no white space, strings as ECMAScript
 * prints them (a lone surrogate escaped), numbers by their value. A number that no double holds keeps all its digits:
 * RFC 8785 has no form for it, and two of them must not look the same.
 */
export function canonical(value: unknown): string {
  if (typeof value === 'number') return canonicalNumber(String(value))
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (!isObject(value)) return JSON.isRawJSON(value) ? canonicalNumber(JSON.stringify(value)) : JSON.stringify(value)
  // Without a comparison of its own, `sort` orders by code units.
  const names = Object.keys(value).sort()
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`
}

/** A number as it was written or printed: 1.0 and 10e-1 are 1, whatever stands beside them in the list. */
function canonicalNumber(written: string): string {
  const exact = decimal(written)
  const printed = String(Number(written))
  if (exact === '0') return '0'
  return /^-?\d/.test(printed) && decimal(printed) === exact ? printed : exact
}

/** The digits of a number without zeros at either end, and its power of ten. */
function decimal(written: string): string {
  const [, sign = '', whole = '', fraction = '', power = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(written) ?? []
  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  return `${sign}${significant}e${BigInt(power) - BigInt(fraction.length) + BigInt(digits.length - significant.length)}`
}
