import { assert, describe, it } from "@effect/vitest"
import * as ProtocolError from "../../src/protocol/ProtocolError.ts"

describe("a protocol error", () => {
  it.each([
    [new ProtocolError.VersionMismatch({ expected: 1, actual: 5 }), "version 0x05 instead of 0x01"],
    [new ProtocolError.ReservedNotZero({ actual: 255 }), "reserved byte is 0xff"],
    [new ProtocolError.UnknownCommand({ command: 9 }), "unknown command 0x09"],
    [new ProtocolError.UnknownAddressType({ type: 2 }), "unknown address type 0x02"],
    [
      new ProtocolError.BadDomain({ name: "a\\x00", why: "control character" }),
      "bad domain \"a\\x00\": control character"
    ],
    [new ProtocolError.BadText({ field: "password", why: "not UTF-8" }), "bad password: not UTF-8"]
  ])("says where and what, in one line: %s", (reason, expected) => {
    assert.strictEqual(new ProtocolError.ProtocolError({ frame: "request", reason }).message, `request: ${expected}`)
  })
})
