import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Equal from "effect/Equal"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import { crc32c } from "../../src/protocol/Crc32c.ts"
import * as ProxyHeader from "../../src/protocol/ProxyHeader.ts"
import { ascii, assertRefused, concat, decodeAll, hex, holds, toHex } from "./Frames.ts"

const { codec } = ProxyHeader

const text = (line: string): Uint8Array => hex(ascii(line))

const clientOf = (bytes: Uint8Array): string | undefined => {
  const client = ProxyHeader.client(decodeAll(codec, bytes))
  return client && NetAddress.formatInet(client)
}

/** A line that ends after so many bytes. */
const lineOf = (length: number) => text(`${"PROXY UNKNOWN ".padEnd(length - 2, "x")}\r\n`)

const signature = "0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a"

/** A header of version 2 from its command, family and what the length counts. */
const binary = (command: string, family: string, ...rest: ReadonlyArray<string>): Uint8Array => {
  const counted = hex(rest.join(""))
  return concat(hex(signature + command + family), Uint8Array.of(counted.length >> 8, counted.length & 0xff), counted)
}

const ipv4 = "c0 00 02 01 c6 33 64 07 dc 04 04 38"
const ipv6Rest = `20 01 0d b8 ${"00".repeat(11)} 02 dc 04 04 38`
const ipv6 = `20 01 0d b8 ${"00".repeat(11)} 01 ${ipv6Rest}`
const unix = "2f".repeat(216)

const bad = (why: string | RegExp, bytes: Uint8Array): void => {
  const decoded = codec.decode(bytes)
  if (decoded._tag !== "Failed") return assert.fail(JSON.stringify(decoded))
  if (typeof why === "string") return assert.strictEqual(decoded.error.message, `PROXY header: ${why}`)
  assert.match(decoded.error.message, why)
}

describe("version 1", () => {
  it.each([
    ["IPv4", "PROXY TCP4 192.0.2.1 198.51.100.7 56324 1080\r\n", "192.0.2.1:56324"],
    ["the longest IPv4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"],
    ["zeros", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"],
    ["IPv6", "PROXY TCP6 2001:DB8::1 2001:db8::2 56324 1080\r\n", "[2001:db8::1]:56324"],
    [
      "the longest IPv6",
      `PROXY TCP6 ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`,
      `[${"ffff:".repeat(7)}ffff]:65535`
    ],
    ["IPv4-mapped IPv6", "PROXY TCP6 ::ffff:192.0.2.1 ::1 56324 1080\r\n", "192.0.2.1:56324"],
    ["nobody", "PROXY UNKNOWN\r\n", undefined],
    [
      "nobody, with what is to be ignored",
      `PROXY UNKNOWN ${"ffff:".repeat(7)}ffff ${"ffff:".repeat(7)}ffff 65535 65535\r\n`,
      undefined
    ],
    ["nobody, with a space behind it", "PROXY UNKNOWN \r\n", undefined]
  ])("names the client: %s", (_, line, client) => {
    assert.strictEqual(clientOf(text(line)), client)
  })

  it.each([
    "PROXY  TCP4 192.0.2.1 198.51.100.7 56324 1080\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 56324 1080 \r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 56324 1080 x\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7  1080\r\n",
    "PROXY TCP4 192.0.2.01 198.51.100.7 56324 1080\r\n",
    "PROXY TCP4 192.0.2.256 198.51.100.7 56324 1080\r\n",
    "PROXY TCP4 192.0.2 198.51.100.7 56324 1080\r\n",
    "PROXY TCP4 2001:db8::1 2001:db8::2 56324 1080\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 056324 1080\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 00 1080\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 65536 1080\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 56324 -1\r\n",
    "PROXY TCP4 192.0.2.1 198.51.100.7 1e3 1080\r\n",
    "PROXY TCP6 192.0.2.1 198.51.100.7 56324 1080\r\n",
    "PROXY TCP6 2001:db8::1 2001:db8:::2 56324 1080\r\n",
    "PROXY TCP6 fe80::1%eth0 2001:db8::2 56324 1080\r\n",
    "PROXY TCP6 [2001:db8::1] 2001:db8::2 56324 1080\r\n",
    "PROXY UDP4 192.0.2.1 198.51.100.7 56324 1080\r\n",
    "PROXY tcp4 192.0.2.1 198.51.100.7 56324 1080\r\n",
    "PROXY UNKNOWNS\r\n",
    "PROXY \r\n"
  ])("is as the text has it, not %j", (line) => {
    bad(/^PROXY header: bad line "PROXY /, text(line))
  })

  it("shows what is no line in printable characters", () => {
    bad("bad line \"PROXY TCP4\\x00\\xff\\x1b\"", concat(text("PROXY TCP4"), hex("00 ff 1b 0d 0a")))
  })

  it.each([
    ["a line feed alone", "PROXY UNKNOWN\n"],
    ["a carriage return alone", "PROXY UNKNOWN\r05"],
    ["a line feed alone, behind what is ignored", "PROXY UNKNOWN x\n\r\n"]
  ])("ends with both, not with %s", (_, line) => {
    bad("the line does not end with CR LF", text(line))
  })

  it("is never longer than 107 bytes", () => {
    assert.strictEqual(clientOf(lineOf(107)), undefined)
    bad("the line is longer than 107 bytes", lineOf(108))
    bad("the line is longer than 107 bytes", lineOf(108).subarray(0, 106))
    assert.strictEqual(codec.decode(lineOf(108).subarray(0, 105))._tag, "More")
  })
})

describe("version 2", () => {
  it.each([
    ["IPv4", binary("21", "11", ipv4), "192.0.2.1:56324"],
    ["IPv6", binary("21", "21", ipv6), "[2001:db8::1]:56324"],
    ["IPv4-mapped IPv6", binary("21", "21", `${"00".repeat(10)} ff ff c0 00 02 01 ${ipv6Rest}`), "192.0.2.1:56324"],
    ["unspecified", binary("21", "00"), undefined],
    ["unspecified, with what is to be ignored", binary("21", "00", "ff ff ff ff ff"), undefined],
    ["an unspecified transport", binary("21", "10", ipv4), undefined],
    ["datagrams of IPv4", binary("21", "12", ipv4), undefined],
    ["datagrams of IPv6", binary("21", "22", ipv6), undefined],
    ["a Unix socket", binary("21", "31", unix), undefined],
    ["fields that nobody knows", binary("21", "11", ipv4, "ee 00 03 61 62 63", "04 00 00"), "192.0.2.1:56324"]
  ])("names the client: %s", (_, bytes, client) => {
    assert.strictEqual(clientOf(bytes), client)
  })

  it.each([
    ["without addresses", binary("20", "00")],
    ["with addresses", binary("20", "11", ipv4)],
    ["with fewer bytes than addresses have", binary("20", "11", "c0 00")],
    ["of a family that there is not", binary("20", "ff", "01 02 03")]
  ])("can be the load balancer's own: %s", (_, bytes) => {
    assert.deepStrictEqual(decodeAll(codec, bytes), { _tag: "Local" })
  })

  it.each([
    ["version 1", binary("11", "11", ipv4), "version 1"],
    ["version 3", binary("31", "11", ipv4), "version 3"],
    ["command 2", binary("22", "11", ipv4), "unknown command 2"],
    ["family 4", binary("21", "41", ipv4), "unknown address family or transport 0x41"],
    ["transport 3", binary("21", "13", ipv4), "unknown address family or transport 0x13"],
    ["too few bytes for IPv4", binary("21", "11", ipv4.slice(3)), "too short for its addresses"],
    ["too few bytes for IPv6", binary("21", "21", ipv6.slice(3)), "too short for its addresses"],
    ["too few bytes for a path", binary("21", "31", unix.slice(2)), "too short for its addresses"],
    ["a field without a length", binary("21", "11", ipv4, "04 00"), "a field is longer than the header"],
    ["a field that is cut", binary("21", "11", ipv4, "04 00 02 00"), "a field is longer than the header"],
    ["a short checksum", binary("21", "11", ipv4, "03 00 03 00 00 00"), "the checksum is not of 4 bytes"],
    ["a wrong checksum", binary("21", "11", ipv4, "03 00 04 00 00 00 00"), "the checksum is wrong"],
    ["two checksums", binary("21", "11", ipv4, "03 00 04 00 00 00 00".repeat(2)), "there are two checksums"]
  ])("is refused with %s", (_, bytes, why) => {
    bad(why, bytes)
  })

  it("is refused before all of it is there", () => {
    assertRefused(codec.decode(hex(`${signature} 22`)), { why: "unknown command 2" })
    assertRefused(codec.decode(hex(`${signature} 21 41`)), { why: "unknown address family or transport 0x41" })
    assertRefused(codec.decode(hex(`${signature} 21 11 00 0b`)), { why: "too short for its addresses" })
    assertRefused(codec.decode(hex(`${signature} 20 00 0f f1`)), { why: "longer than 4096 bytes" })
    assert.deepStrictEqual(codec.decode(hex(`${signature} 20 00 0f f0`)), { _tag: "More", atLeast: 4080 })
  })

  it("has a checksum that is looked at", () => {
    // RFC 3720 §B.4.
    assert.strictEqual(crc32c(new Uint8Array(32)), 0x8a9136aa)
    assert.strictEqual(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
    assert.strictEqual(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at)), 0x46dd794e)
    const header = binary("21", "11", ipv4, "03 00 04 00 00 00 00", "04 00 01 2a")
    new DataView(header.buffer).setUint32(31, crc32c(header))
    assert.strictEqual(clientOf(header), "192.0.2.1:56324")
    for (const at of [16, 27, 31, 34, 38]) {
      const broken = Uint8Array.from(header)
      broken[at] = (broken[at] ?? 0) ^ 1
      bad("the checksum is wrong", broken)
    }
  })
})

describe("neither", () => {
  it.each([
    ["SOCKS5", "05 01 00", "there is none: byte 1 is 0x05"],
    ["HTTP", ascii("POST / HTTP/1.1\r\n"), "there is none: byte 2 is 0x4f"],
    ["TLS", "16 03 01", "there is none: byte 1 is 0x16"],
    ["an empty line", "0d 0a 0d 0a 05", "there is none: byte 5 is 0x05"]
  ])("is refused at its first wrong byte: %s", (_, bytes, why) => {
    bad(why, hex(bytes))
  })
})

describe("a connection's header", () => {
  it.each([
    ["192.0.2.1:1", "198.51.100.7:2", "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n"],
    ["[::ffff:192.0.2.1]:1", "198.51.100.7:2", "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\r\n"],
    ["[2001:db8::1]:1", "[2001:db8::2]:2", "PROXY TCP6 2001:db8:0:0:0:0:0:1 2001:db8:0:0:0:0:0:2 1 2\r\n"],
    ["192.0.2.1:1", "[2001:db8::2]:2", "PROXY TCP6 0:0:0:0:0:ffff:c000:201 2001:db8:0:0:0:0:0:2 1 2\r\n"],
    ["[2001:db8::1]:1", "192.0.2.1:2", "PROXY TCP6 2001:db8:0:0:0:0:0:1 0:0:0:0:0:ffff:c000:201 1 2\r\n"],
    [undefined, "192.0.2.1:2", "PROXY UNKNOWN\r\n"]
  ])("has one family: %s to %s", (source, destination, line) => {
    const header = ProxyHeader.between(
      source === undefined ? undefined : NetAddress.inetAddressFromStringUnsafe(source),
      NetAddress.inetAddressFromStringUnsafe(destination)
    )
    assert.strictEqual(Buffer.from(ProxyHeader.encodeLine(header)).toString("latin1"), line)
  })

  it("is these bytes in version 2", () => {
    const [client, target] = ["192.0.2.1:56324", "198.51.100.7:1080"].map(NetAddress.inetAddressFromStringUnsafe)
    if (client === undefined || target === undefined) return assert.fail("no addresses")
    assert.strictEqual(
      toHex(codec.encode(ProxyHeader.between(client, target))),
      toHex(binary("21", "11", ipv4))
    )
    assert.strictEqual(toHex(codec.encode({ _tag: "Local" })), toHex(binary("20", "00")))
    assert.strictEqual(toHex(codec.encode({ _tag: "Unknown" })), toHex(binary("21", "00")))
  })
})

const arbitrary = Arbitrary.schema(ProxyHeader.ProxyHeader)
const equals = Schema.toEquivalence(ProxyHeader.ProxyHeader)
const bytesArbitrary = Arbitrary.schema(Schema.Uint8Array)
const timeout = 60_000

const check = (condition: boolean, message: string): void => {
  if (!condition) assert.fail(message)
}

/** At each prefix: the same end wherever it is noticed, no wish for bytes behind it, and none beyond the bound. */
const assertSound = (bytes: Uint8Array): void => {
  const whole = codec.decode(bytes)
  for (let seen = 0; seen <= bytes.length; seen++) {
    const decoded = codec.decode(bytes.subarray(0, seen))
    if (decoded._tag === "More") {
      const wanted = seen + decoded.atLeast
      check(decoded.atLeast >= 1 && wanted <= codec.maxLength, "wants no bytes, or too many")
      check(whole._tag !== "Done" || wanted <= whole.size, "wants bytes past the header")
      continue
    }
    check(
      decoded._tag === "Done"
        ? whole._tag === "Done" && decoded.size === seen && whole.size === seen && equals(decoded.value, whole.value)
        : whole._tag === "Failed" && Equal.equals(decoded.error.reason, whole.error.reason),
      "ends in another way when more bytes follow"
    )
    return
  }
  check(whole._tag === "More", "ended before, but not at last")
}

describe("any header", () => {
  it.effect(
    "comes back from its bytes in both versions, and shares no memory with them",
    () =>
      holds(Arbitrary.all([arbitrary, bytesArbitrary]), ([header, rest]) => {
        for (const encode of [codec.encode, ProxyHeader.encodeLine]) {
          const frame = encode(header)
          const bytes = concat(frame, rest)
          const decoded = codec.decode(bytes)
          bytes.fill(0xaa)
          const expected: ProxyHeader.ProxyHeader = encode === codec.encode || header._tag !== "Local"
            ? header
            : { _tag: "Unknown" }
          check(decoded._tag === "Done" && decoded.size === frame.length, "another size")
          check(decoded._tag === "Done" && equals(decoded.value, expected), "another header")
          assertSound(concat(frame, rest))
        }
      }),
    timeout
  )

  it.effect("is sound on any bytes, and on those that begin well", () =>
    holds(bytesArbitrary, (bytes) => {
      const length = Uint8Array.of(0, bytes.length)
      assertSound(bytes)
      assertSound(concat(text("PROXY "), bytes))
      assertSound(concat(text("PROXY TCP4 192.0.2.1 "), bytes))
      assertSound(concat(hex(signature), bytes))
      assertSound(concat(hex(`${signature} 21 11`), length, bytes))
      assertSound(concat(hex(`${signature} 21 11 00 ${Buffer.of(12 + bytes.length).toString("hex")} ${ipv4}`), bytes))
    }), timeout)

  it.effect(
    "is sound when some of its bytes are others",
    () =>
      holds(Arbitrary.all([arbitrary, bytesArbitrary]), ([header, noise]) => {
        for (const frame of [codec.encode(header), ProxyHeader.encodeLine(header)]) {
          const bytes = Uint8Array.from(frame)
          for (let at = 0; at + 1 < noise.length; at += 2) bytes[(noise[at] ?? 0) % bytes.length] = noise[at + 1] ?? 0
          assertSound(bytes)
        }
      }),
    timeout
  )
})
