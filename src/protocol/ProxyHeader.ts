/**
 * What a load balancer puts before a connection to say whose it is: HAProxy's PROXY protocol (proxy-protocol.txt).
 *
 * Version 1 is a line of text (§2.1), of at most 107 bytes:
 *
 * ```text
 * PROXY TCP4 192.0.2.1 198.51.100.7 56324 1080\r\n
 * ```
 *
 * Version 2 is binary (§2.2). FAM is an address family (4 bits: 0 unspecified, 1 IPv4, 2 IPv6, 3 Unix) and a transport
 * (4 bits: 0 unspecified, 1 stream, 2 datagrams), LEN counts what comes behind it, addresses and fields together:
 *
 * ```text
 * +-----------+-----+-----+-----+-----+----------+----------+----------+----------+----------------------+
 * | SIGNATURE | VER | CMD | FAM | LEN | SRC.ADDR | DST.ADDR | SRC.PORT | DST.PORT | TYPE LEN VALUE, …    |
 * +-----------+-----+-----+-----+-----+----------+----------+----------+----------+----------------------+
 * |    12     |  ½  |  ½  |  1  |  2  | 4 or 16  | 4 or 16  |    2     |    2     | 1    2   Variable, … |
 * +-----------+-----+-----+-----+-----+----------+----------+----------+----------+----------------------+
 * ```
 */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Ipv4, Ipv6 } from "./Address.ts"
import { type Codec, type Decoded, done, type Failed, failed, more } from "./Codec.ts"
import { crc32c } from "./Crc32c.ts"
import { BadProxyHeader } from "./ProtocolError.ts"
import * as Text from "./Text.ts"

const name = "PROXY header"

/**
 * Whose connection it is.
 *
 * - `Local`: the load balancer's own, for a health check.
 * - `Unknown`: somebody's whose address is not told, or is none of TCP: a Unix socket's, a datagram's.
 * - `Ipv4`, `Ipv6`: that of the client at `source`, who connected to `destination`.
 */
export const ProxyHeader = Schema.TaggedUnion({
  Local: {},
  Unknown: {},
  Ipv4: { source: Ipv4, destination: Ipv4, sourcePort: Schema.Port, destinationPort: Schema.Port },
  Ipv6: { source: Ipv6, destination: Ipv6, sourcePort: Schema.Port, destinationPort: Schema.Port }
})
export type ProxyHeader = typeof ProxyHeader.Type

const local: ProxyHeader = { _tag: "Local" }
const unknown: ProxyHeader = { _tag: "Unknown" }

/** The client's address, an IPv4-mapped one as IPv4; `undefined` where the header tells none. */
export const client = (header: ProxyHeader): NetAddress.InetAddress | undefined =>
  header._tag === "Ipv4" || header._tag === "Ipv6"
    ? NetAddress.toCanonical(NetAddress.inetAddressUnsafe(header.source, header.sourcePort))
    : undefined

const toIpv6 = (address: NetAddress.IpAddress): NetAddress.Ipv6Address =>
  NetAddress.isIpv4Address(address) ? NetAddress.toIpv4Mapped(address) : address

/** The header for a connection of a client's. When the two are of different families, IPv4 is written as IPv6. */
export const between = (
  source: NetAddress.InetAddress | undefined,
  destination: NetAddress.InetAddress
): ProxyHeader => {
  if (source === undefined) return unknown
  const [from, to] = [NetAddress.toCanonical(source), NetAddress.toCanonical(destination)]
  const ports = { sourcePort: from.port, destinationPort: to.port }
  return NetAddress.isIpv4Address(from.address) && NetAddress.isIpv4Address(to.address)
    ? { _tag: "Ipv4", source: from.address, destination: to.address, ...ports }
    : { _tag: "Ipv6", source: toIpv6(from.address), destination: toIpv6(to.address), ...ports }
}

const bad = (why: string): Failed => failed(name, new BadProxyHeader({ why }))

/** Fails at the first byte that is another than it should be. */
const checkStart = (bytes: Uint8Array, expected: Uint8Array): Failed | undefined => {
  const end = Math.min(bytes.length, expected.length)
  for (let at = 0; at < end; at++) {
    if (bytes[at] !== expected[at]) {
      return bad(`there is none: byte ${at + 1} is 0x${(bytes[at] ?? 0).toString(16).padStart(2, "0")}`)
    }
  }
  return undefined
}

/** Bytes in the longest line, its end included. */
const longestLine = 107
const shortestLine = "PROXY UNKNOWN\r\n".length

const keyword = Text.encode("PROXY ")
const [carriageReturn, lineFeed] = [0x0d, 0x0a]

const parsePort = (text = ""): number | undefined =>
  /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 0xffff ? Number(text) : undefined

const parseIpv4 = (text = "") => Result.getOrUndefined(NetAddress.ipv4FromString(text))
const parseIpv6 = (text = "") => Result.getOrUndefined(NetAddress.ipv6FromString(text))

/** What stands behind `PROXY `. */
const parseLine = (line: string): ProxyHeader | undefined => {
  // All behind it is to be ignored.
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN ")) return unknown
  const [family, from, to, fromPort, toPort, ...rest] = line.split(" ")
  const [sourcePort, destinationPort] = [parsePort(fromPort), parsePort(toPort)]
  if (sourcePort === undefined || destinationPort === undefined || rest.length > 0) return undefined
  if (family === "TCP4") {
    const [source, destination] = [parseIpv4(from), parseIpv4(to)]
    if (source === undefined || destination === undefined) return undefined
    return { _tag: "Ipv4", source, destination, sourcePort, destinationPort }
  }
  const [source, destination] = [parseIpv6(from), parseIpv6(to)]
  if (family !== "TCP6" || source === undefined || destination === undefined) return undefined
  return { _tag: "Ipv6", source, destination, sourcePort, destinationPort }
}

const decodeLine = (bytes: Uint8Array): Decoded<ProxyHeader> => {
  const none = checkStart(bytes, keyword)
  if (none !== undefined) return none
  const end = bytes.subarray(0, longestLine - 1).findIndex((byte) => byte === carriageReturn || byte === lineFeed)
  if (end === -1) {
    return bytes.length < longestLine - 1
      ? more(Math.max(2, shortestLine - bytes.length))
      : bad(`the line is longer than ${longestLine} bytes`)
  }
  if (bytes[end] === carriageReturn && bytes.length === end + 1) return more(1)
  if (bytes[end] === lineFeed || bytes[end + 1] !== lineFeed) return bad("the line does not end with CR LF")
  const header = parseLine(String.fromCharCode(...bytes.subarray(keyword.length, end)))
  return header === undefined ? bad(`bad line "${Text.escape(bytes.subarray(0, end))}"`) : done(header, end + 2)
}

const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a)

const version = 2
const [localCommand, proxyCommand] = [0, 1]
const [ipv4Stream, ipv6Stream] = [0x11, 0x21]

/** Where the addresses begin. */
const addressesAt = 16

/** Bytes of the addresses by their family; of an unspecified one nothing is known. */
const addressLengths: ReadonlyArray<number | undefined> = [undefined, 4 + 4 + 2 + 2, 16 + 16 + 2 + 2, 108 + 108]

const uint16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)

/** The type of the field that has the checksum. */
const checksumType = 3

/** The sum is that of the header with zeros in the sum's place (§2.2.3). */
const checksumHolds = (header: Uint8Array, at: number): boolean => {
  const zeroed = Uint8Array.from(header)
  zeroed.fill(0, at, at + 4)
  const sum = crc32c(zeroed)
  return uint16(header, at) === sum >>> 16 && uint16(header, at + 2) === (sum & 0xffff)
}

/** What is wrong with the fields behind the addresses. Of all of them, only the checksum is looked into. */
const fieldsFault = (header: Uint8Array, start: number): string | undefined => {
  let checksumAt: number | undefined
  let at = start
  while (at < header.length) {
    const valueAt = at + 3
    const end = valueAt + uint16(header, at + 1)
    if (valueAt > header.length || end > header.length) return "a field is longer than the header"
    if (header[at] === checksumType) {
      if (checksumAt !== undefined) return "there are two checksums"
      if (end !== valueAt + 4) return "the checksum is not of 4 bytes"
      checksumAt = valueAt
    }
    at = end
  }
  return checksumAt === undefined || checksumHolds(header, checksumAt) ? undefined : "the checksum is wrong"
}

const readAddresses = (header: Uint8Array, family: number): ProxyHeader => {
  const size = family === ipv4Stream ? 4 : 16
  const destinationAt = addressesAt + size
  const portsAt = destinationAt + size
  const [from, to] = [header.subarray(addressesAt, destinationAt), header.subarray(destinationAt, portsAt)]
  const ports = { sourcePort: uint16(header, portsAt), destinationPort: uint16(header, portsAt + 2) }
  if (family === ipv4Stream) {
    const [source, destination] = [NetAddress.ipv4FromBytesUnsafe(from), NetAddress.ipv4FromBytesUnsafe(to)]
    return { _tag: "Ipv4", source, destination, ...ports }
  }
  const [source, destination] = [NetAddress.ipv6FromBytesUnsafe(from), NetAddress.ipv6FromBytesUnsafe(to)]
  return { _tag: "Ipv6", source, destination, ...ports }
}

/** Bytes in the longest header. The text says that one is smaller than a segment of TCP; no sender needs more. */
const maxLength = 4096

const decodeBinary = (bytes: Uint8Array): Decoded<ProxyHeader> => {
  const none = checkStart(bytes, signature)
  if (none !== undefined) return none
  // What has not arrived is legal: version 2, LOCAL, unspecified.
  const [versionAndCommand = version << 4, family = 0] = bytes.subarray(signature.length)
  const command = versionAndCommand & 0xf
  if (versionAndCommand >> 4 !== version) return bad(`version ${versionAndCommand >> 4}`)
  if (command > proxyCommand) return bad(`unknown command ${command}`)
  const isLocal = command === localCommand
  if (!isLocal && (family >> 4 >= addressLengths.length || (family & 0xf) > 2)) {
    return bad(`unknown address family or transport 0x${family.toString(16).padStart(2, "0")}`)
  }
  if (bytes.length < addressesAt) return more(addressesAt - bytes.length)
  const size = addressesAt + uint16(bytes, addressesAt - 2)
  if (size > maxLength) return bad(`longer than ${maxLength} bytes`)
  // What a LOCAL one or an unspecified one holds is to be ignored, so nothing is known of its form.
  const addresses = isLocal || (family & 0xf) === 0 ? undefined : addressLengths[family >> 4]
  if (addresses !== undefined && size < addressesAt + addresses) return bad("too short for its addresses")
  if (bytes.length < size) return more(size - bytes.length)
  if (isLocal) return done(local, size)
  if (addresses === undefined) return done(unknown, size)
  const header = bytes.subarray(0, size)
  const fault = fieldsFault(header, addressesAt + addresses)
  if (fault !== undefined) return bad(fault)
  return done(family === ipv4Stream || family === ipv6Stream ? readAddresses(header, family) : unknown, size)
}

/** Of version 2. */
const start = (command: number, family: number, length: number): ReadonlyArray<number> => [
  ...signature,
  (version << 4) | command,
  family,
  length >> 8,
  length & 0xff
]

/**
 * Reads both versions; writes version 2. Of a legal header nothing but the addresses is kept, so that what is written
 * need not be the bytes that were read.
 */
export const codec: Codec<ProxyHeader> = {
  name,
  maxLength,
  decode: (bytes) => {
    const [first] = bytes
    if (first === undefined) return more(shortestLine)
    return first === signature[0] ? decodeBinary(bytes) : decodeLine(bytes)
  },
  encode: (header) => {
    if (header._tag === "Local") return Uint8Array.from(start(localCommand, 0, 0))
    if (header._tag === "Unknown") return Uint8Array.from(start(proxyCommand, 0, 0))
    const [family, from, to] = header._tag === "Ipv4"
      ? [ipv4Stream, NetAddress.ipv4ToOctets(header.source), NetAddress.ipv4ToOctets(header.destination)]
      : [ipv6Stream, NetAddress.ipv6ToOctets(header.source), NetAddress.ipv6ToOctets(header.destination)]
    const ports = [header.sourcePort, header.destinationPort].flatMap((port) => [port >> 8, port & 0xff])
    return Uint8Array.from([
      ...start(proxyCommand, family, from.length + to.length + ports.length),
      ...from,
      ...to,
      ...ports
    ])
  }
}

/** The text has eight groups of hexadecimal digits, and nothing of an embedded IPv4 address. */
const formatIpv6 = (ip: NetAddress.Ipv6Address): string =>
  NetAddress.ipv6ToSegments(ip).map((segment) => segment.toString(16)).join(":")

/** A header as a line of version 1, which has no `Local`: that is `Unknown` too. */
export const encodeLine = (header: ProxyHeader): Uint8Array => {
  if (header._tag === "Local" || header._tag === "Unknown") return Text.encode("PROXY UNKNOWN\r\n")
  const [family, from, to] = header._tag === "Ipv4"
    ? ["TCP4", NetAddress.formatIp(header.source), NetAddress.formatIp(header.destination)]
    : ["TCP6", formatIpv6(header.source), formatIpv6(header.destination)]
  return Text.encode(`PROXY ${family} ${from} ${to} ${header.sourcePort} ${header.destinationPort}\r\n`)
}
