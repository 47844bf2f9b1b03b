// The suite's authorization mode against the gateway's authorization server: it prints an address and waits for a person.
import * as z from 'zod'
import { browser } from '../support/browser.ts'
import { freePort } from '../support/ports.ts'
import { runSuite, type SuiteRun } from './suite.ts'

const registered = z.object({ client_id: z.string() })

export async function runAuthorization(issuer: string, resource: string): Promise<SuiteRun> {
  const port = await freePort()
  const clientId = await register(issuer, `http://127.0.0.1:${port}/callback`)
  let person: Promise<unknown> = Promise.resolve()
  const result = await runSuite(['authorization', '--url', issuer, '--client-id', clientId, '--resource', resource, '--port', String(port)], (line) => {
    // What goes wrong in the browser the suite finds out by itself: no answer comes.
    if (line.startsWith(`${issuer}/authorize?`)) person = browser().approve(line).catch(() => undefined)
  })
  await person
  return result
}

async function register(issuer: string, redirectUri: string): Promise<string> {
  const answer = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance', redirect_uris: [redirectUri], token_endpoint_auth_method: 'none', application_type: 'native' }),
  })
  return registered.parse(await answer.json()).client_id
}

