import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Schema from "effect/Schema"
import { codec, HttpConnectReply } from "../../src/protocol/HttpConnectReply.ts"
import { concat, decodeAll, holds, reasonOf } from "./Frames.ts"

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"))

const head = "HTTP/1.1 200 Connection established\r\nVia: 1.1 a\r\nX-Empty:\r\n\r\n"

const arbitrary = Arbitrary.schema(HttpConnectReply)
const equals = Schema.toEquivalence(HttpConnectReply)

describe("HttpConnectReply", () => {
  it("reads a head, and leaves what is behind it", () => {
    const decoded = codec.decode(bytes(`${head}\0target`))
    if (decoded._tag !== "Done") return assert.fail(decoded._tag)
    assert.strictEqual(decoded.size, head.length)
    assert.deepStrictEqual({ ...decoded.value }, {
      minor: 1,
      status: 200,
      reason: "Connection established",
      fields: [{ name: "Via", value: "1.1 a" }, { name: "X-Empty", value: "" }]
    })
    assert.strictEqual(decodeAll(codec, bytes("HTTP/1.0 502 \r\n\r\n")).status, 502)
  })

  it.each([
    ["SSH-2.0-OpenSSH\r\n", "not HTTP/1"],
    ["HTTP/2 200 OK\r\n", "not HTTP/1"],
    ["HTTP/1.2 200 OK\r\n", "no status line"],
    ["HTTP/1.1 2000 OK\r\n", "no status line"],
    ["HTTP/1.1 999 OK\r\n", "no status line"],
    ["HTTP/1.1 200OK\r\n", "no status line"],
    ["HTTP/1.1 20\r\n", "no status line"],
    ["HTTP/1.1  200 OK\r\n", "no status line"],
    ["HTTP/1.1 200 OK\rX", "CR without LF"],
    ["HTTP/1.1 200 O\0K\r\n", "control character"],
    ["HTTP/1.1 200 OK\r\nA : b\r\n", "no header field"],
    ["HTTP/1.1 200 OK\r\n folded\r\n", "no header field"],
    ["HTTP/1.1 200 OK\r\nA: b\r\n\tfolded\r\n", "no header field"],
    ["HTTP/1.1 200 OK\r\n: b\r\n", "no header field"],
    ["HTTP/1.1 200 OK\r\nno colon\r\n", "no header field"]
  ])("refuses %j", (text, why) => {
    assert.deepInclude<object>(reasonOf(codec.decode(bytes(text))), { _tag: "BadHead", why })
  })

  it.each([
    ["HTTP/1.1 200\r\n\r\n", ""],
    ["HTTP/1.1 200 \r\n\r\n", ""],
    ["HTTP/1.1 200\n\n", ""],
    ["HTTP/1.1 200 OK\nVia: 1.1 a\n\n", "OK"],
    ["HTTP/1.1 200 OK\r\nVia: 1.1 a\n\r\n", "OK"]
  ])("takes %j, as proxies write it", (text, reason) => {
    const decoded = codec.decode(bytes(`${text}\n\0target`))
    if (decoded._tag !== "Done") return assert.fail(decoded._tag)
    assert.deepStrictEqual([decoded.value.status, decoded.value.reason, decoded.size], [200, reason, text.length])
    for (let cut = 0; cut < text.length; cut++) assert.strictEqual(codec.decode(bytes(text.slice(0, cut)))._tag, "More")
  })

  it("asks for no more than its limit", () => {
    const endless = bytes(`HTTP/1.1 200 ${"x".repeat(codec.maxLength)}`)
    assert.strictEqual(codec.decode(endless.subarray(0, codec.maxLength - 1))._tag, "More")
    assert.deepInclude<object>(reasonOf(codec.decode(endless.subarray(0, codec.maxLength))), { _tag: "BadHead" })
    assert.deepInclude<object>(reasonOf(codec.decode(endless)), { _tag: "BadHead" })
    const lines = bytes(`HTTP/1.1 200\n${"a: b\n".repeat(codec.maxLength / 4)}`)
    assert.deepInclude<object>(reasonOf(codec.decode(lines)), { _tag: "BadHead" })
  })

  it.effect(
    "comes back from its bytes, however they are split, whatever follows",
    () =>
      holds(Arbitrary.all([arbitrary, Arbitrary.schema(Schema.Uint8Array)]), ([value, rest]) => {
        const frame = codec.encode(value)
        const decoded = codec.decode(concat(frame, rest))
        if (decoded._tag !== "Done") return assert.fail(JSON.stringify(decoded))
        assert.isTrue(decoded.size === frame.length && equals(decoded.value, value))
        for (const cut of [1, 9, 12, frame.length >> 1, frame.length - 2, frame.length - 1]) {
          assert.strictEqual(codec.decode(frame.subarray(0, cut))._tag, "More")
        }
      }),
    60_000
  )

  it.effect("ends the same way at every prefix of any bytes, once it has ended", () =>
    holds(
      Arbitrary.all([arbitrary, Arbitrary.schema(Schema.Uint8Array), Arbitrary.schema(Schema.Int)]),
      ([value, noise, place]) => {
        const frame = codec.encode(value)
        const at = Math.abs(place) % frame.length
        const broken = concat(frame.subarray(0, at), noise, frame.subarray(at))
        const whole = codec.decode(broken)
        let ended = codec.decode(broken.subarray(0, 0))
        // Of a long head some prefixes only, from another first one each time: all of them take minutes in many runs.
        const step = Math.ceil(broken.length / 64)
        for (let size = 1 + at % step; size < broken.length && ended._tag === "More"; size += step) {
          ended = codec.decode(broken.subarray(0, size))
        }
        if (ended._tag === "More") ended = whole
        assert.strictEqual(ended._tag, whole._tag)
        if (ended._tag === "Done" && whole._tag === "Done") assert.strictEqual(ended.size, whole.size)
      }
    ), 60_000)
})
