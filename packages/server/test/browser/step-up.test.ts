// The page where a person signs in again for a call, in a real browser: without scripts the whole way, and looked at.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, Page } from 'playwright-core'
import { tokenOf } from '../support/api-clients.ts'
import { startChromium, withoutChromium } from '../support/chromium.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { CLIENT_SECRET } from '../support/openid-provider.ts'
import { MFA, PWD, strongProvider, type StrongProvider } from '../support/strong-provider.ts'

const SHOTS = process.env['LANYARD_SCREENSHOTS']

describe('the step-up page in Chromium', { skip: withoutChromium(), timeout: 120_000 }, () => {
  let gateway: RunningGateway
  let corp: StrongProvider
  let chromium: Browser
  let token = ''

  before(async () => {
    corp = await strongProvider()
    gateway = await startGateway({
      config: {
        identityProviders: [{ id: 'corp', type: 'oidc', name: 'Corp', issuer: corp.issuer, clientId: 'lanyard', clientSecret: CLIENT_SECRET, acrValues: [PWD, MFA] }],
        rules: [{ id: 'everything', effect: 'allow', groups: ['engineering'] }, { id: 'strong', effect: 'step-up', tools: ['write_note'], require: { acrValues: [MFA] } }],
      },
    })
    ;[chromium, token] = await Promise.all([startChromium(), tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/mcp/notes`)])
  })
  after(async () => {
    await (chromium as Browser | undefined)?.close()
    await (gateway as RunningGateway | undefined)?.close()
    await (corp as StrongProvider | undefined)?.close()
  })

  /** Calls the tool as a client that can open a page. @returns the page, or the text of the result */
  async function call(): Promise<{ readonly page?: string; readonly text?: string }> {
    const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': { elicitation: { url: {} } } }
    const response = await fetch(`${gateway.issuer}/mcp/notes`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'write_note' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'write_note', arguments: { title: 'strong', text: 'x' }, _meta: meta } }),
    })
    const text = await response.text()
    const { result } = JSON.parse(text.replace(/^[\s\S]*?(?=\{)/, '')) as { result?: { inputRequests?: Record<string, { params: { url: string } }>; content?: { text: string }[] } }
    const page = Object.values(result?.inputRequests ?? {})[0]?.params.url
    return { ...(page === undefined ? {} : { page }), text: result?.content?.[0]?.text ?? text }
  }

  const heading = async (page: Page): Promise<string> => (await page.locator('h1').first().textContent()) ?? ''
  const signIn = (page: Page, person: string): Promise<void> => page.locator(`button[name=login][value=${person}]`).click()

  async function look(page: Page, name: string): Promise<void> {
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [320, 1280]) {
        await page.emulateMedia({ colorScheme })
        await page.setViewportSize({ width, height: 800 })
        if (SHOTS !== undefined) await page.screenshot({ path: join(SHOTS, `step-up-${name}-${colorScheme}-${width}.png`), fullPage: true })
        const { violations, passes } = await new AxeBuilder({ page }).setLegacyMode().analyze()
        assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [])
        assert.ok(passes.some(({ id }) => id === 'color-contrast'))
        assert.equal(await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth'), false, `${name} at ${width}`)
      }
    }
  }

  test('RS-36: somebody else who opens the link proves nothing, and is told so', async () => {
    const { page: url } = await call()
    const context = await chromium.newContext()
    const page = await context.newPage()
    await page.goto(url ?? '')
    await signIn(page, 'bob')
    assert.equal(await heading(page), 'This link is for somebody else')
    assert.notEqual((await call()).page, undefined)
    await context.close()
  })

  test('J10, RFC 9470: without scripts, from the link over the provider to the end, and the same token suffices', async () => {
    const { page: url } = await call()
    const context = await chromium.newContext({ javaScriptEnabled: false })
    const page = await context.newPage()
    await page.goto(url ?? '')
    await signIn(page, 'alice')
    // Whoever signs in is asked for what is needed at once; the page still asks whether they meant it.
    assert.equal(await heading(page), 'Confirm that it is you')
    assert.match((await page.locator('main').textContent()) ?? '', /Script wants to use write_note of Notes as you/)
    assert.match(await page.locator('.facts').innerText(), /unverified: it chose this name itself[\s\S]*Alice/)
    await page.getByRole('button', { name: 'Continue' }).click()
    if (!page.url().startsWith(gateway.issuer)) await signIn(page, 'alice')
    assert.equal(await heading(page), 'Thank you')
    assert.equal((await call()).text, 'wrote strong')
    await recorded(gateway, ({ action, outcome }) => action === 'step-up.granted' && outcome === 'success')
    await context.close()
  })

  test('axe finds nothing on its pages, in light and dark, narrow and wide', async () => {
    corp.secondFactor = false
    token = await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/mcp/notes`)
    const { page: url } = await call()
    const context = await chromium.newContext()
    const page = await context.newPage()
    await page.goto(`${gateway.issuer}/login?return_to=/`)
    await signIn(page, 'alice')
    await page.goto(url ?? '')
    assert.equal(await heading(page), 'Confirm that it is you')
    await look(page, 'confirm')
    await page.getByRole('button', { name: 'Continue' }).click()
    if (!page.url().startsWith(gateway.issuer)) await signIn(page, 'alice')
    assert.equal(await heading(page), 'That was not enough')
    await look(page, 'not-enough')
    corp.secondFactor = true
    await page.goto(url ?? '')
    await page.getByRole('button', { name: 'Continue' }).click()
    if (!page.url().startsWith(gateway.issuer)) await signIn(page, 'alice')
    assert.equal(await heading(page), 'Thank you')
    await look(page, 'done')
    await context.close()
  })
})
