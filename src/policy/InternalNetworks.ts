/**
 * The `AccessPolicy` that ships: clients from elsewhere can't reach what is
 * inside, that is, this host, the networks around it and its cloud's metadata.
 *
 * An IPv6 address that carries an IPv4 address is judged as the IPv4 address:
 * a rule that looks at one spelling only is no rule (RFC 4291 §2.5.5).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Interfaces from "../transport/Interfaces.ts"
import { AccessDenied, AccessPolicy, type AccessRequest, type Verdict } from "./AccessPolicy.ts"
import * as AddressWords from "./AddressWords.ts"

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

interface Range extends AddressWords.Prefix {
  readonly rule: string
}

const rangeOf = (network: IpNetwork.IpNetwork, rule: string): Range => ({ ...AddressWords.fromNetwork(network), rule })

const internal = internalNetworks.map(([network, name]) =>
  rangeOf(network, `internal network ${IpNetwork.format(network)} (${name})`)
)

/** Whether an address is open anyway. */
type IsOpen = (words: AddressWords.Words) => boolean

/** The rule that refuses an address to a client from elsewhere. */
const ruleAgainst = (words: AddressWords.Words, isOpen: IsOpen, own: ReadonlyArray<Range>): string | undefined => {
  if (AddressWords.isUnspecified(words)) return ruleAgainst(AddressWords.loopbackOf(words), isOpen, own)
  if (isOpen(words)) return undefined
  if (words.length === 4) {
    for (const word of AddressWords.embedded(words)) {
      const rule = ruleAgainst([word], isOpen, own)
      if (rule !== undefined) return rule
    }
  }
  const holds = (range: Range) => AddressWords.contains(range, words)
  return (internal.find(holds) ?? own.find(holds))?.rule
}

/**
 * How long the prefix of a network has to be that means an address inside, and not just everything: such a network is
 * part of one that counts as inside, or has none of those in it. `0.0.0.0/0` means no address in particular.
 */
export const meantFrom = (words: AddressWords.Words): number => {
  let widest = Infinity
  let bits = 0
  for (const range of internal) {
    const common = AddressWords.commonBits(range.words, words)
    if (common >= range.bits) widest = Math.min(widest, range.bits)
    else bits = Math.max(bits, common + 1)
  }
  return widest === Infinity ? bits : widest
}

const interfaceAddresses = Effect.sync(() => Interfaces.addresses())

const ownRange = (address: NetAddress.IpAddress): Range =>
  rangeOf(
    IpNetwork.makeUnsafe(address, NetAddress.width(address)),
    `own address ${NetAddress.formatIp(NetAddress.toCanonical(address))}`
  )

/** A client whose address is unknown is taken for one from elsewhere. */
const isLocal = (client: NetAddress.InetAddress | undefined): boolean =>
  client !== undefined && NetAddress.isLoopback(NetAddress.toCanonical(client.address))

/** What keeps clients out. */
export interface Guard {
  /** The rule that refuses an address to a client; `isOpen` opens more than the options do. */
  readonly against: (
    client: NetAddress.InetAddress | undefined,
    address: NetAddress.IpAddress,
    isOpen?: IsOpen
  ) => Effect.Effect<string | undefined>
}

const unguarded: Guard = { against: () => Effect.undefined }

/** Dies when this host's addresses can't be read at all, rather than judging without them. */
export const guard = Effect.fnUntraced(function*(options: Options = {}): Effect.fn.Return<Guard> {
  if (options.allowPrivate === true) return unguarded
  const allow = (options.allow ?? []).map(AddressWords.fromNetwork)
  const isAllowed: IsOpen = (words) => allow.some((range) => AddressWords.contains(range, words))
  const readOwn = Effect.map(options.ownAddresses ?? interfaceAddresses, (addresses) => addresses.map(ownRange))
  let known = yield* readOwn
  const own = yield* readOwn.pipe(
    Effect.tap((ranges) => Effect.sync(() => known = ranges)),
    // Listing interfaces takes a descriptor, and fails when those have run out.
    Effect.catchDefect(() => Effect.succeed(known)),
    Effect.cachedWithTTL("5 seconds")
  )
  return {
    against: (client, address, isOpen) =>
      isLocal(client)
        ? Effect.undefined
        : Effect.map(own, (ranges) =>
          ruleAgainst(
            AddressWords.fromIp(address),
            isOpen === undefined ? isAllowed : (words) => isAllowed(words) || isOpen(words),
            ranges
          ))
  }
})

/** Makes the policy; see `guard`. */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const { against } = yield* guard(options)
  const authorizeAddress = (
    { client }: AccessRequest,
    address: NetAddress.IpAddress
  ): Effect.Effect<Verdict, AccessDenied> =>
    Effect.flatMap(
      against(client, address),
      (rule) => rule === undefined ? AccessPolicy.permit : Effect.fail(new AccessDenied({ rule }))
    )
  return AccessPolicy.of({
    authorize: (request) => {
      const literal = AddressWords.literalOf(request.destination.host)
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
