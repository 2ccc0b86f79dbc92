import { assert, describe, it } from "@effect/vitest"
import * as Greeting from "../../src/protocol/Greeting.ts"
import * as MethodSelection from "../../src/protocol/MethodSelection.ts"
import { assertRefused, decodeAll, hex, toHex } from "./Frames.ts"

describe("greeting", () => {
  it.each([
    ["no authentication", "05 01 00", [0]],
    ["password", "05 01 02", [2]],
    ["both", "05 02 00 02", [0, 2]],
    ["nothing (A07)", "05 00", []],
    ["a private method (A07)", "05 01 80", [0x80]],
    ["the same method twice", "05 02 00 00", [0, 0]],
    ["as much as there can be (A07)", `05 ff ${"80".repeat(254)} 02`, [...Array.from({ length: 254 }, () => 0x80), 2]]
  ])("offers %s", (_, bytes, methods) => {
    const greeting = decodeAll(Greeting.codec, hex(bytes))
    assert.deepStrictEqual(greeting, new Greeting.Greeting({ methods }))
    assert.strictEqual(toHex(Greeting.codec.encode(greeting)), toHex(hex(bytes)))
  })

  it.each([
    ["SOCKS4", "04 01 00 50", /0x04 instead of 0x05, looks like SOCKS4$/],
    ["HTTP", "47 45 54 20", /looks like HTTP$/],
    ["HTTP CONNECT", "43", /looks like HTTP$/],
    ["TLS", "16 03 01", /looks like TLS$/],
    ["something else", "00", /^greeting: version 0x00 instead of 0x05$/]
  ])("refuses %s at its first byte (A41)", (_, bytes, message) => {
    for (const seen of [hex(bytes), hex(bytes).subarray(0, 1)]) {
      const decoded = Greeting.codec.decode(seen)
      assertRefused(decoded, { _tag: "VersionMismatch", expected: 5, actual: seen[0] })
      assert.match(decoded._tag === "Failed" ? decoded.error.message : "", message)
    }
  })

  it("asks for what is missing, and no more", () => {
    assert.deepStrictEqual(Greeting.codec.decode(hex("")), { _tag: "More", atLeast: 2 })
    assert.deepStrictEqual(Greeting.codec.decode(hex("05")), { _tag: "More", atLeast: 1 })
    assert.deepStrictEqual(Greeting.codec.decode(hex("05 03 00")), { _tag: "More", atLeast: 2 })
  })
})

describe("method selection", () => {
  it.each([
    ["05 00", MethodSelection.noAuthentication],
    ["05 02", MethodSelection.usernamePassword],
    ["05 ff", MethodSelection.noneAcceptable]
  ])("is %s", (bytes, method) => {
    assert.strictEqual(toHex(MethodSelection.codec.encode({ method })), bytes)
    assert.strictEqual(decodeAll(MethodSelection.codec, hex(bytes)).method, method)
  })

  it("has the version of RFC 1928", () => {
    assertRefused(MethodSelection.codec.decode(hex("01")), { _tag: "VersionMismatch", actual: 1 })
  })
})
