import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { canonicalResource } from '../oauth/resource.ts'
import type { Profile } from '../upstreams/upstream.ts'
import { Challenge, sendChallenge } from './challenge.ts'

const ISSUER = 'https://lanyard.example'

async function sent(challenge: Challenge): Promise<{ readonly status: number; readonly header: string; readonly body: unknown }> {
  const resource = canonicalResource(`${ISSUER}/mcp/notes`)
  assert.ok(resource)
  const profile: Profile = { id: 'notes', name: 'Notes', upstreams: [], resource }
  const server = createServer((_request, response) => sendChallenge(response, challenge, ISSUER, profile))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    return { status: answer.status, header: answer.headers.get('www-authenticate') ?? '', body: await answer.json() }
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

test('RFC 6750 §3: whatever an upstream is called, the description is one that a header can carry; the body says it in full', async () => {
  for (const name of ['Notes', 'Büro – Notizen', '会議', 'Notes", error="none', 'back\\slash', 'two\r\nlines: yes']) {
    const { status, header, body } = await sent(new Challenge('insufficient_user_authentication', `${name} needs another sign-in`))
    assert.equal(status, 401)
    const [, description = ''] = /^Bearer error="insufficient_user_authentication", error_description="([\x20\x21\x23-\x5b\x5d-\x7e]*)", resource_metadata="https:\/\/lanyard\.example\/\.well-known\/oauth-protected-resource\/mcp\/notes", scope="[^"]*"$/.exec(header) ?? []
    assert.match(description, / needs another sign-in$/, header)
    assert.deepEqual(body, { error: 'insufficient_user_authentication', error_description: `${name} needs another sign-in` })
  }
})
