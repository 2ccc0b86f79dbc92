import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import type * as Codec from "../../src/protocol/Codec.ts"
import * as Greeting from "../../src/protocol/Greeting.ts"
import * as PasswordRequest from "../../src/protocol/PasswordRequest.ts"
import * as Request from "../../src/protocol/Request.ts"
import { ascii, assertRefused, decodeAll, hex, toHex } from "./Frames.ts"

describe("request", () => {
  it.each([
    ["CONNECT to IPv4", "05 01 00 01 7f 00 00 01 04 38", Request.connect, "Ipv4", 1080],
    ["BIND to IPv4", "05 02 00 01 7f 00 00 01 00 00", Request.bind, "Ipv4", 0],
    ["UDP ASSOCIATE from IPv6", `05 03 00 04 ${"00".repeat(18)}`, Request.udpAssociate, "Ipv6", 0],
    ["CONNECT to a name", `05 01 00 03 09 ${ascii("localhost")} 00 50`, Request.connect, "Domain", 80],
    ["an unknown command, to be answered with 07", "05 7f 00 01 7f 00 00 01 00 50", 0x7f, "Ipv4", 80],
    ["command 0", "05 00 00 01 7f 00 00 01 00 50", 0, "Ipv4", 80],
    ["a name as long as can be", `05 01 00 03 ff ${"61".repeat(255)} ff ff`, Request.connect, "Domain", 65535]
  ])("reads %s", (_, bytes, command, tag, port) => {
    const request = decodeAll(Request.codec, hex(bytes))
    assert.strictEqual(request.command, command)
    assert.strictEqual(request.address._tag, tag)
    assert.strictEqual(request.address.port, port)
    assert.strictEqual(toHex(Request.codec.encode(request)), toHex(hex(bytes)))
  })

  it.each([
    ["another version", "04", { _tag: "VersionMismatch", expected: 5, actual: 4 }],
    ["a reserved byte", "05 01 01", { _tag: "ReservedNotZero", actual: 1 }],
    ["an unknown address type", "05 01 00 02", { _tag: "UnknownAddressType", type: 2 }],
    ["address type 0", "05 01 00 00", { _tag: "UnknownAddressType", type: 0 }],
    ["a name without bytes", "05 01 00 03 00", { _tag: "BadDomain", why: "empty" }],
    ["a name that ends in NUL (A13)", `05 01 00 03 0a ${ascii("localhost")} 00`, { why: "control character" }]
  ])("refuses %s at once", (_, bytes, expected) => {
    const seen = hex(bytes)
    assertRefused(Request.codec.decode(seen), expected)
    assert.strictEqual(Request.codec.decode(seen.subarray(0, -1))._tag, "More")
  })

  it.each([
    ["", 8],
    ["05", 7],
    ["05 01 00", 5],
    ["05 01 00 01", 6],
    ["05 01 00 04", 18],
    ["05 01 00 03", 4],
    ["05 01 00 03 09", 11],
    ["05 01 00 03 ff", 257]
  ])("asks, after %s, for at least %i bytes", (bytes, atLeast) => {
    assert.deepStrictEqual(Request.codec.decode(hex(bytes)), { _tag: "More", atLeast })
  })
})

/** Reads the three messages in turn from chunks, as a server would, and returns what is left. */
const handshake = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<unknown> => {
  const incoming = [...chunks]
  let bytes: Uint8Array = new Uint8Array(0)
  const read = <A>(codec: Codec.Codec<A>): A => {
    for (;;) {
      const decoded = codec.decode(bytes)
      if (decoded._tag === "Failed") return assert.fail(decoded.error.message)
      if (decoded._tag === "Done") {
        bytes = bytes.subarray(decoded.size)
        return decoded.value
      }
      bytes = Buffer.concat([bytes, incoming.shift() ?? assert.fail("the stream is over")])
    }
  }
  const greeting = read(Greeting.codec)
  const login = read(PasswordRequest.codec)
  const request = read(Request.codec)
  const rest = Buffer.concat([bytes, ...incoming]).toString()
  return [greeting.methods, login.username, Redacted.value(login.password), request.address, rest]
}

describe("a whole handshake as one stream (A03)", () => {
  const stream = hex(`05 01 02 01 04 ${ascii("user")} 04 ${ascii("pass")} 05 01 00 03 09 ${ascii("localhost")} 00 50`)
  const hello = hex(ascii("HELLO"))

  const expected = [[2], "user", "pass", { _tag: "Domain", name: "localhost", port: 80 }, "HELLO"]
  const sent = Uint8Array.from([...stream, ...hello])

  it("is read byte by byte", () => {
    assert.deepStrictEqual(handshake(Array.from(sent, (byte) => Uint8Array.of(byte))), expected)
  })

  it("is read from one segment, and from any two, and early payload is left alone", () => {
    assert.deepStrictEqual(handshake([sent]), expected)
    for (let at = 1; at < sent.length; at++) {
      assert.deepStrictEqual(handshake([sent.subarray(0, at), sent.subarray(at)]), expected)
    }
  })
})
