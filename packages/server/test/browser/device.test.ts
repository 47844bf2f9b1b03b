// The pages of a device in a real browser: without scripts from the code to the grant, and looked at.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { AxeBuilder } from '@axe-core/playwright'
import type { Browser, Page } from 'playwright-core'
import { DEVICE_CODE } from '../../src/oauth/grant-type.ts'
import { startChromium, withoutChromium } from '../support/chromium.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'

const SHOTS = process.env['LANYARD_SCREENSHOTS']

interface Device {
  readonly device_code: string
  readonly user_code: string
  readonly verification_uri: string
  readonly verification_uri_complete: string
}

describe('the pages of a device in Chromium', { skip: withoutChromium(), timeout: 120_000 }, () => {
  let gateway: RunningGateway
  let chromium: Browser

  before(async () => {
    gateway = await startGateway({ config: { trustedProxies: ['127.0.0.0/8'] } })
    chromium = await startChromium()
  })
  after(async () => {
    await (chromium as Browser | undefined)?.close()
    await (gateway as RunningGateway | undefined)?.close()
  })

  const heading = async (page: Page): Promise<string> => (await page.locator('h1').first().textContent()) ?? ''
  const press = (page: Page, name: string): Promise<void> => page.getByRole('button', { name, exact: true }).click()
  const signIn = (page: Page, person: string): Promise<void> => page.locator(`button[name=login][value=${person}]`).click()

  async function ask(clientId = 'lanyard-cli', from?: string): Promise<Device> {
    const headers = from === undefined ? {} : { 'x-forwarded-for': from }
    const response = await fetch(`${gateway.issuer}/device_authorization`, { method: 'POST', headers, body: new URLSearchParams({ client_id: clientId, resource: `${gateway.issuer}/mcp/notes`, scope: 'mcp.read mcp.write' }) })
    assert.equal(response.status, 200)
    return (await response.json()) as Device
  }

  async function poll(device: Device, clientId = 'lanyard-cli'): Promise<Record<string, unknown>> {
    const response = await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: DEVICE_CODE, client_id: clientId, device_code: device.device_code }) })
    return (await response.json()) as Record<string, unknown>
  }

  async function look(page: Page, name: string): Promise<void> {
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const width of [320, 1280]) {
        await page.emulateMedia({ colorScheme })
        await page.setViewportSize({ width, height: 800 })
        const where = `device-${name}-${colorScheme}-${width}`
        if (SHOTS !== undefined) await page.screenshot({ path: join(SHOTS, `${where}.png`), fullPage: true })
        const { violations, passes } = await new AxeBuilder({ page }).setLegacyMode().analyze()
        assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], where)
        assert.ok(passes.some(({ id }) => id === 'color-contrast'), where)
        assert.equal(await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth'), false, `${where} scrolls sideways`)
      }
    }
  }

  test('without scripts: the code is typed, the page compared, the device connected, and it fetches its tokens', async () => {
    const context = await chromium.newContext({ javaScriptEnabled: false })
    const page = await context.newPage()
    const device = await ask()
    await page.goto(device.verification_uri)
    await signIn(page, 'alice')
    assert.equal(await heading(page), 'Connect a device')
    await page.getByLabel('Code').fill(device.user_code.toLowerCase().replace('-', ' '))
    await press(page, 'Continue')
    assert.equal(await heading(page), 'Allow Lanyard command line on a device to use Notes as you?')
    const text = await page.locator('main').innerText()
    for (const shown of [device.user_code, 'part of this gateway', '127.0.0.1', 'the network of this browser', 'less than a minute ago', 'Any program, anywhere, can say that it is Lanyard command line.']) assert.ok(text.includes(shown), `${shown} in:\n${text}`)
    assert.equal((await poll(device))['error'], 'authorization_pending')
    await press(page, 'Allow')
    assert.equal(await heading(page), 'The device is connected')
    assert.equal((await poll(device))['token_type'], 'Bearer')
    await page.goto(`${gateway.issuer}/`)
    assert.match(await page.locator('main').innerText(), /Lanyard command line may use Notes/)
    await context.close()
  })

  test('without scripts: a link is compared first, and what the person denies the device is told', async () => {
    const context = await chromium.newContext({ javaScriptEnabled: false })
    const page = await context.newPage()
    const device = await ask()
    await page.goto(device.verification_uri_complete)
    await signIn(page, 'bob')
    assert.equal(await heading(page), 'Does your device show this code?')
    await press(page, 'It shows this code')
    await press(page, 'Do not allow')
    assert.equal(await heading(page), 'You did not allow it')
    assert.equal((await poll(device))['error'], 'access_denied')
    await context.close()
  })

  test('axe finds nothing on the pages of a device, in light and dark, narrow and wide; nothing overflows', async () => {
    const context = await chromium.newContext()
    const page = await context.newPage()
    const registered = await fetch(`${gateway.issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ client_name: 'Television with a rather long name', grant_types: [DEVICE_CODE, 'refresh_token'], token_endpoint_auth_method: 'none' }) })
    const { client_id: clientId } = (await registered.json()) as { client_id: string }
    await page.goto(`${gateway.issuer}/device`)
    await signIn(page, 'dana')
    await look(page, 'typing')
    await page.getByLabel('Code').fill('BBBB-BBBC')
    await press(page, 'Continue')
    assert.match(await page.locator('main').innerText(), /No device waits with this code/)
    await look(page, 'mistake')
    await page.goto((await ask()).verification_uri_complete)
    await look(page, 'comparing')
    await context.close()
    const others = await chromium.newContext()
    const other = await others.newPage()
    await other.goto((await ask(clientId, '2001:db8:1234:5678:9abc:def0:1234:5678')).verification_uri_complete)
    await signIn(other, 'alice')
    await press(other, 'It shows this code')
    assert.match(await other.locator('main').innerText(), /It does not ask from where you are/)
    await look(other, 'consent-elsewhere')
    await press(other, 'Allow')
    await look(other, 'connected')
    await other.goto((await ask()).verification_uri_complete)
    await press(other, 'It shows this code')
    await press(other, 'Do not allow')
    await look(other, 'denied')
    await others.close()
  })
})
