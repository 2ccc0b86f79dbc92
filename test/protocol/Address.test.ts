import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Equal from "effect/Equal"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Address from "../../src/protocol/Address.ts"
import { ascii, assertRefused, hex, holds, reasonOf, toHex } from "./Frames.ts"

const decode = (bytes: Uint8Array): Address.Address => {
  const decoded = Address.decodeAfter("address", bytes, 0)
  if (decoded._tag !== "Done") return assert.fail(JSON.stringify(decoded))
  assert.strictEqual(decoded.size, bytes.length)
  assert.strictEqual(toHex(Address.encodeAfter([], decoded.value)), toHex(bytes))
  return decoded.value
}

const domain = (name: string, port = 443): Address.Address => ({ _tag: "Domain", name, port })

const domainBytes = (name: Uint8Array): Uint8Array => Uint8Array.of(3, name.length, ...name, 0, 80)

const ipText = (address: Address.Address): string =>
  address._tag === "Domain" ? assert.fail("a domain") : NetAddress.formatIp(address.ip)

describe("IPv6 octets, in network order (A05)", () => {
  const oneByte = Array.from({ length: 16 }, (_, at) => {
    const groups = Array.from({ length: 8 }, (_, group) => group === at >> 1 ? (at % 2 === 0 ? "ab00" : "ab") : "0")
    const octets = Uint8Array.from({ length: 16 }, (_, octet) => octet === at ? 0xab : 0)
    return { octets: toHex(octets), text: groups.join(":") }
  })
  it.each([
    { octets: "20 01 0d b8 00 0a 00 00 00 00 00 00 00 00 01 02", text: "2001:db8:a::102" },
    { octets: "00".repeat(16), text: "::" },
    { octets: "ff".repeat(16), text: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
    { octets: `${"00".repeat(10)} ff ff 7f 00 00 01`, text: "::ffff:127.0.0.1" },
    ...oneByte
  ])("$text", ({ octets, text }) => {
    const address = decode(hex(`04 ${octets} 01 bb`))
    const expected = Result.getOrThrow(NetAddress.ipv6FromString(text))
    assert.isTrue(address._tag === "Ipv6" && Equal.equals(address.ip, expected) && address.port === 443)
    const again = Result.getOrThrow(NetAddress.ipv6FromString(ipText(address)))
    assert.strictEqual(toHex(Uint8Array.from(NetAddress.ipv6ToOctets(again))), toHex(hex(octets)))
  })
})

describe("IPv4 octets", () => {
  it("are in network order, and so is the port", () => {
    const address = decode(hex("01 7f 00 00 01 04 38"))
    assert.strictEqual(ipText(address), "127.0.0.1")
    assert.strictEqual(address.port, 1080)
    assert.strictEqual(decode(hex("01 ff fe fd fc 00 00")).port, 0)
    assert.strictEqual(decode(hex("01 ff fe fd fc ff ff")).port, 65535)
  })
})

describe("a domain on the wire", () => {
  it.each([
    ["one byte", "61"],
    ["255 bytes", "61".repeat(255)],
    ["an underscore (A12)", ascii("my_host.test")],
    ["a trailing dot (A12)", ascii("host.test.")],
    ["an A-label (A12)", ascii("xn--bcher-kva.test")],
    ["UTF-8 (A12)", "62 c3 bc 63 68 65 72 2e 74 65 73 74"],
    ["a byte order mark", "ef bb bf 61"],
    ["a replacement character", "ef bf bd"],
    ["the last code point", "f4 8f bf bf"],
    ["U+00A0, right behind the controls", "c2 a0"],
    ["what is no host name, but text", ascii("a b!")]
  ])("keeps %s as it is", (_, name) => {
    const bytes = hex(name)
    const address = decode(domainBytes(bytes))
    assert.isTrue(address._tag === "Domain" && Buffer.from(address.name).equals(bytes) && address.port === 80)
  })

  it.each([
    ["NUL at the end (A13)", `${ascii("localhost")} 00`, "localhost\\x00", "control character"],
    ["escape sequences (A37)", `61 1b 5b 32 4b 0d 0a ${ascii("OK user=root.test")}`, "a\\x1b", "control character"],
    ["DEL", "61 7f", "a\\x7f", "control character"],
    ["C1", "61 c2 85 62", "a\\xc2\\x85", "control character"],
    ["a lone continuation", "61 80", "a\\x80", "not UTF-8"],
    ["an overlong form", "c0 af", "\\xc0", "not UTF-8"],
    ["an overlong form of three bytes", "e0 9f bf", "\\xe0\\x9f", "not UTF-8"],
    ["a surrogate", "ed a0 80", "\\xed\\xa0", "not UTF-8"],
    ["past U+10FFFF", "f4 90 80 80", "\\xf4\\x90", "not UTF-8"],
    ["a byte that starts nothing", "61 f5 80 80 80", "a\\xf5", "not UTF-8"],
    ["a cut sequence", "61 e2 82", "a\\xe2", "not UTF-8"],
    ["Latin-1", "62 fc 63 68 65 72", "b\\xfc", "not UTF-8"]
  ])("refuses %s at that byte", (_, name, shown, why) => {
    const bytes = domainBytes(hex(name))
    const decoded = Address.decodeAfter("request", bytes, 0)
    assertRefused(decoded, { _tag: "BadDomain", name: shown, why })
    assert.match(reasonOf(decoded).message, /^[ -~]+$/)
    const end = 2 +
      Buffer.from(shown.replaceAll(/\\x(..)/g, (_, byte: string) => String.fromCharCode(parseInt(byte, 16))), "latin1")
        .length
    assert.strictEqual(Address.decodeAfter("request", bytes.subarray(0, end), 0)._tag, "Failed")
    assert.strictEqual(Address.decodeAfter("request", bytes.subarray(0, end - 1), 0)._tag, "More")
  })

  it("refuses the empty one", () => {
    assertRefused(Address.decodeAfter("request", hex("03 00"), 0), { _tag: "BadDomain", why: "empty" })
  })
})

describe("an unknown address type", () => {
  it("is refused, whichever it is", () => {
    for (let type = 0; type < 256; type++) {
      if (type === 1 || type === 3 || type === 4) continue
      const decoded = Address.decodeAfter("request", Uint8Array.of(type), 0)
      assertRefused(decoded, { _tag: "UnknownAddressType", type })
    }
  })
})

describe("toHostPort", () => {
  it.each([
    ["127.0.0.1", "127.0.0.1:443"],
    ["127.0.0.1.", "127.0.0.1:443"],
    ["::1", "[::1]:443"],
    ["[::1]", "[::1]:443"],
    ["2001:DB8::A", "[2001:db8::a]:443"],
    ["::ffff:127.0.0.1", "127.0.0.1:443"],
    ["::ffff:7f00:1", "127.0.0.1:443"],
    ["[::ffff:169.254.169.254]", "169.254.169.254:443"]
  ])("takes the literal %s as that address (A11, A34)", (name, expected) => {
    const { host, port } = Result.getOrThrow(Address.toHostPort(domain(name)))
    assert.isTrue(NetAddress.isIpAddress(host))
    assert.strictEqual(`${NetAddress.isIpAddress(host) ? NetAddress.formatUrlHost(host) : ""}:${port}`, expected)
  })

  it.each([
    ["localhost", "localhost"],
    ["EXAMPLE.Test", "example.test"],
    ["my_host.test", "my_host.test"],
    ["_http._tcp.example.com", "_http._tcp.example.com"],
    ["host.test.", "host.test."],
    ["xn--bcher-kva.test", "xn--bcher-kva.test"],
    ["bücher.test", "xn--bcher-kva.test"],
    ["BÜCHER.test", "xn--bcher-kva.test"],
    ["1.example", "1.example"],
    ["3com", "3com"],
    [`${"a".repeat(63)}.test`, `${"a".repeat(63)}.test`]
  ])("takes the name %s (A12)", (name, expected) => {
    assert.strictEqual(String(Result.getOrThrow(Address.toHostPort(domain(name))).host), expected)
  })

  it.each([
    ..."1.2.3|127.1|0x7f.1|0x7f000001|2130706433|0177.0.0.1|1.2.3.4.5|256.1.1.1|example.0x10".split("|"),
    // Full-width digits and dots, which IDN folds into an address.
    "１２７.0.0.1",
    "127。0。0。1",
    ..."a b|a..b|.a|.|..|-a.test|a-.test|a/b|a:80|user@host|http://a|a\\b|a\"b|%31.test|*.test|[a]".split("|"),
    ..."[127.0.0.1]|[::1|::1]|[[::1]]|[]|:::|1::2::3|::ffff:1.2.3|fe80::1%eth0|[fe80::1%1]|::1%lo".split("|"),
    "ü%41.test",
    "ü／x.test",
    "a\u2028b.test",
    `${"a".repeat(64)}.test`,
    `${"a.".repeat(127)}a`
  ])("refuses %s, so that it never reaches a resolver", (name) => {
    const result = Address.toHostPort(domain(name))
    if (Result.isSuccess(result)) return assert.fail(Host.formatHostPort(result.success))
    assert.strictEqual(result.failure.reason._tag, "BadDomain")
    assert.match(result.failure.message, /^[ -~]+$/)
  })

  it("takes addresses as they are, IPv4-mapped ones as IPv4 (A34)", () => {
    const mapped = decode(hex(`04 ${"00".repeat(10)} ff ff 7f 00 00 01 00 50`))
    assert.strictEqual(Host.formatHostPort(Result.getOrThrow(Address.toHostPort(mapped))), "127.0.0.1:80")
    const six = decode(hex("04 20 01 0d b8 00 0a 00 00 00 00 00 00 00 00 01 02 00 50"))
    assert.strictEqual(Host.formatHostPort(Result.getOrThrow(Address.toHostPort(six))), "[2001:db8:a::102]:80")
    const four = decode(hex("01 0a 00 00 01 00 00"))
    assert.strictEqual(Host.formatHostPort(Result.getOrThrow(Address.toHostPort(four))), "10.0.0.1:0")
  })

  it.effect(
    "gives an IP, a normal name or a typed failure for any address, and never throws",
    () =>
      holds(Arbitrary.schema(Address.Address), (address) => {
        const result = Address.toHostPort(address)
        if (Result.isFailure(result)) return assert.match(result.failure.message, /^[ -~]+$/)
        const { host, port } = result.success
        assert.strictEqual(port, address.port)
        assert.isTrue(NetAddress.isIpAddress(host) ? NetAddress.toCanonical(host) === host : Host.isDomainName(host))
      }),
    60_000
  )
})

describe("fromInetAddress", () => {
  it.each([
    ["127.0.0.1:1080", "01 7f 00 00 01 04 38"],
    ["[::1]:1080", "04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 04 38"],
    ["[::ffff:127.0.0.1]:1080", "01 7f 00 00 01 04 38"]
  ])("writes %s, IPv4-mapped as IPv4 (A04)", (text, expected) => {
    const address = Address.fromInetAddress(NetAddress.inetAddressFromStringUnsafe(text))
    assert.strictEqual(toHex(Address.encodeAfter([], address)), expected)
  })

  it("writes zeros for an address that is not known (A04)", () => {
    assert.strictEqual(toHex(Address.encodeAfter([], Address.fromInetAddress(undefined))), "01 00 00 00 00 00 00")
  })
})

describe("the schema", () => {
  it.each([
    ["an empty name", domain("")],
    ["a name of 256 bytes", domain("ü".repeat(128))],
    ["a control character", domain("a\u0085b")],
    ["a lone surrogate", domain("a\ud800")],
    ["a port of 65536", domain("a", 65536)]
  ])("refuses %s", (_, address) => {
    assert.isTrue(Result.isFailure(Schema.decodeUnknownResult(Address.Address)(address)))
  })

  it("takes a name of 255 bytes", () => {
    assert.isTrue(Result.isSuccess(Schema.decodeUnknownResult(Address.Address)(domain(`${"ü".repeat(127)}a`))))
  })
})
