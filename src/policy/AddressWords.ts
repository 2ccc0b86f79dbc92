/**
 * IP addresses as numbers, so that comparing them allocates nothing: 1 word of 32 bits, or 4. An IPv4-mapped IPv6 address
 * is the IPv4 address that it is: a rule that looks at one spelling only is no rule (RFC 4291 §2.5.5).
 */
import type * as Host from "effect/net/Host"
import type * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"

export type Words = ReadonlyArray<number>

/** A network: the addresses that have the first `bits` bits of `words`. */
export interface Prefix {
  readonly words: Words
  readonly bits: number
}

const fromIpv4 = (address: NetAddress.Ipv4Address): Words => {
  const [a, b, c, d] = NetAddress.ipv4ToOctets(address)
  return [(a << 24) | (b << 16) | (c << 8) | d]
}

export const fromIp = (address: NetAddress.IpAddress): Words => {
  const canonical = NetAddress.toCanonical(address)
  if (NetAddress.isIpv4Address(canonical)) return fromIpv4(canonical)
  const [a, b, c, d, e, f, g, h] = NetAddress.ipv6ToSegments(canonical)
  return [(a << 16) | b, (c << 16) | d, (e << 16) | f, (g << 16) | h]
}

const toIp = (words: Words): NetAddress.IpAddress => {
  const bytes = Uint8Array.from(
    { length: 4 * words.length },
    (_, index) => (words[index >> 2] ?? 0) >>> 24 - 8 * (index & 3)
  )
  return words.length === 1 ? NetAddress.ipv4FromBytesUnsafe(bytes) : NetAddress.ipv6FromBytesUnsafe(bytes)
}

export const fromNetwork = ({ address, prefixLength }: IpNetwork.IpNetwork): Prefix => {
  const words = fromIp(address)
  // `::ffff:10.0.0.0/104` is 10.0.0.0/8. A shorter prefix than 96 has no mapped address as its first, so stays IPv6.
  return { words, bits: prefixLength - (NetAddress.width(address) - 32 * words.length) }
}

/** As people write a network; one address alone without its length. */
export const format = ({ bits, words }: Prefix): string => {
  const address = NetAddress.formatIp(toIp(words))
  return bits === 32 * words.length ? address : `${address}/${bits}`
}

/** How many of their first bits are the same; -1 for an IPv4 and an IPv6 address. */
export const commonBits = (a: Words, b: Words): number => {
  if (a.length !== b.length) return -1
  for (let index = 0; index < a.length; index++) {
    const difference = (a[index] ?? 0) ^ (b[index] ?? 0)
    if (difference !== 0) return 32 * index + Math.clz32(difference)
  }
  return 32 * a.length
}

export const contains = (prefix: Prefix, words: Words): boolean => commonBits(prefix.words, words) >= prefix.bits

const isIpv4Unicast = (word: number): boolean => word >>> 24 !== 0 && word >>> 29 !== 7

const none: ReadonlyArray<number> = []

/** The IPv4 addresses that an IPv6 address leads to. The mapped form is not among them: `fromIp` has undone it. */
export const embedded = ([w0 = 0, w1 = 0, w2 = 0, w3 = 0]: Words): ReadonlyArray<number> => {
  if (w0 === 0 && w1 === 0) {
    // IPv4-compatible (RFC 4291 §2.5.5.1), all but `::1`; IPv4-translated (RFC 2765 §2.1).
    return (w2 === 0 && w3 !== 1) || w2 >>> 0 === 0xffff0000 ? [w3] : none
  }
  if (w0 === 0x0064ff9b) {
    // NAT64 (RFC 6052 §2.1).
    if (w1 === 0 && w2 === 0) return [w3]
    // NAT64 for local use (RFC 8215): the IPv4 address is in one of four places (RFC 6052 §2.2), and only the
    // translator knows in which. All are judged; what no translator would send to is not how it reads them.
    if (w1 >>> 16 === 1) {
      const readings = [
        w3,
        ((w1 & 0xffff) << 16) | ((w2 >>> 8) & 0xffff),
        ((w1 & 0xff) << 24) | (w2 & 0xffffff),
        ((w2 & 0xffffff) << 8) | (w3 >>> 24)
      ].filter(isIpv4Unicast)
      return readings.length === 0 ? [w3] : readings
    }
    return none
  }
  // 6to4 (RFC 3056 §2).
  if (w0 >>> 16 === 0x2002) return [(w0 << 16) | (w1 >>> 16)]
  // Teredo: the server, and the client with its bits inverted (RFC 4380 §4).
  if (w0 === 0x20010000) return [w1, ~w3]
  return none
}

const ipv4Loopback = fromIp(NetAddress.ipv4Loopback)
const ipv6Loopback = fromIp(NetAddress.ipv6Loopback)

export const isUnspecified = (words: Words): boolean => words.every((word) => word === 0)

/** Where "unspecified" leads on Linux and the BSDs: to this host. */
export const loopbackOf = (words: Words): Words => words.length === 1 ? ipv4Loopback : ipv6Loopback

const nowhere: ReadonlyArray<Words> = []

/** Where else an address may lead than to itself: to what it carries, or to this host. */
export const otherwise = (words: Words): ReadonlyArray<Words> => {
  if (words.length === 1) return isUnspecified(words) ? [ipv4Loopback] : nowhere
  const found: Array<Words> = isUnspecified(words) ? [ipv6Loopback] : []
  for (const word of embedded(words)) found.push([word], ...otherwise([word]))
  return found
}

/** The address inside a literal, with or without a zone (`fe80::1%eth0`); `undefined` for a name. */
export const literalOf = (host: Host.Host): NetAddress.IpAddress | undefined => {
  if (typeof host !== "string") return host
  const zone = host.indexOf("%")
  return zone === -1 ? undefined : Result.getOrUndefined(NetAddress.ipFromString(host.slice(0, zone)))
}
