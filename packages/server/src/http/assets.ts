import { readFileSync } from 'node:fs'
import type { Route } from './route.ts'

const ASSETS = [
  ['lanyard.css', 'text/css; charset=utf-8'],
  ['lanyard.svg', 'image/svg+xml'],
] as const

/** The few files that pages load, read once: nothing is served by a path that a request names. */
export function assetRoutes(): readonly Route[] {
  return ASSETS.map(([name, type]) => {
    const content = readFileSync(new URL(`../../assets/${name}`, import.meta.url), 'utf8')
    return {
      method: 'GET',
      path: `/assets/${name}`,
      access: 'public',
      errors: 'page',
      respond: () => new Response(content, { headers: { 'content-type': type, 'cache-control': 'public, max-age=3600' } }),
    }
  })
}
