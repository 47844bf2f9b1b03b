// What a reverse proxy is told of a call that a rule leaves to an administrator.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asPerson, tokenOf } from '../support/api-clients.ts'
import { startGateway } from '../support/gateway.ts'
import { variants } from '../support/variants.ts'

const BOARD = 'http://board.example/mcp'
const CONFIG = {
  trustedProxies: ['127.0.0.1/32'],
  admins: { groups: ['it-admins'] },
  upstreams: [{ id: 'board', url: 'http://127.0.0.1:9/mcp' }],
  rules: [
    { id: 'engineering', effect: 'allow', groups: ['engineering'] },
    { id: 'payments', effect: 'approval', tools: ['pay_*'] },
  ],
  forwardAuth: [{ id: 'board', resource: BOARD, profile: 'board', validatesHeaders: true }],
}

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  test(`a proxy is told that an administrator must approve a call, and after they did, that it may be made, on ${variant.name}`, async () => {
    const gateway = await startGateway({ ...variant, config: CONFIG })
    try {
      const token = await tokenOf(gateway.issuer, 'alice', BOARD)
      const may = (tool: string): Promise<Response> =>
        fetch(`${gateway.issuer}/forward-auth`, {
          headers: {
            authorization: `Bearer ${token}`,
            'x-forwarded-method': 'POST',
            'x-forwarded-proto': 'http',
            'x-forwarded-host': 'board.example',
            'x-forwarded-uri': '/mcp',
            'mcp-protocol-version': '2026-07-28',
            'mcp-method': 'tools/call',
            'mcp-name': tool,
          },
        })
      const first = await may('pay_bill')
      assert.equal(first.status, 403)
      assert.match(await first.text(), /must approve this first/)
      await (await may('pay_bill')).body?.cancel()
      assert.equal((await may('read_bill')).status, 200)
      const dana = await asPerson(gateway.issuer, 'dana')
      const { approvals } = (await dana('/api/approvals')).body as { approvals: { id: string; tool: string; needs: { upstream: string }[] }[] }
      assert.deepEqual(approvals.map(({ tool, needs }) => [tool, needs[0]?.upstream]), [['pay_bill', 'board']])
      assert.equal((await dana(`/api/approvals/${approvals[0]?.id ?? ''}/approve`, { method: 'POST', body: {} })).status, 204)
      assert.equal((await may('pay_bill')).status, 200)
      assert.equal((await may('pay_salaries')).status, 403)
    } finally {
      await gateway.close()
    }
  })
}
