import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as HttpFields from "../../src/protocol/HttpFields.ts"
import { holds } from "./Frames.ts"

const fieldsOf = (text: string) => text === "" ? [] : text.split("; ").flatMap((line) => line.split(": "))

describe("end-to-end fields", () => {
  it.each([
    ["Accept: a; X: b; accept: c", "Accept: a; X: b; accept: c"],
    ["Connection: close; X: b", "X: b"],
    ["Connection: X, keep-alive; X: b; x: c; Y: d", "Y: d"],
    ["Y: d; x: c; connection:  y ,x; CONNECTION: Z; z: 1; A: b", "A: b"],
    ["Keep-Alive: 1; Proxy-Connection: a; TE: b; Trailer: c; Transfer-Encoding: d; Upgrade: e", ""],
    [
      "Proxy-Authorization: a; Proxy-Authenticate: b; Proxy-Authentication-Info: c; Authorization: d",
      "Authorization: d"
    ],
    ["Connection: content-length, host, x; Content-Length: 3; Host: a; X: b", "Content-Length: 3; Host: a"],
    ["Expect: 100-continue; Via: 1.1 a; Max-Forwards: 3", "Expect: 100-continue; Via: 1.1 a; Max-Forwards: 3"],
    ["", ""]
  ])("of %j are %j", (all, kept) => {
    assert.deepStrictEqual(HttpFields.endToEnd(fieldsOf(all)), fieldsOf(kept))
  })

  const names = ["Connection", "TE", "upgrade", "X-A", "x-b", "Host", "Content-Length", "Cookie"] as const
  const Field = Schema.Tuple([
    Schema.Literals(names),
    Schema.Literals(["x-a", "X-B, close", "cookie,x-a", "", ",", "content-length"])
  ])

  it.effect("are a part of all, in their order, without any that Connection names; once more, they are the same", () =>
    holds(Arbitrary.schema(Schema.Array(Field)), (fields) => {
      const kept = HttpFields.endToEnd(fields.flat())
      const lines = fields.map(([name, value]) => `${name}: ${value}`)
      const named = new Set(
        fields.filter(([name]) => name === "Connection").flatMap(([, value]) => value.toLowerCase().split(/ *, */))
      )
      let at = 0
      for (let i = 0; i < kept.length; i += 2) {
        const name = kept[i]?.toLowerCase() ?? ""
        at = lines.indexOf(`${kept[i]}: ${kept[i + 1]}`, at) + 1
        assert.isAbove(at, 0)
        assert.isFalse(["connection", "te", "upgrade"].includes(name))
        assert.isTrue(!named.has(name) || name === "content-length" || name === "host")
      }
      assert.deepStrictEqual(HttpFields.endToEnd(kept), kept)
    }))
})

const of = (version: string, text: string) => {
  const framing = HttpFields.framing(version, fieldsOf(text))
  if (Result.isSuccess(framing)) return framing.success
  const { reason } = framing.failure
  return reason._tag === "BadRequest" ? `${reason.status} ${reason.why}` : assert.fail(reason._tag)
}

describe("framing", () => {
  it.each([
    ["1.1", "Host: a", "none"],
    ["1.0", "", "none"],
    ["1.1", "content-LENGTH: 0", "length"],
    ["1.0", "Content-Length: 123", "length"],
    ["1.1", "Transfer-Encoding: Chunked", "chunked"]
  ])("of HTTP/%s with %j is %s", (version, fields, framing) => {
    assert.strictEqual(of(version, fields), framing)
  })

  it.each([
    ["1.1", "Content-Length: 1; content-length: 1", /^400 more than one content-length/],
    ["1.1", "Transfer-Encoding: chunked; Transfer-Encoding: chunked", /^400 more than one transfer-encoding/],
    ["1.1", "Host: a; host: a", /^400 more than one host/],
    ["1.1", "Proxy-Authorization: a; Proxy-Authorization: a", /^400 more than one proxy-authorization/],
    ["1.1", "Content-Length: 1; Transfer-Encoding: chunked", /^400 both/],
    ["1.0", "Transfer-Encoding: chunked", /^400 .*HTTP\/1\.1/],
    ["1.1", "Transfer-Encoding: gzip, chunked", /^501 /],
    ["1.1", "Transfer-Encoding: identity", /^501 /],
    ["1.1", "Transfer-Encoding: chunked, chunked", /^501 /],
    ["1.1", "Content-Length: 1,1", /^400 .*not a number/],
    ["1.1", "Content-Length: +1", /^400 .*not a number/],
    ["1.1", "Content-Length: 0x1", /^400 .*not a number/],
    ["1.1", "Content-Length: ", /^400 .*not a number/],
    ["1.1", "Content-Length: 9007199254740993", /^400 .*not a number/]
  ])("of HTTP/%s with %j is refused", (version, fields, reason) => {
    assert.match(of(version, fields), reason)
  })
})
