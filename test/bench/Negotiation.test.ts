import { assert, describe, it } from "@effect/vitest"
import * as Host from "effect/net/Host"
import * as Result from "effect/Result"
import * as Negotiation from "../../src/bench/Negotiation.ts"
import * as ProxyUrl from "../../src/bench/ProxyUrl.ts"

const make = (url: string) => Negotiation.make(Result.getOrThrow(ProxyUrl.parse(url)))
const target = (text: string) => Host.hostPortFromStringUnsafe(text)
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"))
const hex = (some: Uint8Array) => Buffer.from(some).toString("hex")

/** A step with its bytes as hex, to compare. */
const shown = (step: Negotiation.Step) => step._tag === "Say" ? { ...step, bytes: hex(step.bytes) } : step

describe("Negotiation of SOCKS5", () => {
  const plain = make("socks5://127.0.0.1:1080")
  const request = plain.request(target("127.0.0.1:80"))

  it("asks for each kind of target in the RFC's bytes", () => {
    assert.strictEqual(hex(request), "050100017f0000010050")
    assert.strictEqual(hex(plain.request(target("[::1]:80"))), `05010004${"0".repeat(31)}10050`)
    assert.strictEqual(hex(plain.request(target("a.b:80"))), "0501000303612e620050")
  })

  it("greets, asks, and is open, whatever follows", () => {
    assert.strictEqual(hex(plain.first(request).bytes), "050100")
    const step = plain.next("method", bytes("0500ff"), request)
    assert.deepStrictEqual(shown(step), { _tag: "Say", taken: 2, bytes: hex(request), stage: "answer" })
    const answer = plain.next("answer", bytes("05000001000000000000ff"), request)
    assert.deepStrictEqual(answer, { _tag: "Open", taken: 10 })
  })

  it("logs in if it is asked to", () => {
    const login = make("socks5://ann:pw@127.0.0.1:1080")
    assert.strictEqual(hex(login.first(request).bytes), "05020002")
    const step = login.next("method", bytes("0502"), request)
    assert.deepStrictEqual(shown(step), { _tag: "Say", taken: 2, bytes: "0103616e6e027077", stage: "login" })
    assert.deepStrictEqual(shown(login.next("login", bytes("0100"), request)), {
      _tag: "Say",
      taken: 2,
      bytes: hex(request),
      stage: "answer"
    })
    assert.deepStrictEqual(login.next("login", bytes("0101"), request), { _tag: "Failed", kind: "login refused" })
  })

  it.each<[stage: Negotiation.Stage, some: string, kind: string]>([
    ["method", "05ff", "no acceptable method"],
    ["method", "0502", "no acceptable method"],
    ["method", "485454", "bad answer"],
    ["answer", "05050001000000000000", "reply 05"],
    ["answer", "04", "bad answer"]
  ])("fails at %s with %s: %s", (stage, some, kind) => {
    assert.deepStrictEqual(plain.next(stage, bytes(some), request), { _tag: "Failed", kind })
  })

  it("waits for what is missing", () => {
    const whole = "05000001000000000000"
    for (let length = 1; length < whole.length / 2; length++) {
      assert.strictEqual(plain.next("answer", bytes(whole.slice(0, length * 2)), request)._tag, "Wait")
    }
  })
})

describe("Negotiation of HTTP", () => {
  const plain = make("http://127.0.0.1:8080")
  const request = plain.request(target("[::1]:80"))
  const answer = (text: string) => plain.next("answer", new Uint8Array(Buffer.from(text)), request)

  it("asks by CONNECT", () => {
    assert.strictEqual(Buffer.from(request).toString(), "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n")
    const login = make("http://ann:p%3Aw@127.0.0.1:8080").request(target("a.b:80"))
    assert.strictEqual(
      Buffer.from(login).toString(),
      `CONNECT a.b:80 HTTP/1.1\r\nHost: a.b:80\r\nProxy-Authorization: Basic ${btoa("ann:p:w")}\r\n\r\n`
    )
    assert.deepStrictEqual(plain.first(request), { bytes: request, stage: "answer" })
  })

  it("is open after the head of any 2xx", () => {
    assert.deepStrictEqual(answer("HTTP/1.1 200 OK\r\n\r\nrest"), { _tag: "Open", taken: 19 })
    assert.deepStrictEqual(answer("HTTP/1.0 204 No\r\nA: b\r\n\r\n"), { _tag: "Open", taken: 25 })
    assert.strictEqual(answer("HTTP/1.1 200 OK\r\n\r")._tag, "Wait")
  })

  it("fails with the status, or with what is no head", () => {
    assert.deepStrictEqual(answer("HTTP/1.1 403 No\r\n\r\n"), { _tag: "Failed", kind: "status 403" })
    assert.deepStrictEqual(answer("SSH-2.0-x\r\n\r\n"), { _tag: "Failed", kind: "bad answer" })
    assert.deepStrictEqual(answer("x".repeat(20_000)), { _tag: "Failed", kind: "bad answer" })
  })
})
