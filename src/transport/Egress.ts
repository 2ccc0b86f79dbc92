/** Where to go out from: which of this machine's addresses a destination sees. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Interfaces from "./Interfaces.ts"
import * as KeyHash from "./KeyHash.ts"

/**
 * An address; any address of a network, which the system must deliver here and let us bind to (on Linux by
 * `ip route add local NETWORK dev lo`, and for IPv6 `net.ipv6.ip_nonlocal_bind` as well); or the addresses that an interface has at the moment, but for link-local ones.
 */
export type Source = NetAddress.IpAddress | IpNetwork.IpNetwork | Interface

export interface Interface {
  readonly _tag: "Interface"
  readonly name: string
}

export const networkInterface = (name: string): Interface => ({ _tag: "Interface", name })

const isInterface = (source: Source): source is Interface => "_tag" in source && source._tag === "Interface"

/** An address that can be gone out from, or an interface of this machine; `undefined` for what is neither. */
export const lone = (text: string): NetAddress.IpAddress | Interface | undefined => {
  const address = NetAddress.ipFromString(text)
  if (Result.isSuccess(address) && !NetAddress.isUnspecified(address.success)) return address.success
  return Interfaces.names().includes(text) ? networkInterface(text) : undefined
}

/** What there is to write: for those who have written something else. */
export const examples = (): string => ["192.0.2.1", "2001:db8::/64", ...Interfaces.names()].join(", ")

/** As people write it. */
export const format = (source: Source): string =>
  isInterface(source)
    ? source.name
    : IpNetwork.isIpNetwork(source)
    ? IpNetwork.format(source)
    : NetAddress.formatIp(source)

/**
 * How one is chosen among several: each in turn, and in networks by chance; or always the same for a user, or for a
 * session of a user. Who has no name, or no session, is given them in turn; who names a session keeps to one in any case.
 */
export const choices = ["rotate", "user", "session"] as const

export type Choice = typeof choices[number]

/** For whom something goes out. */
export interface From {
  readonly user?: string | undefined
  /** The tag that the client has given its session. */
  readonly session?: string | undefined
}

/** Where to go out from to addresses of each family; `undefined` where there is nothing to go out from. */
export interface Sources {
  readonly ipv4: NetAddress.IpAddress | undefined
  readonly ipv6: NetAddress.IpAddress | undefined
}

export interface Egress {
  /** All that there are. */
  readonly sources: ReadonlyArray<Source>
  readonly by: Choice
  readonly choose: (from: From | undefined) => Sources
}

/** The address of a network whose host bits are those of `words`, 32 from each; neither its first nor its last. */
const within = (network: IpNetwork.IpNetwork, words: (index: number) => number): NetAddress.IpAddress => {
  const { address, prefixLength } = network
  const hostBits = BigInt(NetAddress.width(address) - prefixLength)
  if (hostBits === 0n) return address
  const bytes = NetAddress.isIpv4Address(address) ? NetAddress.ipv4ToOctets(address) : NetAddress.ipv6ToOctets(address)
  const base = bytes.reduce((value, byte) => value << 8n | BigInt(byte), 0n)
  let random = 0n
  for (let index = 0; index < 4; index++) random = random << 32n | BigInt(words(index))
  // A network of two has neither a network's nor a broadcast address (RFC 3021, RFC 6164).
  const size = 1n << hostBits
  const host = size === 2n ? random % size : 1n + random % (size - 2n)
  const chosen = Uint8Array.from(
    bytes,
    (_, index) => Number(base + host >> BigInt(8 * (bytes.length - 1 - index)) & 255n)
  )
  return bytes.length === 4 ? NetAddress.ipv4FromBytesUnsafe(chosen) : NetAddress.ipv6FromBytesUnsafe(chosen)
}

type Place = Exclude<Source, Interface>

/** Addresses and networks of one family. */
type Pool = ReadonlyArray<{ readonly source: Place; readonly hash: number }>

const byFamily = (sources: ReadonlyArray<Place>): readonly [ipv4: Pool, ipv6: Pool] => {
  const isIpv4 = ({ source }: Pool[number]) =>
    NetAddress.isIpv4Address(IpNetwork.isIpNetwork(source) ? source.address : source)
  const all = sources.map((source) => ({ source, hash: KeyHash.of(format(source)) }))
  return [all.filter(isIpv4), all.filter((one) => !isIpv4(one))]
}

/**
 * The one that the key's hash likes most (rendezvous hashing): whatever comes or goes beside it, in whatever order, only
 * those move who are to be served by what came, or were by what went.
 */
const favourite = (pool: Pool, hash: number): Place | undefined => {
  let [most, found]: [number, Place | undefined] = [-1, undefined]
  for (const { hash: own, source } of pool) {
    const weight = KeyHash.mix(hash ^ own)
    if (weight > most) [most, found] = [weight, source]
  }
  return found
}

/** Milliseconds for which the addresses of interfaces are taken as still the same. */
const fresh = 5_000

/** The pools at this moment: interfaces come and go, and so do their addresses. */
const poolsOf = (sources: ReadonlyArray<Source>): () => ReturnType<typeof byFamily> => {
  const fixed = sources.filter((source) => !isInterface(source))
  let pools = byFamily(fixed)
  const names = sources.filter(isInterface).map(({ name }) => name)
  if (names.length === 0) return () => pools
  let readAt = -Infinity
  return () => {
    const now = performance.now()
    if (now - readAt < fresh) return pools
    readAt = now
    try {
      const found = names.flatMap((name) => Interfaces.addresses(name))
      pools = byFamily([...fixed, ...found.filter((address) => !NetAddress.isLinkLocal(address))])
    } catch {
      // Out of descriptors: as they were.
    }
    return pools
  }
}

/** Of those who have the same one, all have the same address; `undefined` for who is served in turn. */
export const keyOf = (by: Choice, from: From | undefined): string | undefined => {
  if (from?.user === undefined) return undefined
  if (by === "user") return from.user
  return from.session === undefined ? undefined : `${from.user}+${from.session}`
}

/** Each {@link Egress} takes turns of its own. */
export const make = (sources: ReadonlyArray<Source>, by: Choice = "rotate"): Egress => {
  const pools = poolsOf(sources)
  let turn = 0
  return {
    sources,
    by,
    choose: (from) => {
      const key = keyOf(by, from)
      const hash = key === undefined ? undefined : KeyHash.of(key)
      const next = hash === undefined ? turn++ : 0
      const words = key === undefined
        ? () => Math.floor(Math.random() * 2 ** 32)
        : (index: number) => KeyHash.of(`${index} ${key}`)
      const pick = (pool: Pool): NetAddress.IpAddress | undefined => {
        const source = hash === undefined ? pool[next % pool.length]?.source : favourite(pool, hash)
        return source !== undefined && IpNetwork.isIpNetwork(source) ? within(source, words) : source
      }
      const [ipv4, ipv6] = pools()
      return { ipv4: pick(ipv4), ipv6: pick(ipv6) }
    }
  }
}

/** The one for a destination's family. */
export const sourceFor = (sources: Sources, address: NetAddress.IpAddress): NetAddress.IpAddress | undefined =>
  NetAddress.isIpv4Address(NetAddress.toCanonical(address)) ? sources.ipv4 : sources.ipv6
