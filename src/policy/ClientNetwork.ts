/** Clients as they are counted: an IPv4 address, or the 64 bits of IPv6 that a household or a host is given whole. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"

const prefixLength = 64

/** Clients on this machine: also all who come through something else on it that does not say for whom. */
export const loopback: ReadonlyArray<IpNetwork.IpNetwork> = ["127.0.0.0/8", "::1/128"].map((text) =>
  Result.getOrThrow(IpNetwork.fromString(text))
)

/** The text of an address as it is counted: `192.0.2.5`, `2001:db8:0:1::/64`. One that carries IPv4 is that. */
export const of = (address: NetAddress.IpAddress): string => {
  const canonical = NetAddress.toCanonical(address)
  if (NetAddress.isIpv4Address(canonical)) return NetAddress.formatIp(canonical)
  const [a, b, c, d] = NetAddress.ipv6ToSegments(canonical)
  return `${NetAddress.formatIp(NetAddress.ipv6FromBytesUnsafe(networkBytes(a, b, c, d)))}/${prefixLength}`
}

const networkBytes = (...segments: ReadonlyArray<number>): Uint8Array => {
  const bytes = new Uint8Array(16)
  segments.forEach((segment, index) => {
    bytes[2 * index] = segment >> 8
    bytes[2 * index + 1] = segment & 255
  })
  return bytes
}

/** Whether one of the networks has the address, in whichever form either is written. */
export const isAmong = (networks: ReadonlyArray<IpNetwork.IpNetwork>, address: NetAddress.IpAddress): boolean => {
  const canonical = NetAddress.toCanonical(address)
  return networks.some((network) =>
    IpNetwork.contains(network, canonical) ||
    (NetAddress.isIpv4Address(canonical) && IpNetwork.contains(network, NetAddress.toIpv4Mapped(canonical)))
  )
}
