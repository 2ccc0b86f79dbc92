import { assert, describe, it } from "@effect/vitest"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Negotiation from "../../src/client/Negotiation.ts"
import type { NegotiationError } from "../../src/client/ProxyError.ts"
import * as ProxyUrl from "../../src/client/ProxyUrl.ts"

const make = (url: string) => Negotiation.make(Result.getOrThrow(ProxyUrl.parse(url)))
const target = (text: string) => Host.hostPortFromStringUnsafe(text)
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"))
const hex = (some: Uint8Array) => Buffer.from(some).toString("hex")

/** A step with its bytes as hex, to compare. */
const shown = (step: Negotiation.Step) =>
  step._tag === "Say"
    ? { ...step, bytes: hex(step.bytes) }
    : step

const failure = (step: Negotiation.Step): NegotiationError =>
  step._tag === "Failed" ? step.error : assert.fail(`expected a failure, got ${step._tag}`)

const requestOf = (negotiation: Negotiation.Negotiation, to: string) =>
  Result.getOrThrow(negotiation.request(target(to)))

describe("Negotiation of SOCKS5", () => {
  const plain = make("socks5://127.0.0.1:1080")
  const request = requestOf(plain, "127.0.0.1:80")

  it("asks for each kind of target in the RFC's bytes", () => {
    assert.strictEqual(hex(request), "050100017f0000010050")
    assert.strictEqual(hex(requestOf(plain, "[::1]:80")), `05010004${"0".repeat(31)}10050`)
    assert.strictEqual(hex(requestOf(plain, "a.b:80")), "0501000303612e620050")
  })

  it("greets, asks, and is open, whatever follows", () => {
    assert.strictEqual(hex(plain.first(request).bytes), "050100")
    const step = plain.next("method", bytes("0500ff"), request)
    assert.deepStrictEqual(shown(step), { _tag: "Say", taken: 2, bytes: hex(request), stage: "answer" })
    const answer = plain.next("answer", bytes("050000017f0000021234ff"), request)
    const ip = NetAddress.ipv4FromBytesUnsafe(bytes("7f000002"))
    assert.deepStrictEqual(answer, { _tag: "Open", taken: 10, bound: { _tag: "Ipv4", ip, port: 0x1234 } })
  })

  it("asks for UDP ASSOCIATE, which SOCKS5 alone has", () => {
    assert.strictEqual(hex(make("socks5h://127.0.0.1").associate ?? bytes("")), "05030001000000000000")
    for (const other of ["socks4", "socks4a", "http", "https"]) {
      assert.isUndefined(make(`${other}://127.0.0.1`).associate)
    }
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
    assert.deepInclude(failure(login.next("login", bytes("0101"), request)), { _tag: "LoginRefused" })
  })

  it.each<[stage: Negotiation.Stage, some: string, error: object]>([
    ["method", "05ff", { _tag: "MethodRefused", login: false }],
    ["method", "0502", { _tag: "MethodRefused", login: false }],
    ["method", "485454", { _tag: "BadAnswer" }],
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 255].map((code): [Negotiation.Stage, string, object] => [
      "answer",
      `05${code.toString(16).padStart(2, "0")}0001000000000000`,
      { _tag: "ReplyError", protocol: "socks5", code }
    ]),
    ["answer", "04", { _tag: "BadAnswer" }]
  ])("fails at %s with %s", (stage, some, error) => {
    assert.deepInclude(failure(plain.next(stage, bytes(some), request)), error)
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
  const request = requestOf(plain, "[::1]:80")
  const answer = (text: string) => plain.next("answer", new Uint8Array(Buffer.from(text)), request)

  it("asks by CONNECT", () => {
    assert.strictEqual(Buffer.from(request).toString(), "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n")
    const login = requestOf(make("http://ann:p%3Aw@127.0.0.1:8080"), "a.b:80")
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

  it("passes over what comes before the final answer, but not for ever", () => {
    const early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\nLink: a\n\n"
    const final = "HTTP/1.1 200\r\n\r\n"
    assert.deepStrictEqual(answer(`${early}${final}rest`), { _tag: "Open", taken: early.length + final.length })
    assert.strictEqual(answer(early)._tag, "Wait")
    assert.deepInclude(failure(answer(`${early}HTTP/1.1 403\r\n\r\n`)), { _tag: "StatusError", status: 403 })
    assert.deepInclude(failure(answer("HTTP/1.1 101 Up\r\n\r\n")), { _tag: "StatusError", status: 101 })
    assert.deepInclude(failure(answer(early.repeat(2000))), { _tag: "BadAnswer" })
  })

  it("fails with the status, or with what is no head", () => {
    assert.deepInclude(failure(answer("HTTP/1.1 403 No\r\n\r\n")), { _tag: "StatusError", status: 403 })
    assert.deepInclude(failure(answer("SSH-2.0-x\r\n\r\n")), { _tag: "BadAnswer" })
    assert.deepInclude(failure(answer(`HTTP/1.1 200 ${"x".repeat(20_000)}`)), { _tag: "BadAnswer" })
  })
})

describe("Negotiation of SOCKS4", () => {
  const plain = make("socks4://ann@127.0.0.1:1080")
  const named = make("socks4a://127.0.0.1:1080")

  it("asks for an IPv4 address, or with 4a for a name", () => {
    assert.strictEqual(hex(requestOf(plain, "127.0.0.1:80")), "040100507f000001616e6e00")
    assert.strictEqual(hex(requestOf(named, "a.b:80")), "040100500000000100612e6200")
    const request = requestOf(plain, "127.0.0.1:80")
    assert.deepStrictEqual(plain.first(request), { bytes: request, stage: "answer" })
  })

  it.each([
    [plain, "a.b:80"],
    [plain, "[::1]:80"],
    [named, "[::1]:80"],
    [plain, "0.0.0.1:80"]
  ])("can't ask for what it has no way to say", (negotiation, to) => {
    const request = negotiation.request(target(to))
    assert.deepInclude(Result.isFailure(request) ? request.failure : {}, { _tag: "Unsendable", destination: to })
  })

  it("is open after 90, and fails with the other codes", () => {
    const request = requestOf(plain, "127.0.0.1:80")
    const answer = (some: string) => plain.next("answer", bytes(some), request)
    assert.deepStrictEqual(answer("005a000000000000ff"), { _tag: "Open", taken: 8 })
    assert.strictEqual(answer("005a0000000000")._tag, "Wait")
    for (const code of [91, 92, 93]) {
      const error = failure(answer(`00${code.toString(16)}000000000000`))
      assert.deepInclude(error, { _tag: "ReplyError", protocol: "socks4", code })
      assert.include(error.message, `reply ${code} (`)
    }
    assert.deepInclude(failure(answer("0500")), { _tag: "BadAnswer" })
  })
})
