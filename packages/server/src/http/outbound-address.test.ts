import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addressCheck } from './outbound-address.ts'

const none = addressCheck({ allow: [], discoveredLoopback: false })
const PUBLIC = ['8.8.8.8', '1.1.1.1', '93.184.216.34', '2001:4860:4860::8888', '2606:4700:4700::1111', '::ffff:8.8.8.8']

test('public addresses are reached over https, and by nothing else', () => {
  for (const address of PUBLIC) {
    for (const provenance of ['configured', 'discovered'] as const) {
      assert.equal(none(address, { provenance, secure: true }), true, address)
      assert.equal(none(address, { provenance, secure: false }), false, address)
    }
  }
})

test('addresses of special use are refused, in every spelling (I01, AS-15, RFC 6890)', () => {
  const special = [
    ['0.0.0.0', '0.1.2.3', '10.0.0.1', '10.255.255.255', '100.64.0.1', '100.100.100.200', '127.0.0.1', '127.255.255.254', '169.254.169.254', '172.16.0.1', '172.31.255.255'],
    ['192.0.0.1', '192.0.0.192', '192.0.2.1', '192.31.196.1', '192.52.193.1', '192.88.99.1', '192.168.0.1', '192.175.48.1', '198.18.0.1', '198.19.255.255', '198.51.100.1'],
    ['203.0.113.1', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255', '168.63.129.16'],
    ['::', '::1', 'fc00::1', 'fd00:ec2::254', 'fe80::1', 'fec0::1', 'ff02::1', '2001:db8::1', '3fff::1', '100::1', '5f00::1', '4000::1', '2001:20::1', '2620:4f:8000::1'],
    // Mapped, IPv4-compatible, NAT64 (well-known and local), 6to4, Teredo, IPv4-translated: they reach an IPv4 address.
    ['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:10.0.0.1', '0:0:0:0:0:ffff:a9fe:a9fe', '::127.0.0.1', '::7f00:1', '64:ff9b::7f00:1', '64:ff9b::169.254.169.254'],
    ['64:ff9b:1::7f00:1', '2002:7f00:1::', '2002:a00:1::1', '2001:0:4136:e378:8000:63bf:3fff:fdd2', '::ffff:0:127.0.0.1'],
  ].flat()
  for (const address of special) {
    assert.equal(none(address, { provenance: 'discovered', secure: true }), false, address)
    assert.equal(none(address, { provenance: 'configured', secure: true }), false, address)
  }
})

test('what is no address is refused', () => {
  for (const text of ['', 'localhost', 'example.com', '127.0.0.1:80', '[::1]', 'fe80::1%eth0/64', '8.8.8.8 ']) assert.equal(none(text, { provenance: 'configured', secure: true }), false, text)
})

test('an allowed network is open to what an operator wrote, and closed to what was discovered', () => {
  const check = addressCheck({ allow: ['10.1.0.0/16', 'fd00:1::/32'], discoveredLoopback: false })
  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', 'fd00:1::5']) {
    assert.equal(check(address, { provenance: 'configured', secure: false }), true, address)
    assert.equal(check(address, { provenance: 'discovered', secure: true }), false, address)
  }
  for (const address of ['10.2.0.1', 'fd00:2::5', '127.0.0.1']) assert.equal(check(address, { provenance: 'configured', secure: true }), false, address)
})

test('only a gateway that is loopback itself discovers loopback addresses (AS-15)', () => {
  const check = addressCheck({ allow: [], discoveredLoopback: true })
  for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) assert.equal(check(address, { provenance: 'discovered', secure: false }), true, address)
  for (const address of ['10.0.0.1', '169.254.169.254', '0.0.0.0', '::']) assert.equal(check(address, { provenance: 'discovered', secure: true }), false, address)
  assert.equal(check('127.0.0.1', { provenance: 'configured', secure: true }), false)
})

test('a typo in an allowed network is told, and opens nothing (I09)', () => {
  for (const network of ['10.0.0.0', '10.0.0.0/33', 'localhost', '10.0.0.0/8,127.0.0.0/8', '*', '']) assert.throws(() => addressCheck({ allow: [network], discoveredLoopback: false }), network)
})

test('property: an IPv4 address is judged alike however IPv6 writes it, or refused', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const plain = none(address, { provenance: 'discovered', secure: true })
      assert.equal(none(`::ffff:${address}`, { provenance: 'discovered', secure: true }), plain)
      for (const prefix of ['::', '64:ff9b::', '::ffff:0:']) assert.equal(none(`${prefix}${address}`, { provenance: 'discovered', secure: true }), false)
    }),
    { numRuns: 500 },
  )
})
