import { assert, describe, it } from "@effect/vitest"
import * as NetAddress from "effect/net/NetAddress"
import * as Socks4Request from "../../src/protocol/Socks4Request.ts"
import { ascii, assertRefused, decodeAll, hex, toHex } from "./Frames.ts"

const { codec } = Socks4Request

const loopback = { _tag: "Ipv4", ip: NetAddress.ipv4Loopback }

const letters = (count: number) => "61 ".repeat(count)

describe("SOCKS4 request", () => {
  it.each([
    ["CONNECT", `04 01 04 38 7f 00 00 01 ${ascii("id")} 00`, { command: 1, userId: "id" }, { ...loopback, port: 1080 }],
    ["BIND without a USERID", "04 02 00 15 7f 00 00 01 00", { command: 2, userId: "" }, { ...loopback, port: 21 }],
    ["an unknown command", "04 f0 00 50 7f 00 00 01 00", { command: 0xf0, userId: "" }, { ...loopback, port: 80 }],
    [
      "0.0.0.0, which announces no name",
      "04 02 00 00 00 00 00 00 00",
      { command: 2, userId: "" },
      { _tag: "Ipv4", ip: NetAddress.ipv4Unspecified, port: 0 }
    ],
    [
      "a USERID that is as long as can be, and not ASCII",
      `04 01 00 50 7f 00 00 01 ${letters(253)} c3 a4 00`,
      { command: 1, userId: `${"a".repeat(253)}ä` },
      { ...loopback, port: 80 }
    ],
    [
      "a name behind the USERID (A40)",
      `04 01 00 50 00 00 00 01 ${ascii("id")} 00 ${ascii("localhost")} 00`,
      { command: 1, userId: "id" },
      { _tag: "Domain", name: "localhost", port: 80, marker: 1 }
    ],
    [
      "a name announced in another way",
      `04 01 00 50 00 00 00 ff 00 ${ascii("a")} 00`,
      { command: 1, userId: "" },
      { _tag: "Domain", name: "a", port: 80, marker: 255 }
    ],
    [
      "a name that is as long as can be",
      `04 01 ff ff 00 00 00 01 00 ${letters(255)} 00`,
      { command: 1, userId: "" },
      { _tag: "Domain", name: "a".repeat(255), port: 65535, marker: 1 }
    ]
  ])("reads %s", (_, bytes, fields, address) => {
    const request = decodeAll(codec, hex(bytes))
    assert.deepInclude(request, fields)
    assert.deepStrictEqual<object>(request.address, address)
    assert.strictEqual(toHex(codec.encode(request)), toHex(hex(bytes)))
  })

  it("leaves what comes behind it alone (A40)", () => {
    const plain = hex("04 01 00 50 7f 00 00 01 00")
    const named = hex(`04 01 00 50 00 00 00 01 00 ${ascii("localhost")} 00`)
    for (const bytes of [plain, named]) {
      const decoded = codec.decode(Uint8Array.from([...bytes, ...hex(ascii("HELLO"))]))
      assert.strictEqual(decoded._tag === "Done" ? decoded.size : -1, bytes.length)
    }
  })

  it.each([
    ["another version", "05", { _tag: "VersionMismatch", expected: 4, actual: 5 }],
    ["a USERID that is too long", `04 01 00 50 7f 00 00 01 ${letters(256)}`, { why: "longer than 255 bytes" }],
    ["a USERID that is not UTF-8", "04 01 00 50 7f 00 00 01 ff", { _tag: "BadText", field: "username" }],
    ["a USERID that ends in the middle of a character", "04 01 00 50 7f 00 00 01 c3 00", { why: "not UTF-8" }],
    ["a name without bytes", "04 01 00 50 00 00 00 01 00 00", { _tag: "BadDomain", why: "empty" }],
    ["a name that is too long", `04 01 00 50 00 00 00 01 00 ${letters(256)}`, { why: "longer than 255 bytes" }],
    ["a name with a line feed", `04 01 00 50 00 00 00 01 00 ${ascii("a")} 0a`, { why: "control character" }]
  ])("refuses %s at once", (_, bytes, expected) => {
    const seen = hex(bytes)
    assertRefused(codec.decode(seen), expected)
    assert.strictEqual(codec.decode(seen.subarray(0, -1))._tag, "More")
  })

  it.each([
    ["", 9],
    ["04 01 00", 6],
    ["04 01 00 50 00 00 00", 2],
    ["04 01 00 50 7f 00 00 01", 1],
    ["04 01 00 50 7f 00 00 01 61", 1],
    ["04 01 00 50 00 00 00 01", 3],
    ["04 01 00 50 00 00 00 01 61", 3],
    ["04 01 00 50 00 00 00 01 61 00", 2],
    ["04 01 00 50 00 00 00 01 61 00 61", 1]
  ])("asks, after %s, for at least %i bytes", (bytes, atLeast) => {
    assert.deepStrictEqual(codec.decode(hex(bytes)), { _tag: "More", atLeast })
  })
})
