/** One port for all protocols: whatever comes first is a protocol that is served, or is told off. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as NetAddress from "effect/net/NetAddress"
import * as TestClock from "effect/testing/TestClock"
import { randomBytes, randomInt } from "node:crypto"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { ConnectionLog, type ConnectionRecord } from "../../src/server/ConnectionLog.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import { ResolveError, Resolver } from "../../src/transport/Resolver.ts"
import { DialError } from "../../src/transport/Transport.ts"
import { settle } from "../support/Memory.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { connect, hex, probe } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

/** What a TLS client says first, as Node makes it. */
const clientHello = Effect.callback<Buffer>((resume) => {
  const server = Net.createServer((socket) =>
    socket.once("data", (bytes) => {
      socket.destroy()
      server.close()
      resume(Effect.succeed(bytes))
    })
  )
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    if (address === null || typeof address === "string") return resume(Effect.die("no port"))
    Tls.connect({ host: "127.0.0.1", port: address.port }).on("error", () => {})
  })
})

const socksOnly = ["socks5", "socks4"] as const

describe("a client that speaks something else", () => {
  const strangers: ReadonlyArray<readonly [string, Effect.Effect<Buffer>, string]> = [
    ["HTTP", Effect.succeed(Buffer.from("GET http://x/ HTTP/1.1\r\n\r\n")), "HTTP, or other text"],
    ["HTTP CONNECT", Effect.succeed(Buffer.from("CONNECT x:443 HTTP/1.1\r\n\r\n")), "HTTP, or other text"],
    ["TLS", clientHello, "TLS"],
    ["something", Effect.succeed(hex("00 01 02")), "nothing known (first byte 0x00)"]
  ]
  const words: ReadonlyArray<readonly [first: string, looksLike: string]> = [
    ["SSH-2.0-OpenSSH_9.2\r\n", "SSH"],
    ["PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "a PROXY header, from where --proxy-protocol names nobody"],
    ["\r\n\r\n\0\r\nQUIT\n", "a PROXY header, from where --proxy-protocol names nobody"],
    ["EHLO mail.example\r\n", "SMTP"],
    ["OPTIONS sip:a@b SIP/2.0\r\n", "SIP or RTSP"],
    ["USER ann\r\n", "FTP, POP3 or IRC"]
  ]
  it.live.each(words)(
    "A41 is closed without an answer where HTTP is served, too: %j",
    ([first, looksLike]) =>
      Effect.gen(function*() {
        const { port, records } = yield* proxy()
        const client = yield* connect(port)
        yield* client.send(first)
        assert.strictEqual((yield* Effect.timeout(client.readToEnd, "1 second")).length, 0)
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1), "1 second"))
        assert.deepInclude(records[0], { looksLike, protocol: undefined, reply: undefined })
      })
  )

  it.live("is told so where it may be meant for HTTP, and logged as sparingly", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      for (const [first, status] of [["BREW / HTTP/1.1\r\n\r\n", 501], ["HELLO there\r\n", 501]] as const) {
        const client = yield* connect(port)
        yield* client.send(first)
        assert.match((yield* client.readToEnd).toString(), new RegExp(`^HTTP/1.1 ${status} `))
        yield* client.end
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.strictEqual(records.pop()?.looksLike, "text that is no HTTP request")
      }
      // One that has spoken HTTP before is a client.
      const client = yield* connect(port)
      const { port: closed } = yield* echo()
      yield* client.send(`CONNECT 127.0.0.1:${closed} HTTP/1.1\r\n\r\n`)
      yield* client.end
      yield* client.readToEnd
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.looksLike, undefined)
    }))
  it.live.each(strangers)(
    "A41 is closed without an answer, and told apart: %s",
    ([, first, looksLike]) =>
      Effect.gen(function*() {
        const { port, records } = yield* proxy({ protocols: socksOnly })
        const client = yield* connect(port)
        yield* client.send(yield* first)
        // It may stay as long as it likes; the proxy does not wait for it.
        assert.strictEqual((yield* Effect.timeout(client.readToEnd, "3 seconds")).length, 0)
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1), "3 seconds"))
        assert.deepInclude(records[0], {
          looksLike,
          protocol: undefined,
          reply: undefined,
          reason: `not a protocol that is served here: looks like ${looksLike}`
        })
        assert.isTrue(yield* probe(port, (yield* echo()).port))
      })
  )

  it.live("is one whose protocol is switched off, too", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ protocols: ["http"] })
      for (const [first, looksLike] of [["05 01 00", "SOCKS5"], ["04 01 00 50 7f 00 00 01 00", "SOCKS4"]] as const) {
        const client = yield* connect(port)
        yield* client.send(hex(first))
        assert.strictEqual((yield* Effect.timeout(client.readToEnd, "3 seconds")).length, 0)
        yield* client.end
        assert.isTrue(yield* within(Effect.sync(() => records.at(-1)?.looksLike === looksLike), "3 seconds"))
      }
    }))

  it.effect("gets a line in the log every ten seconds, each kind by itself, and none is forgotten at the end", () =>
    Effect.gen(function*() {
      const lines: Array<unknown> = []
      const logger = Logger.make<unknown, void>(({ message }) => void lines.push(message))
      const stranger: ConnectionRecord = {
        id: 1,
        protocol: undefined,
        looksLike: "TLS",
        command: undefined,
        client: "192.0.2.1:5000",
        user: undefined,
        destination: undefined,
        address: undefined,
        reply: undefined,
        bytesUp: 0,
        bytesDown: 0,
        duration: 3,
        reason: "looks like TLS"
      }
      const client: ConnectionRecord = { ...stranger, protocol: "socks5", looksLike: undefined, reason: "done" }
      const fields = { id: 1, client: "192.0.2.1:5000", up: 0, down: 0, duration_ms: 3 }
      yield* Effect.gen(function*() {
        const { ended } = yield* ConnectionLog
        for (let i = 0; i < 5; i++) yield* ended(stranger)
        yield* ended(client)
        yield* TestClock.adjust("9 seconds")
        yield* settle
        assert.deepStrictEqual(lines.splice(0), [
          ["connection ended", { ...fields, reason: "looks like TLS" }],
          ["connection ended", { ...fields, protocol: "socks5", reason: "done" }]
        ])
        yield* ended(stranger)
        yield* TestClock.adjust("2 seconds")
        yield* ended(stranger)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(lines.splice(0), [
          ["connection ended", { ...fields, reason: "looks like TLS", others: 5 }]
        ])
        for (let byte = 0; byte < 9; byte++) {
          yield* ended({ ...stranger, looksLike: `nothing known (first byte ${byte})` })
        }
        yield* ended(stranger)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(lines.splice(0), [["connection ended", { ...fields, reason: "looks like TLS" }]])
      }).pipe(Effect.provide(ConnectionLog.layer), Effect.provide(Logger.layer([logger])))
      assert.deepStrictEqual(lines, [
        ["more that were not for this proxy", { looks_like: "TLS", others: 1 }],
        ["more that were not for this proxy", { looks_like: "nothing known", others: 8 }]
      ])
    }))
})

/** Nobody is there, whatever is asked for. */
const nowhere = Layer.merge(
  Layer.succeed(Dialer, {
    dial: ([address], port) =>
      Effect.fail(
        new DialError({ reason: "Refused", address: NetAddress.inetAddressUnsafe(address, port), code: "ECONNREFUSED" })
      )
  }),
  Layer.succeed(Resolver, {
    resolve: (name) => Effect.fail(new ResolveError({ reason: "NotFound", name, code: "ENOTFOUND" }))
  })
)

const firsts = ["", "\x05", "\x05\x01\x00", "\x04\x01", "\x16\x03\x01", "GET ", "CONNECT ", "POST http://", "PROXY "]

/** Up to 4 KiB of anything, or of what begins like something, in up to eight pieces. */
const anything = (): ReadonlyArray<Buffer> => {
  const bytes = Buffer.concat([
    Buffer.from(firsts[randomInt(firsts.length)] ?? "", "latin1"),
    randomBytes(1 + randomInt(4_000))
  ])
  const cuts = Array.from({ length: randomInt(8) }, () => randomInt(bytes.length)).sort((a, b) => a - b)
  return [0, ...cuts].map((cut, i) => bytes.subarray(cut, cuts[i] ?? bytes.length))
}

describe("any bytes", () => {
  it.live("come to a decision within the limit of the handshake, in any split", () =>
    Effect.gen(function*() {
      const { port, sessions } = yield* proxy({ handshakeTimeout: "500 millis", services: nowhere })
      const attempt = Effect.gen(function*() {
        const client = yield* connect(port)
        const pieces = anything()
        for (const piece of pieces) {
          yield* client.send(piece)
          yield* Effect.sleep(randomInt(5))
        }
        // Neither end closes: it is up to the proxy alone.
        yield* Effect.sleep("1 second")
        const own = `127.0.0.1:${client.socket.localPort}`
        const undecided = (yield* sessions.list).filter(({ client, phase }) => client === own && phase === "handshake")
        assert.deepStrictEqual(undecided, [], Buffer.concat(pieces).toString("hex"))
      })
      yield* Effect.forEach(Array.from({ length: 200 }), () => Effect.scoped(attempt), {
        concurrency: 100,
        discard: true
      })
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
    }))
})
