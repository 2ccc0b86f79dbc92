import { assert, describe, it } from "@effect/vitest"
import * as NetAddress from "effect/net/NetAddress"
import * as Address from "../../src/protocol/Address.ts"
import * as Reply from "../../src/protocol/Reply.ts"
import { assertRefused, decodeAll, hex, toHex } from "./Frames.ts"

describe("reply", () => {
  it.each([
    ["127.0.0.1:1080", "05 00 00 01 7f 00 00 01 04 38"],
    ["[::ffff:127.0.0.1]:1080", "05 00 00 01 7f 00 00 01 04 38"],
    ["[2001:db8:a::102]:80", "05 00 00 04 20 01 0d b8 00 0a 00 00 00 00 00 00 00 00 01 02 00 50"],
    [undefined, "05 00 00 01 00 00 00 00 00 00"]
  ])("tells the bound address %s (A04)", (text, bytes) => {
    const inet = text === undefined ? undefined : NetAddress.inetAddressFromStringUnsafe(text)
    const reply = new Reply.Reply({ code: Reply.succeeded, address: Address.fromInetAddress(inet) })
    assert.strictEqual(toHex(Reply.codec.encode(reply)), bytes)
    assert.deepStrictEqual(decodeAll(Reply.codec, hex(bytes)), reply)
  })

  it.each([
    [Reply.succeeded, "succeeded"],
    [Reply.generalFailure, "general SOCKS server failure"],
    [Reply.notAllowed, "connection not allowed by ruleset"],
    [Reply.networkUnreachable, "network unreachable"],
    [Reply.hostUnreachable, "host unreachable"],
    [Reply.connectionRefused, "connection refused"],
    [Reply.ttlExpired, "TTL expired"],
    [Reply.commandNotSupported, "command not supported"],
    [Reply.addressTypeNotSupported, "address type not supported"],
    [0x09, "unassigned"],
    [0xff, "unassigned"]
  ])("is ten bytes long with code %i, %s (A04)", (code, words) => {
    const bytes = Reply.codec.encode({ code, address: Address.unspecified })
    assert.strictEqual(toHex(bytes), `05 ${code.toString(16).padStart(2, "0")} 00 01 00 00 00 00 00 00`)
    assert.strictEqual(decodeAll(Reply.codec, bytes).code, code)
    assert.strictEqual(Reply.describe(code), words)
  })

  it.each([
    ["another version", "00", { _tag: "VersionMismatch", expected: 5, actual: 0 }],
    ["a reserved byte", "05 00 ff", { _tag: "ReservedNotZero", actual: 0xff }],
    ["address type 0 (A04)", "05 01 00 00", { _tag: "UnknownAddressType", type: 0 }]
  ])("is refused with %s", (_, bytes, expected) => {
    assertRefused(Reply.codec.decode(hex(bytes)), expected)
  })
})
