import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { escape, escapeJson, quote, quoteWhole } from "../../src/config/Escape.ts"

// oxlint-disable-next-line no-control-regex
const steering = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/

const AnyText = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x2100 })))

describe("escape", () => {
  it("spells out what would steer a terminal or end a line", () => {
    assert.strictEqual(
      escape("a\u001b[2K\r\nOK\tuser=root\u0000\u007f\u009b\u2028\u2029\u202e"),
      "a\\x1b[2K\\r\\nOK\\tuser=root\\x00\\x7f\\x9b\\u2028\\u2029\\u202e"
    )
  })

  it("leaves everything else alone", () => {
    const text = "exämple.com:443 名前 🙂 \\ \" ="
    assert.strictEqual(escape(text), text)
  })

  it("quotes so that a value can't end early", () => {
    assert.strictEqual(quote("a\" level=error \\\n"), "\"a\\\" level=error \\\\\\n\"")
  })

  it("cuts what a complaint has no room for, and no character in half", () => {
    assert.strictEqual(quote("x".repeat(100)), `"${"x".repeat(100)}"`)
    assert.strictEqual(quote("x".repeat(101)), `"${"x".repeat(100)}…"`)
    assert.strictEqual(quote(`${"x".repeat(99)}🙂`), `"${"x".repeat(99)}…"`)
    assert.strictEqual(quoteWhole("x".repeat(101)), `"${"x".repeat(101)}"`)
  })

  it.prop("leaves nothing behind, and JSON stays the same JSON", [AnyText], ([codes]) => {
    const text = String.fromCharCode(...codes)
    assert.notMatch(escape(text), steering)
    assert.notMatch(quote(text), steering)
    const json = escapeJson(JSON.stringify(text))
    assert.notMatch(json, steering)
    assert.strictEqual(JSON.parse(json), text)
  }, { arbitrary: { runs: 1000 } })
})
