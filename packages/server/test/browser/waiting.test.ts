// The page of a person who waits for an administrator, in a real browser without scripts: it goes on by itself.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, Page } from 'playwright-core'
import { asPerson, type Ask } from '../support/api-clients.ts'
import { startChromium, withoutChromium } from '../support/chromium.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { registeredRequest, webClient, type WebClient } from '../support/web-client.ts'

const SHOTS = process.env['LANYARD_SCREENSHOTS']

describe('the waiting page in Chromium', { skip: withoutChromium(), timeout: 120_000 }, () => {
  let gateway: RunningGateway
  let chromium: Browser
  let client: WebClient
  let dana: Ask

  before(async () => {
    gateway = await startGateway({ config: { registration: { approval: 'required' }, admins: { groups: ['it-admins'] } } })
    ;[chromium, client, dana] = await Promise.all([startChromium(), webClient('https'), asPerson(gateway.issuer, 'dana')])
  })
  after(async () => {
    await chromium?.close()
    await gateway?.close()
    await client?.close()
  })

  async function toWaiting(page: Page, name: string): Promise<string> {
    await page.goto(await registeredRequest(gateway.issuer, client.redirectUri, name, { resource: `${gateway.issuer}/mcp/notes` }))
    const signIn = page.locator('button[name=login][value=alice]')
    if ((await signIn.count()) > 0) await signIn.click()
    await page.getByRole('button', { name: 'Allow', exact: true }).click()
    assert.equal(await page.locator('h1').textContent(), 'Waiting for your administrator')
    const { approvals } = (await dana('/api/approvals')).body as { approvals: { id: string; application: { name: string } }[] }
    return approvals.find(({ application }) => application.name === name)?.id ?? ''
  }

  test('it goes on by itself to the application, with a code or with the reason', async () => {
    const context = await chromium.newContext({ javaScriptEnabled: false, ignoreHTTPSErrors: true })
    const page = await context.newPage()
    for (const decision of ['approve', 'refuse'] as const) {
      const id = await toWaiting(page, `To ${decision}`)
      if (SHOTS !== undefined) await page.screenshot({ path: join(SHOTS, `waiting-${decision}.png`), fullPage: true })
      const { status } = await dana(`/api/approvals/${id}/${decision}`, { method: 'POST', body: decision === 'approve' ? {} : { reason: 'Not this one' } })
      assert.equal(status, 204)
      await page.waitForURL((url) => url.href.startsWith(client.redirectUri), { timeout: 20_000 })
      const answer = client.answers.at(-1)
      if (decision === 'approve') assert.match(answer?.['code'] ?? '', /^lyd_ac_/)
      else assert.deepEqual([answer?.['error'], answer?.['error_description']], ['access_denied', 'Not this one'])
    }
    await context.close()
  })

  test('whoever wants it still has it so; axe finds nothing on it, and it can be left', async () => {
    const context = await chromium.newContext({ ignoreHTTPSErrors: true })
    const page = await context.newPage()
    await toWaiting(page, 'An editor with a rather long name that wants all of the room there is')
    await page.getByRole('link', { name: 'Do not check automatically' }).click()
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [360, 1280]) {
        await page.emulateMedia({ colorScheme })
        await page.setViewportSize({ width, height: 800 })
        if (SHOTS !== undefined) await page.screenshot({ path: join(SHOTS, `waiting-still-${colorScheme}-${width}.png`), fullPage: true })
        const { violations, passes } = await new AxeBuilder({ page }).setLegacyMode().analyze()
        assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [])
        assert.ok(passes.some(({ id }) => id === 'color-contrast'))
        assert.equal(await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth'), false)
      }
    }
    await page.getByRole('button', { name: 'Stop waiting' }).click()
    await page.waitForURL((url) => url.href.startsWith(client.redirectUri))
    assert.equal(client.answers.at(-1)?.['error'], 'access_denied')
    await context.close()
  })
})
