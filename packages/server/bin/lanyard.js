#!/usr/bin/env node
// Runs from source in the repository, from dist/ in the published package.
import { existsSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(`Lanyard needs Node.js 24 or newer; this is ${process.version}. In the repository, "npm ci" brings one along: run "npx lanyard".`)
  process.exit(2)
}
// What was compiled is kept beside the code, where whoever may write may change the code as well; where nobody may, it is not kept.
enableCompileCache(fileURLToPath(new URL('../.cache', import.meta.url)))
// What is loaded stays: it must not make the young generation grow to the size of a busy gateway's, which takes 25 MB from one
// that idles. src/main.ts lets it grow again once everything is loaded.
setFlagsFromString('--semi-space-growth-factor=1')
const source = new URL('../src/cli/lanyard.ts', import.meta.url)
await import(existsSync(source) ? source.href : new URL('../dist/cli/lanyard.js', import.meta.url).href)
