// A real browser, for what only one shows: content security policies, forms without scripts, contrast and layout.
import { existsSync } from 'node:fs'
import { chromium, type Browser } from 'playwright-core'

const PATH = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const ARGUMENTS = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** Why tests in a browser cannot run here, or false. @throws Error in continuous integration, where they must. */
export function withoutChromium(): string | false {
  if (existsSync(PATH)) return false
  const reason = `no Chromium at ${PATH}: install it, or name another one in CHROMIUM`
  if (process.env['CI'] === 'true') throw new Error(reason)
  return reason
}

export function startChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: PATH, args: ARGUMENTS })
}
