/**
 * Addresses as RFC 1928 §5 writes them, in requests, replies and datagrams:
 *
 * ```text
 * +------+----------+------+
 * | ATYP |   ADDR   | PORT |
 * +------+----------+------+
 * |  1   | Variable |  2   |
 * +------+----------+------+
 * ```
 *
 * ATYP 01: four octets; 03: a length octet and that many octets of a name; 04:
 * sixteen octets. The port is in network order.
 */
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { Byte, type Decoded, done, failed, more } from "./Codec.ts"
import { BadDomain, ProtocolError, UnknownAddressType } from "./ProtocolError.ts"
import * as Text from "./Text.ts"

/** The octets of ATYP. */
export const AddressType = { Ipv4: 1, Domain: 3, Ipv6: 4 } as const

/** Bytes in the longest address: ATYP, length, 255 octets, port. */
export const maxLength = 1 + 1 + 255 + 2

/** Bytes in the shortest address: a name of one octet. */
const minLength = 1 + 1 + 1 + 2

// effect's address schemas have no arbitrary: their values are made from octets.
const octets = (count: number) => Schema.Array(Byte).check(Schema.isBetweenLength(count, count))

/** Four octets. */
export const Ipv4 = Schema.Ipv4Address.annotate({
  toCodecArbitrary: () =>
    Schema.link<NetAddress.Ipv4Address>()(
      octets(4),
      SchemaTransformation.transform({
        decode: (bytes) => NetAddress.ipv4FromBytesUnsafe(Uint8Array.from(bytes)),
        encode: (ip) => NetAddress.ipv4ToOctets(ip)
      })
    )
})

/** Sixteen octets. */
export const Ipv6 = Schema.Ipv6Address.annotate({
  toCodecArbitrary: () =>
    Schema.link<NetAddress.Ipv6Address>()(
      octets(16),
      SchemaTransformation.transform({
        decode: (bytes) => NetAddress.ipv6FromBytesUnsafe(Uint8Array.from(bytes)),
        encode: (ip) => NetAddress.ipv6ToOctets(ip)
      })
    )
})

const isDomain = (name: string): boolean => {
  const bytes = Text.encode(name)
  return bytes.length >= 1 && bytes.length <= 255 && Text.isWellFormed(name) &&
    Text.firstFault(bytes, 0, bytes.length, "refused") === undefined
}

/**
 * A name as it is on the wire: 1 to 255 bytes of UTF-8 without control
 * characters, kept exactly as sent. Whether it can be a host is `toHostPort`'s
 * question.
 */
const Domain = Schema.String.check(Schema.makeFilter(isDomain, {
  expected: "a name of 1 to 255 bytes without control characters",
  arbitraryConstraint: {
    patterns: [{ source: "^(?:[ -~]{1,255}|[ -~\\u00a0-\\ud7ff\\ue000-\\u{10ffff}]{1,63})$", flags: "u" }]
  }
}))

/** An address and a port, each kind with its own ATYP. */
export const Address = Schema.TaggedUnion({
  Ipv4: { ip: Ipv4, port: Schema.Port },
  Ipv6: { ip: Ipv6, port: Schema.Port },
  Domain: { name: Domain, port: Schema.Port }
})
export type Address = typeof Address.Type

/** 0.0.0.0:0, for replies that have no address to tell. */
export const unspecified: Address = { _tag: "Ipv4", ip: NetAddress.ipv4Unspecified, port: 0 }

const decodePort = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0)

const decodeIp = (
  bytes: Uint8Array,
  start: number,
  size: 4 | 16,
  make: (octets: Uint8Array, port: number) => Address
): Decoded<Address> => {
  const end = start + size
  if (bytes.length < end + 2) return more(end + 2 - bytes.length)
  return done(make(bytes.subarray(start, end), decodePort(bytes, end)), end + 2)
}

const decodeDomain = (frame: string, bytes: Uint8Array, start: number): Decoded<Address> => {
  const length = bytes[start - 1]
  if (length === undefined) return more(minLength - 1)
  if (length === 0) return failed(frame, new BadDomain({ name: "", why: "empty" }))
  const end = start + length
  const fault = Text.firstFault(bytes, start, end, "refused")
  if (fault !== undefined) {
    const name = Text.escape(bytes.subarray(start, fault.at + 1))
    return failed(frame, new BadDomain({ name, why: fault.why }))
  }
  if (bytes.length < end + 2) return more(end + 2 - bytes.length)
  const name = Text.decode(bytes.subarray(start, end))
  return done({ _tag: "Domain", name, port: decodePort(bytes, end) }, end + 2)
}

/** Decodes the address that follows a header of `offset` bytes; `size` and `atLeast` count from the message's start. */
export const decodeAfter = (frame: string, bytes: Uint8Array, offset: number): Decoded<Address> => {
  const type = bytes[offset]
  switch (type) {
    case undefined:
      return more(offset + minLength - bytes.length)
    case AddressType.Ipv4:
      return decodeIp(bytes, offset + 1, 4, (octets, port) => ({
        _tag: "Ipv4",
        ip: NetAddress.ipv4FromBytesUnsafe(octets),
        port
      }))
    case AddressType.Ipv6:
      return decodeIp(bytes, offset + 1, 16, (octets, port) => ({
        _tag: "Ipv6",
        ip: NetAddress.ipv6FromBytesUnsafe(octets),
        port
      }))
    case AddressType.Domain:
      return decodeDomain(frame, bytes, offset + 2)
    default:
      return failed(frame, new UnknownAddressType({ type }))
  }
}

const hostOctets = (address: Address): ArrayLike<number> => {
  switch (address._tag) {
    case "Ipv4":
      return NetAddress.ipv4ToOctets(address.ip)
    case "Ipv6":
      return NetAddress.ipv6ToOctets(address.ip)
    case "Domain":
      return Text.encode(address.name)
  }
}

/** A whole message: the bytes of its header, then the address. */
export const encodeAfter = (header: ReadonlyArray<number>, address: Address): Uint8Array => {
  const octets = hostOctets(address)
  const start = header.length + (address._tag === "Domain" ? 2 : 1)
  const end = start + octets.length
  const bytes = new Uint8Array(end + 2)
  bytes.set(header)
  bytes[header.length] = AddressType[address._tag]
  if (address._tag === "Domain") bytes[header.length + 1] = octets.length
  bytes.set(octets, start)
  bytes[end] = address.port >> 8
  bytes[end + 1] = address.port & 0xff
  return bytes
}

/** An address of ours as the wire's: IPv4-mapped IPv6 as the IPv4 that it is, an unknown one as 0.0.0.0:0. */
export const fromInetAddress = (inet: NetAddress.InetAddress | undefined): Address => {
  if (inet === undefined) return unspecified
  const { address, port } = NetAddress.toCanonical(inet)
  return NetAddress.isIpv4Address(address) ? { _tag: "Ipv4", ip: address, port } : { _tag: "Ipv6", ip: address, port }
}

/** `[::1]` without its brackets; nothing but IPv6 wears them. */
const unbracket = (name: string): string =>
  name.startsWith("[") && name.endsWith("]") && name.includes(":") ? name.slice(1, -1) : name

/**
 * What there is to connect to. A literal inside a domain becomes the IP that it
 * is, and IPv4-mapped IPv6 becomes IPv4 in either form. Names come out lower
 * case, IDN as A-labels. Whatever a system resolver might still read as an
 * address (`127.1`, `0x7f.1`), a scoped address, the root and all that is no
 * host name fail with `BadDomain`.
 */
export const toHostPort = (address: Address): Result.Result<Host.HostPort, ProtocolError> => {
  if (address._tag !== "Domain") {
    return Result.succeed(Host.hostPortUnsafe(NetAddress.toCanonical(address.ip), address.port))
  }
  const bad = (why: string) => {
    const name = Text.escape(Text.encode(address.name))
    return new ProtocolError({ frame: "address", reason: new BadDomain({ name, why }) })
  }
  const name = unbracket(address.name)
  // `127.0.0.1.`, as browsers read it; a name keeps its dot.
  const literal = NetAddress.ipFromString(name.endsWith(".") ? name.slice(0, -1) : name)
  const parsed = Result.isSuccess(literal) ? literal : Host.hostFromString(name)
  if (Result.isFailure(parsed)) return Result.fail(bad(parsed.failure.message))
  const host = parsed.success
  // A zone is the business of the machine that knows its own interfaces, not of a client elsewhere.
  if (NetAddress.isScopedIpv6Literal(host)) return Result.fail(bad("has a zone"))
  if (host === ".") return Result.fail(bad("the root is no host"))
  const canonical = NetAddress.isIpAddress(host) ? NetAddress.toCanonical(host) : host
  return Result.succeed(Host.hostPortUnsafe(canonical, address.port))
}
