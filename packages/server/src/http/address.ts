import { isIPv4 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Finds the network address of a caller behind trusted proxies. */
export type ClientAddress = (socketAddress: string | undefined, forwardedFor: string | undefined) => string

/** A network as `parseCIDR` reads it. */
export type Network = ReturnType<typeof ipaddr.parseCIDR>

const MAX_KNOWN = 10_000

/** `X-Forwarded-For` is believed from right to left, as far as trusted proxies wrote it. */
export function clientAddress(trustedProxies: readonly string[]): ClientAddress {
  const trusted = trustedProxies.map((network) => ipaddr.parseCIDR(network))
  const isTrusted = (address: string): boolean => isInside(ipaddr.process(address), trusted)
  // Who connects is nearly always somebody who did before: a proxy, or an address of the last minutes.
  const sockets = new Map<string, { readonly address: string; readonly trusted: boolean }>()
  const socket = (given: string): { readonly address: string; readonly trusted: boolean } => {
    let known = sockets.get(given)
    if (known === undefined) {
      const address = normal(given) ?? 'unknown'
      known = { address, trusted: address !== 'unknown' && isTrusted(address) }
      if (sockets.size >= MAX_KNOWN) sockets.clear()
      sockets.set(given, known)
    }
    return known
  }
  return (socketAddress, forwardedFor) => {
    const known = socket(socketAddress ?? '')
    if (!known.trusted || forwardedFor === undefined) return known.address
    const hops = forwardedFor.split(',').map((hop) => normal(hop.trim()))
    let { address } = known
    while (address !== 'unknown' && isTrusted(address)) {
      const previous = hops.pop()
      if (previous === undefined) break
      address = previous
    }
    return address
  }
}

/** Tells whether a connection comes from a proxy whose word is believed. */
export function proxyCheck(trustedProxies: readonly string[]): (socketAddress: string | undefined) => boolean {
  const trusted = trustedProxies.map((network) => ipaddr.parseCIDR(network))
  return (address = '') => ipaddr.isValid(address) && isInside(ipaddr.process(address), trusted)
}

/** What a flood guard counts by: an IPv4 address, or the /64 of an IPv6 address, which one host has all of. */
export function addressBucket(address: string): string {
  // Nearly all, and as they are written already.
  if (isIPv4(address) || !ipaddr.isValid(address)) return address
  const parsed = ipaddr.process(address)
  return parsed instanceof ipaddr.IPv6 ? parsed.parts.slice(0, 4).map((part) => part.toString(16)).join(':') : parsed.toString()
}

/** Whether an address, with `process` made of its text, is in one of the networks; those of the other family hold none. */
export function isInside(address: ipaddr.IPv4 | ipaddr.IPv6, networks: readonly Network[]): boolean {
  return networks.some(([network, bits]) => address.kind() === network.kind() && address.match(network, bits))
}

function normal(address: string): string | undefined {
  return ipaddr.isValid(address) ? ipaddr.process(address).toString() : undefined
}
