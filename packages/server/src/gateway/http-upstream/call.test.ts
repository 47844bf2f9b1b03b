import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { elevation, openStepUpLink, type ElevationDeps } from '../../authorize/step-up-link.ts'
import { stateSealer } from '../../keys/seal.ts'
import type { Resource } from '../../oauth/resource.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import { wantedOf } from './call.ts'

test('the page where somebody signs in again for a call can be opened, however long its address is (RFC 9470)', () => {
  const state = stateSealer([{ id: 'k1', key: randomBytes(32) }])
  const { url } = elevation({ issuer: 'https://lanyard.example', state, now: () => 0 } as ElevationDeps)
  for (const path of ['/vault/1', `/${'x'.repeat(4000)}`]) {
    const { use, named } = wantedOf({ method: 'DELETE' }, { upstream: 'api', path, query: '' }, { upstream: { id: 'api', name: 'API' } as Upstream })
    assert.ok(use.startsWith(`DELETE ${path.slice(0, 200)}`) && use.endsWith(' of API'))
    assert.equal(named.tool?.length, Math.min(256, 'DELETE '.length + path.length))
    const page = url({ grantId: 'g', userId: 'u', clientId: 'c', resource: 'https://lanyard.example/http/api' as Resource, requirement: { maxAge: 60 }, use })
    assert.equal(openStepUpLink(state, new URL(page).searchParams.get('for') ?? '', 1)?.use, use)
  }
})
