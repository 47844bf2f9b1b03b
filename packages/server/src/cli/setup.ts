// What an administrator applies at an identity provider so that people sign in by it.
import { existsSync } from 'node:fs'
import { loadConfig } from '../config/load.ts'
import { CommandFailed, print } from './command.ts'
import { entraGuide } from './setup-entra.ts'
import { googleGuide } from './setup-google.ts'
import { guideText, type Guide, type SetupFor } from './setup-guide.ts'
import { oktaGuide } from './setup-okta.ts'

/** The kinds of provider that there is a guide for: a new one is one file and one line. */
const GUIDES: Readonly<Record<string, { readonly id: string; readonly make: (at: SetupFor) => Guide }>> = {
  'entra-id': { id: 'entra', make: entraGuide },
  'google-workspace': { id: 'google', make: googleGuide },
  okta: { id: 'okta', make: oktaGuide },
}

export const SETUP_KINDS: readonly string[] = Object.keys(GUIDES)
export const SETUP_PARTS: readonly string[] = ['commands', 'terraform', 'values']

export interface SetupOptions {
  readonly config: string
  readonly issuer?: string
  readonly id?: string
  readonly only?: string
  readonly json?: boolean
}

/** Prints the guide of one kind of provider, with the values of this gateway. */
export function setup(kind: string, options: SetupOptions): void {
  const guide = GUIDES[kind]
  if (guide === undefined) throw new CommandFailed(`there is no guide for ${kind}: there is one for ${SETUP_KINDS.join(', ')}`)
  const config = existsSync(options.config) ? loadConfig(options.config) : undefined
  const issuer = options.issuer?.replace(/\/$/, '') ?? config?.issuer
  if (issuer === undefined) throw new CommandFailed(`there is no ${options.config}: name the gateway's address with --issuer https://lanyard.example.com`)
  const configured = config?.identityProviders.find(({ type }) => type === kind)?.id
  const made = guide.make({ issuer, id: options.id ?? configured ?? guide.id, ...(config === undefined ? {} : { config }) })
  if (options.only === undefined) return print(options, made, guideText(made))
  const texts = made.steps.flatMap(({ apply }) => (apply !== undefined && apply.kind === options.only ? [apply.text] : []))
  if (texts.length === 0) throw new CommandFailed(`the guide for ${kind} has no ${options.only}`)
  print(options, texts, texts)
}
