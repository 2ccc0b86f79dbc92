import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import * as BasicCredentials from "../../src/protocol/BasicCredentials.ts"
import { holds } from "./Frames.ts"

const encoded = (bytes: Uint8Array | string) => Buffer.from(bytes).toString("base64")

const opened = (value: string) => {
  const { password, username } = Result.getOrThrow(BasicCredentials.parse(value))
  return [username, Redacted.value(password)]
}

const Text = (pattern: RegExp) => Schema.String.check(Schema.isPattern(pattern))

describe("Basic credentials", () => {
  it.each([
    ["those of RFC 7617 §2", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"],
    ["those of RFC 7617 §2.1", "Basic dGVzdDoxMjPCow==", "test", "123£"],
    ["the scheme in any case, and blanks", "bASIC   YTpi  ", "a", "b"],
    ["a password with colons", `Basic ${encoded("a:b:c:")}`, "a", "b:c:"],
    ["nothing at all", `Basic ${encoded(":")}`, "", ""],
    ["255 bytes twice", `Basic ${encoded(`${"u".repeat(255)}:${"p".repeat(255)}`)}`, "u".repeat(255), "p".repeat(255)]
  ])("have %s", (_, value, username, password) => {
    assert.deepStrictEqual(opened(value), [username, password])
  })

  it.each([
    ["another scheme", "Bearer YTpi", "username"],
    ["no token", "Basic", "username"],
    ["two tokens", "Basic YTpi YTpi", "username"],
    ["other characters", "Basic YT-pi", "username"],
    ["half of a byte", "Basic YTpiY", "username"],
    ["padding in the middle", "Basic YT==YTpi", "username"],
    ["no colon", `Basic ${encoded("ab")}`, "username"],
    ["a long name", `Basic ${encoded(`${"u".repeat(256)}:`)}`, "username"],
    ["a long password", `Basic ${encoded(`:${"p".repeat(256)}`)}`, "password"],
    ["latin1 in the name", `Basic ${encoded(Buffer.from("\u00e4:b", "latin1"))}`, "username"],
    ["latin1 in the password", `Basic ${encoded(Buffer.from("a:\u00e4", "latin1"))}`, "password"]
  ])("are refused with %s", (_, value, field) => {
    const parsed = BasicCredentials.parse(value)
    if (Result.isSuccess(parsed)) return assert.fail("they were taken")
    assert.strictEqual(parsed.failure.frame, BasicCredentials.frame)
    assert.deepInclude<object>(parsed.failure.reason, { _tag: "BadText", field })
  })

  it("show the password nowhere", () => {
    const secret = "S3cr3t-canary"
    for (const value of [`Basic ${encoded(`a:${secret}`)}`, `Basic ${encoded(`${secret}\u{e4}`)}!`]) {
      const parsed = BasicCredentials.parse(value)
      const shown = [JSON.stringify(parsed), inspect(parsed, { depth: 9 })].join("\n")
      assert.notInclude(shown, secret)
      assert.notInclude(shown, encoded(secret).slice(0, 12))
    }
  })

  it.effect("come back as they were", () =>
    holds(
      Arbitrary.schema(Schema.Tuple([Text(/^[ -9;-~\u00a0-\ud7ff]{0,63}$/), Text(/^[ -~\u00a0-\ud7ff]{0,63}$/)])),
      ([username, password]) => {
        const printed = BasicCredentials.print({ username, password: Redacted.make(password) })
        assert.strictEqual(printed, `Basic ${encoded(`${username}:${password}`)}`)
        assert.deepStrictEqual(opened(printed), [username, password])
      }
    ))

  it.effect("of any bytes are refused or taken, and nothing else", () =>
    holds(Arbitrary.schema(Schema.Uint8Array), (bytes) => {
      const parsed = BasicCredentials.parse(`Basic ${encoded(bytes)}`)
      if (Result.isFailure(parsed)) return
      const { password, username } = parsed.success
      assert.deepStrictEqual(Buffer.from(`${username}:${Redacted.value(password)}`), Buffer.from(bytes))
    }))
})
