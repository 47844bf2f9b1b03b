// The browser that command-line clients open: node fake-browser.ts URL. It signs in as PERSON and approves.
import { browser } from './browser.ts'

const page = await browser().approve(process.argv[2] ?? '', { person: process.env['PERSON'] ?? 'alice' })
if (page.status >= 400) {
  console.error(`${page.url}: ${page.status}\n${page.text}`)
  process.exitCode = 1
}
