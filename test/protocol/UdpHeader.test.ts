import { assert, describe, it } from "@effect/vitest"
import * as UdpHeader from "../../src/protocol/UdpHeader.ts"
import { ascii, assertRefused, hex, toHex } from "./Frames.ts"

describe("UDP header", () => {
  it.each([
    ["IPv4", "00 00 00 01 7f 00 00 01 00 35", 0, "Ipv4"],
    ["IPv6, which makes it 22 bytes (A20)", `00 00 00 04 ${"00".repeat(15)} 01 00 35`, 0, "Ipv6"],
    ["a name", `00 00 00 03 09 ${ascii("localhost")} 00 35`, 0, "Domain"],
    ["a fragment (A17)", "00 00 01 01 7f 00 00 01 00 35", 1, "Ipv4"],
    ["the last fragment (A17)", "00 00 ff 01 7f 00 00 01 00 35", 0xff, "Ipv4"]
  ])("ends where the data starts: %s", (_, bytes, fragment, tag) => {
    for (const data of ["", "00", "05 01 00"]) {
      const decoded = UdpHeader.codec.decode(hex(bytes + data))
      if (decoded._tag !== "Done") return assert.fail(JSON.stringify(decoded))
      assert.strictEqual(decoded.size, hex(bytes).length)
      assert.strictEqual(decoded.value.fragment, fragment)
      assert.strictEqual(decoded.value.address._tag, tag)
      assert.strictEqual(decoded.value.address.port, 53)
      assert.strictEqual(toHex(UdpHeader.codec.encode(decoded.value)), toHex(hex(bytes)))
    }
  })

  it.each([
    ["empty", "", "More"],
    ["one byte", "00", "More"],
    ["three bytes", "00 00 00", "More"],
    ["a cut IPv4 address", "00 00 00 01 7f", "More"],
    ["a cut name", "00 00 00 03 ff 61", "More"],
    ["a name without bytes", "00 00 00 03 00 00 35", "Failed"],
    ["an unknown address type", "00 00 00 05 00 00", "Failed"],
    ["a cut IPv6 address", "00 00 00 04 00 00 00", "More"]
  ])("is none when the datagram is malformed: %s (A22)", (_, bytes, tag) => {
    assert.strictEqual(UdpHeader.codec.decode(hex(bytes))._tag, tag)
  })

  it.each([["01", 1], ["00 02", 2]])("has reserved bytes of zero, not %s", (bytes, actual) => {
    assertRefused(UdpHeader.codec.decode(hex(bytes)), { _tag: "ReservedNotZero", actual })
  })
})
