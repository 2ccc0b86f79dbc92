import { assert, describe, it } from "@effect/vitest"
import * as NetAddress from "effect/net/NetAddress"
import * as Socks4Reply from "../../src/protocol/Socks4Reply.ts"
import { assertRefused, decodeAll, hex, toHex } from "./Frames.ts"

const { codec } = Socks4Reply

describe("SOCKS4 reply", () => {
  it.each([
    ["granted", "00 5a 04 38 7f 00 00 01", Socks4Reply.granted, NetAddress.ipv4Loopback, 1080],
    ["refused", "00 5b 00 00 00 00 00 00", Socks4Reply.refused, NetAddress.ipv4Unspecified, 0],
    ["refused for want of an identd", "00 5c 00 00 00 00 00 00", Socks4Reply.noIdentd, NetAddress.ipv4Unspecified, 0],
    ["refused for another user", "00 5d 00 00 00 00 00 00", Socks4Reply.otherUser, NetAddress.ipv4Unspecified, 0]
  ])("says %s in eight bytes (A40)", (_, bytes, code, ip, port) => {
    const reply = new Socks4Reply.Socks4Reply({ code, address: { _tag: "Ipv4", ip, port } })
    assert.strictEqual(toHex(codec.encode(reply)), bytes)
    assert.deepStrictEqual(decodeAll(codec, hex(bytes)), reply)
  })

  it("has 0 where a request has its version", () => {
    assertRefused(codec.decode(hex("04")), { _tag: "VersionMismatch", expected: 0, actual: 4 })
  })

  it("asks for the bytes that are missing", () => {
    assert.deepStrictEqual(codec.decode(hex("00 5a 00")), { _tag: "More", atLeast: 5 })
  })
})
