// The pages in a real browser: with scripts switched off the whole way to the code works under the content security
// policy; with scripts on, axe finds nothing, in light and dark, narrow and wide.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { startChromium, withoutChromium } from '../support/chromium.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { registeredRequest, webClient, type WebClient } from '../support/web-client.ts'

const SHOTS = process.env['LANYARD_SCREENSHOTS']

async function signIn(page: Page, person = 'alice'): Promise<void> {
  await page.locator(`button[name=login][value=${person}]`).click()
}

async function press(page: Page, name: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).click()
}

async function heading(page: Page): Promise<string> {
  return (await page.locator('h1').first().textContent()) ?? ''
}

describe('pages in Chromium', { skip: withoutChromium(), timeout: 240_000 }, () => {
  let gateway: RunningGateway
  let chromium: Browser
  const open: { close(): Promise<void> }[] = []

  before(async () => {
    const profiles = [{ id: 'engineering', name: 'Engineering', upstreams: ['notes', 'tickets'], tools: { notes: ['list_*', 'read_note'] } }]
    gateway = await startGateway({ config: { rules: [{ id: 'everything', effect: 'allow' }], profiles } })
    chromium = await startChromium()
  })
  after(async () => {
    await chromium?.close()
    await gateway?.close()
    await Promise.all(open.map((each) => each.close()))
  })

  const withoutScripts = (): Promise<BrowserContext> => chromium.newContext({ javaScriptEnabled: false, ignoreHTTPSErrors: true })
  const application = async (...parameters: Parameters<typeof webClient>): Promise<WebClient> => {
    const made = await webClient(...parameters)
    open.push(made)
    return made
  }

  async function walk(page: Page, client: WebClient, name: string, person: string): Promise<void> {
    await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, name))
    await signIn(page, person)
    assert.equal(await heading(page), `Allow ${name} to use Tickets as you?`)
    await press(page, 'Allow')
    assert.equal(await heading(page), 'Connect your Tickets account')
    await press(page, 'Connect Tickets')
    await signIn(page, person)
    await page.waitForLoadState()
  }

  test('everything that somebody may use is called that', async () => {
    const context = await withoutScripts()
    const page = await context.newPage()
    const client = await application('https')
    await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, 'Editor', { resource: `${gateway.issuer}/mcp` }))
    await signIn(page, 'bob')
    assert.equal(await heading(page), 'Allow Editor to use all your tools as you?')
    await context.close()
  })

  async function assertArrived(client: WebClient): Promise<void> {
    assert.match(client.answers.at(-1)?.['code'] ?? 'none', /^lyd_ac_/)
    assert.equal(client.answers.at(-1)?.['iss'], gateway.issuer)
  }

  for (const scheme of ['http', 'https'] as const) {
    test(`J1, J2: without scripts, from the request to the code, for an application at ${scheme}`, async () => {
      const client = await application(scheme)
      const context = await withoutScripts()
      const page = await context.newPage()
      const name = `Application ${scheme}`
      // Each has a person of its own, so that the account is missing each time.
      await walk(page, client, name, scheme === 'http' ? 'alice' : 'bob')
      assert.equal(await heading(page), 'Back at the application')
      await assertArrived(client)
      await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, `${name} again`))
      await press(page, 'Do not allow')
      assert.equal(client.answers.at(-1)?.['error'], 'access_denied')
      await context.close()
    })
  }

  test('an application that leads on to another place is not stopped by the form that came before', async () => {
    const last = await application('https')
    for (const scheme of ['http', 'https'] as const) {
      const client = await application(scheme, () => last.redirectUri.replace('/callback', '/done'))
      const context = await withoutScripts()
      const page = await context.newPage()
      await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, 'Onward', { resource: `${gateway.issuer}/mcp/notes` }))
      await signIn(page)
      await press(page, 'Allow')
      await page.waitForLoadState()
      assert.equal(page.url(), last.redirectUri.replace('/callback', '/done'))
      await assertArrived(client)
      await context.close()
    }
  })

  test('RFC 8252 §7.3: an application at the IPv6 loopback address is reached', async (context) => {
    const client = await application('http', undefined, '[::1]').catch(() => undefined)
    if (client === undefined) return context.skip('there is no IPv6 loopback here')
    const browsing = await withoutScripts()
    const page = await browsing.newPage()
    await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, 'Six', { resource: `${gateway.issuer}/mcp/notes` }))
    await signIn(page)
    await press(page, 'Allow')
    await page.waitForLoadState()
    assert.equal(await heading(page), 'Back at the application')
    await assertArrived(client)
    await browsing.close()
  })

  test('another account is chosen, and signing out leads back, without scripts', async () => {
    const client = await application('http')
    const context = await withoutScripts()
    const page = await context.newPage()
    await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, 'Shared computer', { resource: `${gateway.issuer}/mcp/notes` }))
    await signIn(page, 'alice')
    await press(page, 'Use another account')
    await signIn(page, 'bob')
    // The provider's own page, for browsers without scripts.
    await press(page, 'Continue')
    assert.match(await page.locator('main').innerText(), /Bob Baker/)
    await press(page, 'Allow')
    await page.waitForLoadState()
    await assertArrived(client)
    await page.goto(`${gateway.issuer}/`)
    assert.match(await page.locator('main').innerText(), /Shared computer may use Notes/)
    await press(page, 'End access of Shared computer')
    assert.doesNotMatch(await page.locator('main').innerText(), /Shared computer/)
    await press(page, 'Sign out')
    assert.equal(await page.getByRole('link', { name: 'Sign in' }).count(), 1)
    await context.close()
  })

  test('J13: a profile is built, shown with its address, and deleted, without scripts', async () => {
    const context = await withoutScripts()
    const page = await context.newPage()
    await page.goto(`${gateway.issuer}/login?return_to=/`)
    await signIn(page, 'bob')
    await page.getByText('Build a profile').click()
    await page.getByLabel('Name').fill('Mine')
    await page.getByLabel('Notes').check()
    await press(page, 'Build')
    assert.match(await page.locator('main').innerText(), new RegExp(`Mine Notes\\s+${gateway.issuer}/mcp/u-[a-z2-7]{24}`))
    await press(page, 'Delete Mine')
    assert.doesNotMatch(await page.locator('main').innerText(), /Mine/)
    await context.close()
  })

  test('axe finds nothing on any page, in light and dark, narrow and wide; nothing overflows', async () => {
    const directory = SHOTS ?? (await mkdtemp(join(tmpdir(), 'lanyard-pages-')))
    const several = await startGateway({ config: { identityProviders: providers(gateway.company.issuer) } })
    open.push(several)
    const client = await application('http')
    const context = await chromium.newContext({ ignoreHTTPSErrors: true })
    const page = await context.newPage()
    const look = (name: string): Promise<void> => inspect(page, join(directory, name))
    await page.goto(`${gateway.issuer}/`)
    await look('home-signed-out')
    await page.goto(await registeredRequest(several.issuer, client.redirectUri, 'Editor'))
    await look('providers')
    await page.goto(`${gateway.issuer}/authorize?client_id=nobody`)
    await look('error')
    await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, 'Editor with a rather long name that wants all of the room there is'))
    await signIn(page, 'dana')
    await look('consent')
    const wide = await registeredRequest(gateway.issuer, client.redirectUri, 'Editor', { resource: `${gateway.issuer}/mcp/engineering`, scope: 'mcp.read mcp.tickets.write' })
    const there = page.url()
    await page.goto(wide)
    await look('consent-profile')
    await press(page, 'Allow')
    await look('connections-profile')
    await page.goto(there)
    await page.locator('summary').click()
    await look('consent-details')
    await press(page, 'Allow')
    await look('connections')
    await page.goto(`${page.url()}?unconnected=tickets&why=unavailable`)
    await look('connections-failed')
    await press(page, 'Connect Tickets')
    await page.waitForLoadState()
    await signIn(page, 'dana')
    await page.waitForLoadState()
    await page.goto(`${gateway.issuer}/connections/tickets`)
    await look('connect')
    await page.goto(`${gateway.issuer}/`)
    await look('home')
    await page.getByText('Build a profile').click()
    await look('home-build')
    await page.getByLabel('Name', { exact: true }).fill('Everything that I need on a Monday morning, and a little more')
    await page.getByLabel('Notes', { exact: true }).check()
    await page.getByLabel('Tickets', { exact: true }).check()
    await press(page, 'Build')
    await look('home-built')
    await context.close()
    if (SHOTS === undefined) await rm(directory, { recursive: true, force: true })
  })
})

function providers(issuer: string): readonly object[] {
  return ['corp', 'partners'].map((id) => ({ id, type: 'oidc', name: id === 'corp' ? 'Demo Company' : 'Partners of the Demo Company', issuer, clientId: 'lanyard', clientSecret: 'not-used-for-this-page-at-all' }))
}

/** Looks at the page in each scheme and width: axe, no sideways scrolling, and a picture. */
async function inspect(page: Page, picture: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of [360, 1280]) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width, height: 800 })
      const where = `${picture}-${colorScheme}-${width}`
      await page.screenshot({ path: `${where}.png`, fullPage: true })
      const { violations, passes } = await new AxeBuilder({ page }).setLegacyMode().analyze()
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], where)
      assert.ok(passes.some(({ id }) => id === 'color-contrast'), where)
      const scrolls = await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth')
      assert.equal(scrolls, false, `${where} scrolls sideways`)
    }
  }
}
