// What is known of devices that ask for access (RFC 8628): their codes, and which applications may use them.
import { randomInt } from 'node:crypto'
import { applicationOf } from '../clients/application.ts'
import type { Client } from '../clients/client.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'

/** Classes of applications, by who vouches for them: an administrator, their host or an issuer, nobody. */
export const CLIENT_CLASSES = ['pre-registered', 'verified', 'unverified'] as const
export type ClientClass = (typeof CLIENT_CLASSES)[number]

export interface DeviceRules {
  /** The classes of applications that may ask for codes. */
  readonly allow: readonly ClientClass[]
  /** Whether whoever approves signs in anew for it. */
  readonly freshSignIn: boolean
}

export function mayUseDevices({ allow }: DeviceRules, client: Client): boolean {
  return client.grantTypes.includes(DEVICE_CODE) && allow.includes(classOf(client))
}

function classOf(client: Client): ClientClass {
  if (client.kind === 'pre-registered') return 'pre-registered'
  return applicationOf(client).verified ? 'verified' : 'unverified'
}

/** RFC 8628 §6.1: no vowels, so that no words come of it, and nothing that is read as something else. */
const LETTERS = 'BCDFGHJKLMNPQRSTVWXZ'
const LENGTH = 8
const CODE = new RegExp(`^[${LETTERS}]{${LENGTH}}$`)

/** Makes a user code: 34 bits, for ten minutes and few guesses. */
export function newUserCode(): string {
  return Array.from({ length: LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join('')
}

/** Reads a user code in whatever spelling somebody typed it (RFC 8628 §6.1); undefined for what can be none. */
export function readUserCode(typed: string | undefined): string | undefined {
  const letters = (typed ?? '').normalize('NFKC').toUpperCase().replace(/[^\p{L}\p{N}]/gu, '')
  return CODE.test(letters) ? letters : undefined
}

/** As devices and pages show it. */
export function printUserCode(code: string): string {
  return `${code.slice(0, LENGTH / 2)}-${code.slice(LENGTH / 2)}`
}
