import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import { Address } from "./Address.ts"
import { Byte, checkVersion, type Codec, type Decoded, done, failed, more, trusted } from "./Codec.ts"
import { BadDomain, BadText } from "./ProtocolError.ts"
import * as Text from "./Text.ts"

const name = "SOCKS4 request"

/** VN in a request. */
export const version = 0x04

/** The values of CD. */
export const connect = 0x01
export const bind = 0x02

/** Bytes in the longest USERID and in the longest name, without the NUL that ends each. */
const longest = 255

/** VN, CD, DSTPORT, DSTIP. */
const headerLength = 8

const isMarker = (ip: NetAddress.Ipv4Address): boolean => {
  const [a, b, c, d] = NetAddress.ipv4ToOctets(ip)
  return a === 0 && b === 0 && c === 0 && d !== 0
}

const Literal = Address.cases.Ipv4.check(Schema.makeFilter(({ ip }) => !isMarker(ip), {
  expected: "an address that does not announce a name"
}))

/** `marker` is the x of the DSTIP 0.0.0.x that announces the name: any but 0, and nothing else depends on it. */
const Named = Schema.TaggedStruct("Domain", {
  name: Address.cases.Domain.fields.name,
  port: Address.cases.Domain.fields.port,
  marker: Byte.check(Schema.isGreaterThan(0))
})

const isUserId = (text: string): boolean =>
  Text.isWellFormed(text) && !text.includes("\0") && Text.encode(text).length <= longest

const UserId = Schema.String.check(Schema.makeFilter(isUserId, {
  expected: "a text of at most 255 bytes without NUL",
  arbitraryConstraint: {
    patterns: [{ source: "^(?:[\\u0001-\\u007f]{0,255}|[\\u0001-\\ud7ff\\ue000-\\u{10ffff}]{0,63})$", flags: "u" }]
  }
}))

/**
 * What the client wants ("SOCKS: A protocol for TCP proxy across firewalls", Ying-Da Lee), the name behind it with a
 * DSTIP of 0.0.0.x only, where x is not 0 ("SOCKS 4A: A Simple Extension to SOCKS 4 Protocol").
 *
 * ```text
 * +----+----+---------+-------+----------+------+----------+------+
 * | VN | CD | DSTPORT | DSTIP |  USERID  | NULL |   NAME   | NULL |
 * +----+----+---------+-------+----------+------+----------+------+
 * | 1  | 1  |    2    |   4   | 0 to 255 |  1   | 1 to 255 |  1   |
 * +----+----+---------+-------+----------+------+----------+------+
 * ```
 *
 * The texts give neither field a limit: these are those of SOCKS5. Any command parses.
 */
export class Socks4Request extends Schema.Class<Socks4Request>("Socks4Request")({
  command: Byte,
  address: Schema.Union([Literal, Named]),
  userId: UserId
}) {}

/**
 * A text up to its NUL, from `start`; `after` is how many bytes follow that at least. `fail` makes the failure of
 * whoever reads it, from the place and the kind of the fault.
 */
const decodeText = (
  bytes: Uint8Array,
  start: number,
  controls: "allowed" | "refused",
  after: number,
  fail: (at: number, why: string) => Decoded<never>
): Decoded<string> => {
  const limit = start + longest
  const found = bytes.subarray(0, limit + 1).indexOf(0, start)
  const end = found === -1 ? limit : found
  // What was wrong before the NUL came stays what is wrong; only then, what the NUL cuts short.
  const fault = Text.firstFault(found === -1 ? bytes : bytes.subarray(0, end), start, limit, controls) ??
    Text.firstFault(bytes, start, end, controls)
  if (fault !== undefined) return fail(fault.at, fault.why)
  if (found !== -1) return done(Text.decode(bytes.subarray(start, end)), end + 1)
  return bytes.length > limit ? fail(limit, "longer than 255 bytes") : more(1 + after)
}

export const codec: Codec<Socks4Request> = {
  name,
  maxLength: headerLength + longest + 1 + longest + 1,
  decode: (bytes) => {
    const mismatch = checkVersion(name, version, bytes[0])
    if (mismatch !== undefined) return mismatch
    if (bytes.length < headerLength) return more(headerLength + 1 - bytes.length)
    const [, command = 0, high = 0, low = 0] = bytes
    const port = high << 8 | low
    const ip = NetAddress.ipv4FromBytesUnsafe(bytes.subarray(4, headerLength))
    const named = isMarker(ip)
    const userId = decodeText(
      bytes,
      headerLength,
      "allowed",
      named ? 2 : 0,
      (_, why) => failed(name, new BadText({ field: "username", why }))
    )
    if (userId._tag !== "Done") return userId
    if (!named) {
      const request = { command, address: { _tag: "Ipv4", ip, port }, userId: userId.value } as const
      return done(trusted(Socks4Request, request), userId.size)
    }
    const start = userId.size
    if (bytes.length === start) return more(2)
    const bad = (at: number, why: string) =>
      failed(name, new BadDomain({ name: Text.escape(bytes.subarray(start, at)), why }))
    if (bytes[start] === 0) return bad(start, "empty")
    const domain = decodeText(bytes, start, "refused", 0, (at, why) => bad(at + 1, why))
    if (domain._tag !== "Done") return domain
    const address = { _tag: "Domain", name: domain.value, port, marker: bytes[headerLength - 1] ?? 0 } as const
    return done(trusted(Socks4Request, { command, address, userId: userId.value }), domain.size)
  },
  encode: ({ address, command, userId }) => {
    const named = address._tag === "Domain"
    const ip = named ? [0, 0, 0, address.marker] : NetAddress.ipv4ToOctets(address.ip)
    return Uint8Array.from([
      version,
      command,
      address.port >> 8,
      address.port & 0xff,
      ...ip,
      ...Text.encode(userId),
      0,
      ...named ? [...Text.encode(address.name), 0] : []
    ])
  }
}
