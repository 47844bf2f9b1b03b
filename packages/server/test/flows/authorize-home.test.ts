// A person's own page: what applications may do as them, and the end of it.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { policy } from '../../src/policy/policy.ts'
import type { Browser, Page } from '../support/browser.ts'
import { answerOf, callbackOf, client, eachHouse, press, type Changes, type House } from '../support/authorize-house.ts'

async function grant(house: House, person: Browser, changes: Changes = {}): Promise<void> {
  let page = await house.ask(person, changes)
  if (page.status === 200) page = await press(person, page, 'decision', 'approve')
  assert.match(answerOf(page)['code'] ?? page.text, /^lyd_ac_/)
}

function endings(page: Page): readonly string[] {
  return page.forms.map((form) => new URL(form.action).pathname).filter((path) => path.startsWith('/grants/'))
}

async function end(person: Browser, page: Page, at = 0): Promise<Page> {
  const form = page.forms.filter((each) => new URL(each.action).pathname.startsWith('/grants/'))[at]
  assert.ok(form !== undefined, page.text)
  return person.submit(page, form)
}

async function live(house: House): Promise<readonly string[]> {
  return (await house.rows<{ id: string; client_id: string; revoked_at: number | null }>('grants')).filter((row) => row.revoked_at === null).map((row) => row.client_id)
}

eachHouse('signed out, the page shows nobody anything and leads to the sign-in and back', async (house) => {
  const person = house.browser()
  const page = await person.open(`${house.issuer}/`)
  assert.equal(page.status, 200)
  assert.deepEqual(page.forms, [])
  const back = await house.open(person, `${house.issuer}/login?return_to=/`)
  assert.match(back.text, /No application may act as you at the moment/)
})

eachHouse('ending access ends every grant of that application at that resource, and its consent, at once on all nodes', async (house) => {
  const person = house.browser()
  await grant(house, person)
  await grant(house, person)
  await grant(house, person, { client_id: 'other' })
  await grant(house, person, { resource: house.resource('engineering'), scope: 'mcp.notes.read' })
  const page = await person.open(`${house.issuer}/`)
  assert.equal(endings(page).length, 3)
  const named = (await house.rows<{ id: string; client_id: string; resource: string }>('grants')).filter((row) => row.client_id === 'editor' && row.resource === house.resource('notes'))
  const at = endings(page).findIndex((path) => named.some((row) => path.includes(row.id)))
  const after = await end(person, page, at)
  assert.equal(new URL(after.url).pathname, '/')
  assert.equal(endings(after).length, 2)
  assert.deepEqual([...(await live(house))].sort(), ['editor', 'other'])
  assert.deepEqual(house.store.changes.filter((change) => change.kind === 'grant').map((change) => change.key).sort(), named.map((row) => row.id).sort())
  const events = house.events('consent.revoked')
  assert.deepEqual(new Set(events.map((event) => `${event.grantId} ${event.clientId} ${event.resource}`)), new Set(named.map((row) => `${row.id} editor ${house.resource('notes')}`)))
  assert.equal(events.length, 2)
  // The consent went with it, others stayed.
  assert.match((await house.ask(person)).text, /Allow Editor/)
  await grant(house, person, { client_id: 'other', prompt: 'none' })
})

eachHouse('E06: nobody ends the access of somebody else', async (house) => {
  const alice = house.browser()
  await grant(house, alice)
  const [row] = await house.rows<{ id: string }>('grants')
  house.person = { subject: 'bob' }
  const bob = house.browser()
  await grant(house, bob, { client_id: 'other' })
  const own = await bob.open(`${house.issuer}/`)
  assert.equal(endings(own).length, 1)
  const secret = [...bob.cookies('127.0.0.1')].find(([name]) => name.endsWith('session'))?.[1] ?? ''
  // Even with a token that is right for the form.
  const csrf = createHmac('sha256', secret).update(`revoke:${row?.id ?? ''}`).digest('base64url')
  const tried = await house.send(bob, `/grants/${row?.id ?? ''}/revoke`, { form: { csrf }, headers: { origin: house.issuer } })
  assert.equal(tried.status, 303)
  assert.deepEqual([...(await live(house))].sort(), ['editor', 'other'])
  assert.equal(house.events('consent.revoked').length, 0)
  assert.equal((await house.rows('consents')).length, 2)
  await end(bob, own)
  assert.deepEqual(await live(house), ['editor'])
})

eachHouse('a form of another site, or without its token, ends nothing', async (house) => {
  const person = house.browser()
  await grant(house, person)
  const page = await person.open(`${house.issuer}/`)
  const [path = ''] = endings(page)
  const csrf = page.forms.find((form) => form.action.endsWith(path))?.fields['csrf'] ?? ''
  const own = { origin: house.issuer, 'sec-fetch-site': 'same-origin' }
  assert.equal((await house.send(person, path, { form: { csrf }, headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' } })).status, 403)
  assert.equal((await house.send(person, path, { form: {}, headers: own })).status, 403)
  assert.equal((await house.send(person, path, { form: { csrf: `${csrf}x` }, headers: own })).status, 403)
  const signedOut = await house.send(undefined, path, { form: { csrf }, headers: own })
  assert.deepEqual([signedOut.status, signedOut.headers.get('location')], [303, '/'])
  assert.deepEqual(await live(house), ['editor'])
  const done = await house.send(person, path, { form: { csrf }, headers: own })
  assert.deepEqual([done.status, done.headers.get('location'), done.headers.get('cache-control')], [303, '/', 'no-store'])
  assert.deepEqual(await live(house), [])
})

eachHouse('parallel ends of one access end it once', async (house) => {
  const person = house.browser()
  await grant(house, person)
  const page = await person.open(`${house.issuer}/`)
  const [path = ''] = endings(page)
  const csrf = page.forms.find((form) => form.action.endsWith(path))?.fields['csrf'] ?? ''
  await Promise.all(Array.from({ length: 8 }, () => house.send(person, path, { form: { csrf }, headers: { origin: house.issuer } })))
  assert.deepEqual(await live(house), [])
  assert.equal(house.events('consent.revoked').length, 1)
})

eachHouse('an application that is gone is shown by its identifier, and markup in names is text', async (house) => {
  house.clients.set('named', client('named', { name: '<b>Bold</b>\u202e' }))
  const person = house.browser()
  await grant(house, person, { client_id: 'named' })
  const page = await person.open(`${house.issuer}/`)
  assert.match(page.text, /&lt;b&gt;Bold&lt;\/b&gt;/)
  assert.ok(!page.text.includes('\u202e'))
  house.clients.delete('named')
  const gone = await person.open(`${house.issuer}/`)
  assert.match(gone.text, /<strong>named<\/strong>/)
  await end(person, gone)
  assert.deepEqual(await live(house), [])
})

eachHouse('connected accounts are shown and can be ended', async (house) => {
  const person = house.browser()
  const page = await press(person, await house.ask(person, { resource: house.resource('tickets') }), 'decision', 'approve')
  const form = page.forms.find((each) => new URL(each.action).pathname === '/connections/tickets')
  assert.ok(form !== undefined)
  await person.open(callbackOf((await person.submit(page, form)).url, 'code'))
  const own = await person.open(`${house.issuer}/`)
  const disconnect = own.forms.find((each) => each.action.endsWith('/disconnect'))
  assert.ok(disconnect !== undefined, own.text)
  const after = await person.submit(own, disconnect)
  assert.match(after.text, /You have connected no accounts/)
  assert.deepEqual(await house.rows('connections'), [])
})

eachHouse('the page names the servers that rules let the person use, and no others', async (house) => {
  const person = house.browser()
  const shown = async (): Promise<readonly string[]> => [...(await house.open(person, `${house.issuer}/login?return_to=/`)).text.matchAll(/<code>([^<]+\/mcp\/[^<]+)<\/code>/g)].map((match) => match[1] ?? '')
  house.rules = policy([{ id: 'notes', effect: 'allow', upstreams: ['notes'] }])
  assert.ok((await shown()).includes(house.resource('notes')))
  assert.ok(!(await shown()).includes(house.resource('tickets')))
  house.rules = policy([])
  assert.deepEqual(await shown(), [])
  assert.match((await person.open(`${house.issuer}/`)).text, /No rule lets you use anything yet/)
})
