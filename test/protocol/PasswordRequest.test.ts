import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import { inspect } from "node:util"
import * as PasswordReply from "../../src/protocol/PasswordReply.ts"
import * as PasswordRequest from "../../src/protocol/PasswordRequest.ts"
import { ascii, assertRefused, decodeAll, hex, toHex } from "./Frames.ts"

const canary = "S3cr3t-canary"

describe("password request", () => {
  it.each([
    ["both fields", `01 04 ${ascii("user")} 04 ${ascii("pass")}`, "user", "pass"],
    ["an empty password (A09)", `01 04 ${ascii("user")} 00`, "user", ""],
    ["nothing at all (A09)", "01 00 00", "", ""],
    ["255 bytes twice (A10)", `01 ff ${"75".repeat(255)} ff ${"70".repeat(255)}`, "u".repeat(255), "p".repeat(255)],
    ["lengths of 128 (A10)", `01 80 ${"75".repeat(128)} 80 ${"70".repeat(128)}`, "u".repeat(128), "p".repeat(128)],
    ["UTF-8", "01 03 c3 bc 31 04 f0 9f 94 91", "ü1", "🔑"],
    ["control characters, which only logs mind (A37)", "01 03 61 1b 0a 01 00", "a\u001b\n", "\0"],
    ["a byte order mark", "01 03 ef bb bf 00", "\ufeff", ""]
  ])("has %s", (_, bytes, username, password) => {
    const request = decodeAll(PasswordRequest.codec, hex(bytes))
    assert.strictEqual(request.username, username)
    assert.strictEqual(Redacted.value(request.password), password)
    assert.strictEqual(toHex(PasswordRequest.codec.encode(request)), toHex(hex(bytes)))
  })

  it.each(["05", "00", "02"])("refuses the version %s, right credentials or not (A08)", (version) => {
    const decoded = PasswordRequest.codec.decode(hex(`${version} 04 ${ascii("user")} 04 ${ascii("pass")}`))
    const actual = parseInt(version, 16)
    assertRefused(decoded, { _tag: "VersionMismatch", expected: 1, actual })
  })

  it("counts a length of c2 80 as what it is: 194 bytes, of which the first is no text (A10)", () => {
    const bytes = hex(`01 c2 80 ${"75".repeat(128)} 04 ${ascii("pass")}`)
    assertRefused(PasswordRequest.codec.decode(bytes), { _tag: "BadText", field: "username" })
    assert.deepStrictEqual(PasswordRequest.codec.decode(hex("01 c2")), { _tag: "More", atLeast: 195 })
  })

  it.each([
    ["username", "01 02 61 ff"],
    ["username", "01 02 61 c3"],
    ["password", "01 01 61 02 c3 28"]
  ])("refuses a %s that is not UTF-8", (field, bytes) => {
    assertRefused(PasswordRequest.codec.decode(hex(bytes)), { _tag: "BadText", field, why: "not UTF-8" })
  })

  it("shows the password nowhere (A36)", () => {
    const request = decodeAll(PasswordRequest.codec, hex(`01 01 61 0d ${ascii(canary)}`))
    assert.strictEqual(Redacted.value(request.password), canary)
    const failed = PasswordRequest.codec.decode(hex(`01 01 61 0f ${ascii(canary)} ff`))
    assert.strictEqual(failed._tag, "Failed")
    const cut = PasswordRequest.codec.decode(hex(`01 01 61 ff ${ascii(canary)}`))
    assert.strictEqual(cut._tag, "More")
    for (const value of [request, failed, cut]) {
      const shown = [String(value), JSON.stringify(value), inspect(value, { depth: 9 })].join("\n")
      assert.notInclude(shown, canary)
      assert.notInclude(shown, ascii(canary))
    }
  })
})

describe("password reply", () => {
  it.each([
    ["01 00", PasswordReply.success],
    ["01 01", PasswordReply.failure],
    ["01 ff", 0xff]
  ])("is %s", (bytes, status) => {
    assert.strictEqual(toHex(PasswordReply.codec.encode({ status })), bytes)
    assert.strictEqual(decodeAll(PasswordReply.codec, hex(bytes)).status, status)
  })

  it("has the version of RFC 1929", () => {
    assertRefused(PasswordReply.codec.decode(hex("05")), { _tag: "VersionMismatch", expected: 1 })
  })
})
