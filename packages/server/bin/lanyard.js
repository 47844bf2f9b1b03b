#!/usr/bin/env node
// Runs from source in the repository, from dist/ in the published package.
import { existsSync } from 'node:fs'

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(`Lanyard needs Node.js 24 or newer; this is ${process.version}. In the repository, "npm ci" brings one along: run "npx lanyard".`)
  process.exit(2)
}
const source = new URL('../src/cli/lanyard.ts', import.meta.url)
await import(existsSync(source) ? source.href : new URL('../dist/cli/lanyard.js', import.meta.url).href)
