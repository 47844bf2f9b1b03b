// Profiles by the JSON API: people's own, and those that administrators publish, on whole nodes.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { asPerson, signedIn, tokenFor, type Answered, type Ask } from '../support/api-clients.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { variants } from '../support/variants.ts'

interface Shown {
  readonly id: string
  readonly name: string
  readonly address: string
  readonly version?: number
  readonly declared: boolean
}

const shown = ({ body }: Answered): Shown => body as unknown as Shown

function assertProblem(answer: Answered, status: number, code: string): void {
  assert.deepEqual([answer.status, answer.body['type']], [status, `urn:lanyard:problem:${code}`], answer.text)
}

for (const variant of variants()) {
  describe(`profiles by the JSON API, on ${variant.name}`, () => {
    let gateway: RunningGateway
    let dana: Ask
    let alice: Ask
    let bob: Ask

    before(async () => {
      const config = { admins: { groups: ['it-admins'] }, profiles: [{ id: 'declared', name: 'Declared', upstreams: ['notes'] }] }
      gateway = await startGateway({ ...variant, config })
      dana = await asPerson(gateway.issuer, 'dana')
      alice = await asPerson(gateway.issuer, 'alice')
      bob = await asPerson(gateway.issuer, 'bob')
    })
    after(() => gateway.close())

    const post = (as: Ask, path: string, body: object): Promise<Answered> => as(path, { method: 'POST', body })
    const put = (as: Ask, path: string, body: object): Promise<Answered> => as(path, { method: 'PUT', body })
    const remove = (as: Ask, path: string): Promise<Answered> => as(path, { method: 'DELETE' })
    const names = async (as: Ask, path: string, list: string): Promise<readonly string[]> => ((await as(path)).body[list] as Shown[]).map(({ name }) => name)
    /** Another node hears of it a moment later. */
    const everywhere = (what: string, holds: () => Promise<boolean>): Promise<unknown> =>
      eventually(what, async () => {
        for (let node = 0; node < variant.nodes; node += 1) if (!(await holds())) return false
        return true
      })

    test('a person builds, changes and deletes a profile of their own; nobody else sees or touches it (E06)', async () => {
      assert.deepEqual(await names(alice, '/api/me/profiles', 'upstreams'), ['Notes', 'Tickets'])
      const made = await post(alice, '/api/me/profiles', { name: 'Work', upstreams: ['notes'], tools: { notes: ['read_*'] } })
      assert.equal(made.status, 201, made.text)
      const { id, address, version } = shown(made)
      assert.match(id, /^u-[a-z2-7]{24}$/)
      assert.deepEqual([address, version], [`${gateway.issuer}/mcp/${id}`, 1])
      await everywhere('the profile of alice', async () => (await names(alice, '/api/me/profiles', 'own')).includes('Work'))
      // Dana administrates, and yet it is not hers.
      for (const other of [bob, dana]) {
        assert.ok(!(await names(other, '/api/me/profiles', 'own')).includes('Work'))
        assert.ok(!(await names(other, '/api/me/profiles', 'profiles')).includes('Work'))
        assertProblem(await put(other, `/api/me/profiles/${id}`, { name: 'Taken', upstreams: ['notes'] }), 404, 'not-found')
        assertProblem(await remove(other, `/api/me/profiles/${id}`), 404, 'not-found')
      }
      assertProblem(await remove(dana, `/api/profiles/${id}`), 404, 'not-found')
      assertProblem(await put(dana, `/api/profiles/${id}`, { name: 'Taken', upstreams: ['notes'] }), 404, 'not-found')
      const changed = await put(alice, `/api/me/profiles/${id}`, { name: 'Work again', upstreams: ['notes', 'tickets'], version: 1 })
      assert.deepEqual([changed.status, shown(changed).name, shown(changed).version], [200, 'Work again', 2])
      assertProblem(await put(alice, `/api/me/profiles/${id}`, { name: 'Late', upstreams: ['notes'], version: 1 }), 409, 'conflict')
      assert.equal((await remove(alice, `/api/me/profiles/${id}`)).status, 204)
      assertProblem(await remove(alice, `/api/me/profiles/${id}`), 404, 'not-found')
      for (const action of ['profile.created', 'profile.changed', 'profile.deleted']) await recorded(gateway, (event) => event.action === action && event.resource === address)
    })

    test('nobody builds what they may not use: it is told of as what does not exist', async () => {
      for (const upstreams of [['tickets'], ['notes', 'tickets'], ['nothing'], []]) assertProblem(await post(bob, '/api/me/profiles', { name: 'Mine', upstreams }), 422, 'invalid')
      assertProblem(await post(bob, '/api/me/profiles', { name: 'Mine', upstreams: ['notes'], tools: { tickets: ['*'] } }), 422, 'invalid')
      assertProblem(await post(bob, '/api/me/profiles', { name: 'Mine', upstreams: ['notes'], tools: { notes: ['a tool'] } }), 422, 'invalid')
      assertProblem(await post(bob, '/api/me/profiles', { name: 'Mine', upstreams: ['notes'], owner: 'usr_alice' }), 422, 'invalid')
      assertProblem(await post(bob, '/api/me/profiles', { name: 'Mine', upstreams: ['notes'], id: 'everything' }), 422, 'invalid')
      const made = await post(bob, '/api/me/profiles', { name: 'Mine', upstreams: ['notes'] })
      assert.equal(made.status, 201)
      assert.equal((await remove(bob, `/api/me/profiles/${shown(made).id}`)).status, 204)
    })

    test('an administrator publishes, changes and removes; reserved, declared and taken names are refused', async () => {
      for (const id of ['everything', 'mcp', 'api', 'u-alice', 'notes', 'declared']) assertProblem(await post(dana, '/api/profiles', { id, name: 'Shadow', upstreams: ['notes'] }), 409, 'conflict')
      for (const id of ['', 'A', 'a/b', '../notes', 'a'.repeat(64)]) assertProblem(await post(dana, '/api/profiles', { id, name: 'Odd', upstreams: ['notes'] }), 422, 'invalid')
      const team = { name: 'Team', upstreams: ['notes'], groups: ['engineering'] }
      const made = await post(dana, '/api/profiles', { id: 'team', ...team })
      assert.equal(made.status, 201, made.text)
      assertProblem(await post(dana, '/api/profiles', { id: 'team', ...team }), 409, 'conflict')
      await everywhere('the team’s profile', async () => (await names(dana, '/api/profiles', 'profiles')).join(' ') === 'Declared Team')
      assert.deepEqual((await dana('/api/profiles/team')).body['groups'], ['engineering'])
      assert.ok((await names(alice, '/api/me/profiles', 'profiles')).includes('Team'))
      assert.ok(!(await names(bob, '/api/me/profiles', 'profiles')).includes('Team'))
      for (const as of [alice, bob]) {
        for (const refused of [await post(as, '/api/profiles', { id: 'mine', ...team }), await put(as, '/api/profiles/team', team), await remove(as, '/api/profiles/team'), await as('/api/profiles')]) assertProblem(refused, 403, 'not-an-administrator')
      }
      for (const refused of [await put(dana, '/api/profiles/declared', team), await remove(dana, '/api/profiles/declared'), await remove(dana, '/api/profiles/notes')]) assertProblem(refused, 409, 'declared')
      const open = await put(dana, '/api/profiles/team', { name: 'Team', upstreams: ['notes'] })
      assert.deepEqual([open.status, 'groups' in open.body], [200, false])
      await everywhere('the open profile', async () => (await names(bob, '/api/me/profiles', 'profiles')).includes('Team'))
      assert.equal((await remove(dana, '/api/profiles/team')).status, 204)
      assertProblem(await dana('/api/profiles/missing'), 404, 'not-found')
    })

    test('a published profile is for its groups alone, from the sign-in on', async () => {
      const made = await post(dana, '/api/profiles', { id: 'sales', name: 'Sales', upstreams: ['notes'], groups: ['sales'] })
      assert.equal(made.status, 201)
      const { address } = shown(made)
      await everywhere('the metadata', async () => (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/mcp/sales`)).status === 200)
      assert.equal((await tokenFor(gateway.issuer, 'alice', address)).error, 'invalid_target')
      assert.ok((await tokenFor(gateway.issuer, 'bob', address)).token)
      // What a person calls their own is no metadata.
      const own = shown(await post(alice, '/api/me/profiles', { name: 'A private name', upstreams: ['notes'] }))
      await everywhere('the metadata', async () => (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/mcp/${own.id}`)).status === 200)
      assert.doesNotMatch(await (await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/mcp/${own.id}`)).text(), /private/)
      assert.equal((await tokenFor(gateway.issuer, 'bob', own.address)).error, 'invalid_target')
      assert.ok((await tokenFor(gateway.issuer, 'alice', own.address)).token)
      assert.match((await (await signedIn(gateway.issuer, 'alice')).open(`${gateway.issuer}/`)).text, /A private name/)
      assert.equal((await remove(alice, `/api/me/profiles/${own.id}`)).status, 204)
      assert.equal((await remove(dana, '/api/profiles/sales')).status, 204)
    })
  })
}
