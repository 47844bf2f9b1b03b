// A declared profile that grows with the configuration, and `/mcp` with it: what was approved before is not good for more.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

interface Settings {
  upstreams: { id: string }[]
  profiles: { id: string; upstreams: string[] }[]
}

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`a declared profile that grows, on ${variant.name}`, () => {
    let gateway: RunningGateway
    let tickets: Settings['upstreams'][number]

    before(async () => {
      gateway = await startGateway({ ...variant, config: { profiles: [{ id: 'team', name: 'Team', upstreams: ['notes'] }], rules: [{ id: 'everything', effect: 'allow' }] } })
      tickets = (await settings()).upstreams.find(({ id }) => id === 'tickets') ?? { id: '' }
      await restart((found) => ({ ...found, upstreams: found.upstreams.filter(({ id }) => id !== 'tickets') }))
    })
    after(() => gateway.close())

    async function settings(): Promise<Settings> {
      return parse(await readFile(gateway.processes[0]?.config ?? '', 'utf8')) as Settings
    }

    async function restart(change: (found: Settings) => Settings): Promise<void> {
      const [node] = gateway.processes
      assert.ok(node !== undefined)
      await node.stop()
      await writeFile(node.config, stringify(change(await settings())))
      await node.start()
    }

    async function signIn(path: string, own?: MemoryProvider): Promise<{ readonly provider: MemoryProvider; readonly tools: readonly string[] }> {
      const provider = memoryProvider({ connect: false, ...(own === undefined ? {} : { browser: own.browser }) })
      // The same client as before: what was remembered of it would count.
      const client = own?.clientInformation()
      if (client !== undefined) provider.saveClientInformation(client)
      const connected = await connectV2(`${gateway.issuer}${path}`, provider, 'modern')
      const tools = await connected.tools()
      await connected.close()
      return { provider, tools }
    }

    async function refresh(provider: MemoryProvider): Promise<string> {
      const form = { grant_type: 'refresh_token', client_id: provider.clientInformation()?.client_id ?? '', refresh_token: provider.tokens()?.refresh_token ?? '' }
      const answer = (await (await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) })).json()) as { error?: string; access_token: string; token_type: string; refresh_token: string }
      if (answer.error === undefined) provider.saveTokens(answer)
      return answer.error ?? 'refreshed'
    }

    const consents = (): readonly unknown[] => gateway.events.filter(({ action }) => action === 'consent.granted').map(({ resource, detail }) => [resource, detail?.['reach']])

    test('D06: its refresh tokens are worth nothing until the person approved what is new; one that shrank goes on', async () => {
      const team = await signIn('/mcp/team')
      const everything = await signIn('/mcp', team.provider)
      assert.deepEqual([team.tools, everything.tools], [['list_notes', 'read_note', 'write_note', 'delete_note'], ['list_notes', 'read_note', 'write_note', 'delete_note']])
      assert.deepEqual([await refresh(team.provider), await refresh(everything.provider)], ['refreshed', 'refreshed'])
      assert.deepEqual(consents(), [[`${gateway.issuer}/mcp/team`, ['notes']], [`${gateway.issuer}/mcp`, ['notes']]])

      await restart((found) => ({ ...found, upstreams: [...found.upstreams, tickets], profiles: [{ ...found.profiles[0], id: 'team', upstreams: ['notes', 'tickets'] }] }))
      assert.deepEqual([await refresh(team.provider), await refresh(everything.provider)], ['invalid_grant', 'invalid_grant'])
      assert.equal(gateway.events.filter(({ reason }) => reason === 'the profile has grown since it was approved').length, 2)
      const grown = await signIn('/mcp/team', team.provider)
      const all = await signIn('/mcp', team.provider)
      assert.ok(grown.tools.includes('notes__list_notes') && all.tools.includes('notes__list_notes'))
      assert.deepEqual(consents().slice(2), [[`${gateway.issuer}/mcp/team`, ['notes', 'tickets']], [`${gateway.issuer}/mcp`, ['notes', 'tickets']]])
      assert.deepEqual([await refresh(grown.provider), await refresh(all.provider)], ['refreshed', 'refreshed'])

      await restart((found) => ({ ...found, upstreams: found.upstreams.filter(({ id }) => id !== 'tickets'), profiles: [{ ...found.profiles[0], id: 'team', upstreams: ['notes'] }] }))
      assert.deepEqual([await refresh(grown.provider), await refresh(all.provider), await refresh(team.provider)], ['refreshed', 'refreshed', 'refreshed'])
      await signIn('/mcp/team', team.provider)
      assert.equal(consents().length, 4)
    })
  })
}
