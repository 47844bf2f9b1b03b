import ipaddr from 'ipaddr.js'
import { isInside } from './address.ts'

/** Where a URL came from: an operator wrote it, so private networks that `outbound.allow` names are reachable; or it was discovered. */
export type Provenance = 'configured' | 'discovered'

export interface AddressRules {
  /** CIDR networks besides the public internet that operator-configured addresses may use. */
  readonly allow: readonly string[]
  /** Whether discovered addresses may be loopback: only while the gateway itself is a loopback origin (CIMD §6.5). */
  readonly discoveredLoopback: boolean
}

/** Decides whether a connection to an address may be made. */
export type AddressCheck = (address: string, connection: { readonly provenance: Provenance; readonly secure: boolean }) => boolean

/** What no range of the address library covers, or covers as unicast. */
const NEVER_PUBLIC = [
  '::/96',
  '64:ff9b:1::/48',
  'fec0::/10',
  '100::/64',
  '2001::/23',
  '5f00::/16',
  // A public address in form, inside every Azure network the host's own agent, which hands out secrets.
  '168.63.129.16/32',
].map((network) => ipaddr.parseCIDR(network))
const GLOBAL_UNICAST = [ipaddr.parseCIDR('2000::/3')]

/** @throws Error when `allow` holds something that is no network: a typo must not open, nor silently close. */
export function addressCheck(rules: AddressRules): AddressCheck {
  const allowed = rules.allow.map((network) => ipaddr.parseCIDR(network))
  return (text, { provenance, secure }) => {
    // The library takes `::a.b.c.d` for the IPv4 address, systems for an IPv6 address that tunnels (RFC 4291 §2.5.5.1).
    if (!ipaddr.isValid(text) || /^::\d+\./.test(text)) return false
    // `process` turns an IPv4-mapped IPv6 address into the IPv4 address that it reaches.
    const address = ipaddr.process(text)
    if (provenance === 'configured' && isInside(address, allowed)) return true
    if (provenance === 'discovered' && rules.discoveredLoopback && address.range() === 'loopback') return true
    return secure && isPublic(address)
  }
}

/** Whether the address is a public unicast one: RFC 6890 and the IANA registries know no special use for it. */
function isPublic(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  if (address.range() !== 'unicast') return false
  return (address.kind() === 'ipv4' || isInside(address, GLOBAL_UNICAST)) && !isInside(address, NEVER_PUBLIC)
}
