import { assert, describe, it } from "@effect/vitest"
import { isUtf8 } from "node:buffer"
import * as Text from "../../src/protocol/Text.ts"
import { hex, toHex } from "./Frames.ts"

const faultOf = (bytes: Uint8Array, controls: "allowed" | "refused" = "allowed") =>
  Text.firstFault(bytes, 0, bytes.length, controls)

describe("text", () => {
  it("is what the platform takes for UTF-8, for all leads, second bytes and lengths", () => {
    const tails = ["", "80", "bf", "80 80", "bf bf", "61", "80 61", "80 80 61", "c3", "80 80 80"].map(hex)
    for (let lead = 0; lead < 256; lead++) {
      for (let second = 0; second < 256; second++) {
        for (const tail of tails) {
          const bytes = Uint8Array.of(lead, second, ...tail)
          if ((faultOf(bytes) === undefined) !== isUtf8(bytes)) assert.fail(toHex(bytes))
        }
      }
    }
    assert.isUndefined(faultOf(hex("")))
  })

  it("has no control characters where they are refused, and all else", () => {
    for (let point = 0; point <= 0x2ff; point++) {
      const bytes = Text.encode(String.fromCodePoint(point))
      const fault = faultOf(bytes, "refused")
      const control = point < 0x20 || point >= 0x7f && point < 0xa0
      assert.deepStrictEqual(fault, control ? { at: bytes.length - 1, why: "control character" } : undefined)
      assert.isUndefined(faultOf(bytes))
    }
  })

  it("is not judged by what has not arrived", () => {
    assert.isUndefined(Text.firstFault(hex("61 e2"), 0, 4, "refused"))
    assert.isUndefined(Text.firstFault(hex("61 e2 82"), 0, 4, "refused"))
    assert.deepStrictEqual(Text.firstFault(hex("61 e2"), 0, 3, "refused"), { at: 1, why: "not UTF-8" })
  })

  it("is shown as one line of printable ASCII", () => {
    assert.strictEqual(Text.escape(hex("61 00 0a 22 5c 7e 7f c3 bc 20")), "a\\x00\\x0a\\x22\\x5c~\\x7f\\xc3\\xbc ")
  })
})
