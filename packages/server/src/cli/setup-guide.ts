// What an administrator applies at an identity provider, in words, commands and files. A kind of provider fills one of these.
import type { Config } from '../config/load.ts'

export interface SetupFor {
  /** The gateway's public origin. */
  readonly issuer: string
  /** The identifier of the identity provider in the configuration: it stands in the redirect URI. */
  readonly id: string
  /** The configuration, where there is one already. */
  readonly config?: Config
}

export interface Guide {
  readonly title: string
  readonly steps: readonly Step[]
  /** What goes into the configuration file. */
  readonly snippet: string
  /** What the vendor's directory or review asks of whoever offers a service, and where Lanyard stands on it. */
  readonly vendor: { readonly name: string; readonly asks: readonly { readonly asked: string; readonly standing: string }[] }
  /** The page with all of it and the reasons. */
  readonly page: string
}

export interface Step {
  readonly title: string
  readonly lines: readonly string[]
  /** Something to apply as it is: a command, or a file. */
  readonly apply?: { readonly kind: 'commands' | 'terraform' | 'values'; readonly text: string }
}

export function redirectUri({ issuer, id }: SetupFor): string {
  return `${issuer}/login/${id}/callback`
}

/** The guide as a person reads it. */
export function guideText({ title, steps, snippet, vendor, page }: Guide): readonly string[] {
  const indent = (text: string): readonly string[] => text.split('\n').map((line) => (line === '' ? '' : `    ${line}`))
  return [
    title,
    '',
    ...steps.flatMap((step, index) => [`${index + 1}. ${step.title}`, ...step.lines.map((line) => `   ${line}`), ...(step.apply === undefined ? [] : ['', ...indent(step.apply.text)]), '']),
    `${steps.length + 1}. The configuration`,
    '',
    ...indent(snippet),
    '',
    `What ${vendor.name} asks of a vendor, and where Lanyard stands:`,
    ...vendor.asks.map(({ asked, standing }) => `   - ${asked}: ${standing}`),
    '',
    `More in ${page}.`,
  ]
}
