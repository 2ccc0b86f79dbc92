/**
 * The `AccessPolicy` that ships: clients from elsewhere can't reach what is
 * inside, that is, this host, the networks around it and its cloud's metadata.
 *
 * An IPv6 address that carries an IPv4 address is judged as the IPv4 address:
 * a rule that looks at one spelling only is no rule (RFC 4291 §2.5.5).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Host from "effect/net/Host"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Interfaces from "../transport/Interfaces.ts"
import { AccessDenied, AccessPolicy, type AccessRequest, type Verdict } from "./AccessPolicy.ts"

export interface Options {
  /** Opens everything to everybody. */
  readonly allowPrivate?: boolean
  /** Networks that are open to all, in whichever form their addresses are written. They win over every rule below. */
  readonly allow?: ReadonlyArray<IpNetwork.IpNetwork>
  /**
   * This host's addresses, asked for at most once in 5 seconds; the default is those of its interfaces. An address
   * that a router translates to this host is not among them.
   */
  readonly ownAddresses?: Effect.Effect<ReadonlyArray<NetAddress.IpAddress>>
}

/**
 * Every network that counts as inside, with the name it has in a rule (IANA's special-purpose registries, RFC 6890).
 *
 * Benchmarking networks are here since laboratories and VPN clients use them inside. The documentation networks
 * (192.0.2.0/24, 2001:db8::/32, …) are not: they lead nowhere, and where somebody uses one, `ownAddresses` still holds.
 * A NAT64 prefix of an operator's own can't be recognised; hosts behind one need a firewall rule.
 */
export const internalNetworks: ReadonlyArray<readonly [network: IpNetwork.IpNetwork, name: string]> = [
  ["127.0.0.0/8", "loopback"],
  ["10.0.0.0/8", "private"],
  ["172.16.0.0/12", "private"],
  ["192.168.0.0/16", "private"],
  ["169.254.0.0/16", "link-local"],
  ["100.64.0.0/10", "carrier-grade NAT"],
  ["0.0.0.0/8", "this network"],
  ["192.0.0.0/24", "protocol assignments"],
  ["198.18.0.0/15", "benchmarking"],
  ["224.0.0.0/4", "multicast"],
  ["255.255.255.255/32", "broadcast"],
  ["240.0.0.0/4", "reserved"],
  ["::1/128", "loopback"],
  ["fe80::/10", "link-local"],
  ["fc00::/7", "unique-local"],
  ["fec0::/10", "site-local"],
  ["ff00::/8", "multicast"],
  ["100::/64", "discard-only"],
  ["2001:2::/48", "benchmarking"],
  ["5f00::/16", "segment routing"]
].map(([network = "", name = ""]) => [IpNetwork.fromStringUnsafe(network), name])

/** An address as numbers, so that comparing it allocates nothing: `words` has 1 of 32 bits, or 4. */
type Words = ReadonlyArray<number>

interface Range {
  readonly words: Words
  readonly mask: Words
  readonly rule: string
}

const ipv4Words = (address: NetAddress.Ipv4Address): Words => {
  const [a, b, c, d] = NetAddress.ipv4ToOctets(address)
  return [(a << 24) | (b << 16) | (c << 8) | d]
}

const wordsOf = (address: NetAddress.IpAddress): Words => {
  const canonical = NetAddress.toCanonical(address)
  if (NetAddress.isIpv4Address(canonical)) return ipv4Words(canonical)
  const [a, b, c, d, e, f, g, h] = NetAddress.ipv6ToSegments(canonical)
  return [(a << 16) | b, (c << 16) | d, (e << 16) | f, (g << 16) | h]
}

const maskOf = (length: number, prefixLength: number): Words =>
  Array.from({ length }, (_, index) => {
    const bits = Math.min(32, Math.max(0, prefixLength - 32 * index))
    // A shift by 32 is a shift by 0.
    return bits === 0 ? 0 : -1 << (32 - bits)
  })

const rangeOf = (network: IpNetwork.IpNetwork, rule: string): Range => {
  const words = wordsOf(network.address)
  // `::ffff:10.0.0.0/104` is 10.0.0.0/8. A shorter prefix than 96 has no mapped address as its first, so stays IPv6.
  const skipped = NetAddress.width(network.address) - 32 * words.length
  return { words, mask: maskOf(words.length, network.prefixLength - skipped), rule }
}

const contains = (range: Range, words: Words): boolean =>
  range.words.length === words.length &&
  words.every((word, index) => ((word ^ (range.words[index] ?? 0)) & (range.mask[index] ?? 0)) === 0)

const internal = internalNetworks.map(([network, name]) =>
  rangeOf(network, `internal network ${IpNetwork.format(network)} (${name})`)
)

const ipv4Loopback = wordsOf(NetAddress.ipv4Loopback)
const ipv6Loopback = wordsOf(NetAddress.ipv6Loopback)

const isIpv4Unicast = (word: number): boolean => word >>> 24 !== 0 && word >>> 29 !== 7

/** The IPv4 addresses that an IPv6 address leads to. The mapped form is not among them: `wordsOf` has undone it. */
const embedded = ([w0 = 0, w1 = 0, w2 = 0, w3 = 0]: Words): ReadonlyArray<number> => {
  if (w0 === 0 && w1 === 0) {
    // IPv4-compatible (RFC 4291 §2.5.5.1), all but `::1`; IPv4-translated (RFC 2765 §2.1).
    return (w2 === 0 && w3 !== 1) || w2 >>> 0 === 0xffff0000 ? [w3] : []
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
    return []
  }
  // 6to4 (RFC 3056 §2).
  if (w0 >>> 16 === 0x2002) return [(w0 << 16) | (w1 >>> 16)]
  // Teredo: the server, and the client with its bits inverted (RFC 4380 §4).
  if (w0 === 0x20010000) return [w1, ~w3]
  return []
}

/** The rule that refuses an address to a client from elsewhere. */
const ruleAgainst = (words: Words, allow: ReadonlyArray<Range>, own: ReadonlyArray<Range>): string | undefined => {
  const holds = (range: Range) => contains(range, words)
  // Connecting to "unspecified" reaches this host on Linux and the BSDs.
  if (words.every((word) => word === 0)) {
    return ruleAgainst(words.length === 1 ? ipv4Loopback : ipv6Loopback, allow, own)
  }
  if (allow.some(holds)) return undefined
  if (words.length === 4) {
    for (const word of embedded(words)) {
      const rule = ruleAgainst([word], allow, own)
      if (rule !== undefined) return rule
    }
  }
  return (internal.find(holds) ?? own.find(holds))?.rule
}

const interfaceAddresses = Effect.sync(() => Interfaces.addresses())

const ownRange = (address: NetAddress.IpAddress): Range =>
  rangeOf(
    IpNetwork.makeUnsafe(address, NetAddress.width(address)),
    `own address ${NetAddress.formatIp(NetAddress.toCanonical(address))}`
  )

/** The address inside a literal, with or without a zone (`fe80::1%eth0`); `undefined` for a name. */
const literalOf = (host: Host.Host): NetAddress.IpAddress | undefined => {
  if (typeof host !== "string") return host
  const zone = host.indexOf("%")
  return zone === -1 ? undefined : Result.getOrUndefined(NetAddress.ipFromString(host.slice(0, zone)))
}

/** A client whose address is unknown is taken for one from elsewhere. */
const isLocal = (client: NetAddress.InetAddress | undefined): boolean =>
  client !== undefined && NetAddress.isLoopback(NetAddress.toCanonical(client.address))

/** Makes the policy. Dies when this host's addresses can't be read at all, rather than judging without them. */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  if (options.allowPrivate === true) {
    return AccessPolicy.of({ authorize: () => AccessPolicy.permit, authorizeAddress: () => AccessPolicy.permit })
  }
  const allow = (options.allow ?? []).map((network) => rangeOf(network, ""))
  const readOwn = Effect.map(options.ownAddresses ?? interfaceAddresses, (addresses) => addresses.map(ownRange))
  let known = yield* readOwn
  const own = yield* readOwn.pipe(
    Effect.tap((ranges) => Effect.sync(() => known = ranges)),
    // Listing interfaces takes a descriptor, and fails when those have run out.
    Effect.catchDefect(() => Effect.succeed(known)),
    Effect.cachedWithTTL("5 seconds")
  )

  const authorizeAddress = (
    request: AccessRequest,
    address: NetAddress.IpAddress
  ): Effect.Effect<Verdict, AccessDenied> =>
    isLocal(request.client)
      ? AccessPolicy.permit
      : Effect.flatMap(own, (ranges) => {
        const rule = ruleAgainst(wordsOf(address), allow, ranges)
        return rule === undefined ? AccessPolicy.permit : Effect.fail(new AccessDenied({ rule }))
      })

  return AccessPolicy.of({
    authorize: (request) => {
      const literal = literalOf(request.destination.host)
      return literal === undefined ? AccessPolicy.permit : authorizeAddress(request, literal)
    },
    authorizeAddress
  })
})

/**
 * Keeps clients that are not on loopback out of `internalNetworks` and away from this host's own addresses. Clients on
 * loopback may go anywhere: whoever is here needs no proxy to be here.
 */
export const layer = (options: Options = {}): Layer.Layer<AccessPolicy> => Layer.effect(AccessPolicy, make(options))
