/** PROXY headers from a load balancer that passes TLS through: the header is in clear, before it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import { createHash, randomBytes } from "node:crypto"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import * as ProxyHeader from "../../src/protocol/ProxyHeader.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as Certificates from "../support/Certificates.ts"
import { within } from "../support/Polling.ts"
import { proxy, type ProxyOptions } from "../support/Proxy.ts"
import { C4, connect, G0, hex, port16, type RawClient, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const at = (text: string) => NetAddress.inetAddressFromStringUnsafe(text)

/** Of a client at 203.0.113.7, in both versions. */
const header = ProxyHeader.between(at("203.0.113.7:4711"), at("198.51.100.1:1080"))
const versions = [
  ["version 1", ProxyHeader.encodeLine(header)],
  ["version 2", ProxyHeader.codec.encode(header)]
] as const

const everywhere = Layer.succeed(AccessPolicy, {
  authorize: () => AccessPolicy.permit,
  authorizeAddress: () => AccessPolicy.permit
})

/** With TLS, behind a load balancer at 127.0.0.1, and at no other address of loopback. */
const behindBalancer = Effect.fnUntraced(function*(options: ProxyOptions = {}, clients?: Certificates.Pair) {
  const pair = yield* Certificates.make(yield* Certificates.directory, "server", "server")
  const listen = ListenAddress.tls({
    address: at("127.0.0.1:0"),
    ...pair,
    ...clients !== undefined && { clientCa: clients.cert }
  })
  const proxyProtocol = [IpNetwork.fromStringUnsafe("127.0.0.1/32")]
  return { ...yield* proxy({ proxyProtocol, services: everywhere, ...options, listen }), pair }
})

/** What a client of TLS writes, as the load balancer sends it on: in the pieces into which this cuts it. */
const cut = (socket: Net.Socket, pieces: (bytes: Buffer) => ReadonlyArray<Uint8Array>): Duplex => {
  const stream = new Duplex({
    read: () => void socket.resume(),
    write: (bytes: Buffer, _encoding, done) => {
      const left = [...pieces(bytes)]
      const next = () => {
        const piece = left.shift()
        if (piece === undefined) return done()
        // The next one comes with another turn of the loop, and another packet.
        socket.write(piece, () => setImmediate(next))
      }
      next()
    },
    final: (done) => void socket.end(done)
  })
  socket.on("data", (bytes) => stream.push(bytes) || socket.pause())
  socket.on("end", () => stream.push(null))
  socket.on("error", (error) => stream.destroy(error))
  socket.on("close", () => stream.destroy())
  return stream
}

const bytewise = (bytes: Uint8Array) => Array.from(bytes, (byte) => Uint8Array.of(byte))

/** The first thing that a client of TLS writes is its whole ClientHello. */
const firstly = (first: (hello: Buffer) => ReadonlyArray<Uint8Array>) => {
  let begun = false
  return (bytes: Buffer) => {
    if (begun) return [bytes]
    begun = true
    return first(bytes)
  }
}

const splits: Readonly<Record<string, (header: Uint8Array) => (bytes: Buffer) => ReadonlyArray<Uint8Array>>> = {
  "whole": (header) => firstly((hello) => [header, hello]),
  "byte by byte": (header) => firstly((hello) => [...bytewise(header), ...bytewise(hello)]),
  "with the ClientHello": (header) => firstly((hello) => [Buffer.concat([header, hello])]),
  "with a part of the ClientHello": (header) =>
    firstly((hello) => [Buffer.concat([header, hello.subarray(0, 3)]), hello.subarray(3, 60), hello.subarray(60)])
}

/** A connection that nobody reads from but TLS. */
const dial = (port: number, localAddress = "127.0.0.1") =>
  Effect.acquireRelease(
    Effect.sync(() => Net.connect({ port, host: "127.0.0.1", localAddress, noDelay: true, allowHalfOpen: true })),
    (socket) => Effect.sync(() => void socket.destroy())
  )

/** A client of TLS behind a load balancer. */
const through = Effect.fnUntraced(function*(
  port: number,
  pair: Certificates.Pair,
  pieces: (bytes: Buffer) => ReadonlyArray<Uint8Array>,
  options: Parameters<typeof Certificates.connect>[2] = {}
) {
  const socket = yield* dial(port)
  return yield* Certificates.connect(port, pair, { ...options, socket: cut(socket, pieces) })
})

const asks = Effect.fnUntraced(function*(client: RawClient, port: number) {
  yield* client.send(G0, C4(port))
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  assert.strictEqual((yield* readReply(client))[1], 0)
})

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

describe("a PROXY header before TLS", () => {
  for (const [version, bytes] of versions) {
    for (const [split, pieces] of Object.entries(splits)) {
      it.live.each(["TLSv1.2", "TLSv1.3"] as const)(
        `names the client: ${version}, ${split}, %s`,
        (tls) =>
          Effect.gen(function*() {
            const target = yield* echo()
            const { pair, port, records } = yield* behindBalancer()
            const client = yield* through(port, pair, pieces(bytes), { minVersion: tls, maxVersion: tls })
            yield* asks(client, target.port)
            yield* client.send("ping")
            yield* client.end
            assert.strictEqual((yield* client.readToEnd).toString(), "ping")
            assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
            assert.deepInclude(records[0], { client: "203.0.113.7:4711", reason: "done", bytesUp: 4, bytesDown: 4 })
          })
      )
    }
  }

  it.live("changes nothing of what is relayed", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { pair, port, records, sessions } = yield* behindBalancer()
      const bytes = randomBytes(8 * 1024 * 1024)
      const pieces = splits["with the ClientHello"]?.(versions[1][1]) ?? assert.fail()
      const client = yield* through(port, pair, pieces)
      yield* asks(client, target.port)
      const sent = yield* Effect.forkChild(Effect.andThen(client.send(bytes), client.end))
      assert.strictEqual(sha256(yield* client.readToEnd), sha256(bytes))
      yield* Fiber.join(sent)
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
      assert.deepInclude(records[0], { reason: "done", bytesUp: bytes.length, bytesDown: bytes.length })
    }))

  it.live("leaves clients their certificates", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const own = yield* Certificates.directory
      const authority = yield* Certificates.make(own, "authority", "authority")
      const { pair, port, records } = yield* behindBalancer({}, authority)
      const ann = yield* Certificates.make(own, "ann", "ann", authority)
      const stranger = yield* Certificates.make(own, "stranger", "ann")
      const pieces = splits["whole"] ?? assert.fail()
      for (const [, bytes] of versions) {
        yield* Effect.scoped(
          Effect.flatMap(through(port, pair, pieces(bytes), { own: ann }), (client) => asks(client, target.port))
        )
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      for (const record of records) assert.deepInclude(record, { user: "ann", client: "203.0.113.7:4711", reply: 0 })
      for (const certificate of [{}, { own: stranger }]) {
        const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
          const client = yield* through(port, pair, pieces(versions[1][1]), certificate)
          // With TLS 1.3, the client learns of it only when it reads.
          yield* client.send(G0, C4(target.port))
          return yield* client.read(2)
        })))
        assert.strictEqual(exit._tag, "Failure")
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 4)))
      for (const { reason } of records.slice(2)) assert.match(reason, /^no TLS: client connection failed \(ERR_/)
      assert.strictEqual(target.accepted(), 2)
    }))

  it.live("is followed by TLS and by nothing else", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { port, records } = yield* behindBalancer({ handshakeTimeout: 1500 })
      const [, v2] = versions[1]
      const socks4 = Buffer.concat([hex("04 01"), port16(target.port), hex("7f 00 00 01 00")])
      const cases = [
        new Uint8Array(0),
        G0,
        socks4,
        Buffer.concat([G0, C4(target.port)]),
        Buffer.from("GET / HTTP/1.1\r\n\r\n"),
        hex("16 03 01 00 05 01 00 00 01 00")
      ]
      const answers = Effect.fnUntraced(function*(after: Uint8Array, together: boolean) {
        const client = yield* connect(port)
        if (together) yield* client.send(Buffer.concat([v2, after]))
        else {
          yield* client.send(v2)
          yield* Effect.sleep(50)
          yield* client.send(after)
        }
        const exit = yield* Effect.exit(client.readToEnd)
        // An alert at the most.
        if (exit._tag === "Success" && exit.value.length > 0) assert.strictEqual(exit.value[0], 0x15)
      }, Effect.scoped)
      yield* Effect.forEach(
        [true, false].flatMap((together) => cases.map((one) => answers(one, together))),
        (each) => each,
        { concurrency: "unbounded", discard: true }
      )
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2 * cases.length)))
      for (const { client, looksLike } of records) {
        assert.deepStrictEqual([client, looksLike], ["203.0.113.7:4711", "no TLS"])
      }
      const reasons = records.map(({ reason }) => reason)
      const count = (expected: RegExp) => reasons.filter((reason) => expected.test(reason)).length
      assert.strictEqual(count(/^no TLS: handshake timeout$/), 2, reasons.join())
      assert.strictEqual(count(/^no TLS: client connection failed \(ERR_SSL_NO_RECORD\)$/), 2, reasons.join())
      assert.strictEqual(count(/^no TLS: client connection failed \(ERR_SSL_/), 2 * (cases.length - 1), reasons.join())
      assert.strictEqual(target.accepted(), 0)
    }))

  it.live("and then the client leaves, by an end or by a reset", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { port, records } = yield* behindBalancer()
      const socks4 = Buffer.concat([hex("04 01"), port16(target.port), hex("7f 00 00 01 00")])
      for (const [, bytes] of versions) {
        for (const after of [new Uint8Array(0), socks4.subarray(0, 4), socks4]) {
          for (const how of ["end", "reset"] as const) {
            const client = yield* connect(port)
            yield* client.send(Buffer.concat([bytes, after]))
            yield* client[how]
            yield* Effect.exit(client.readToEnd)
          }
        }
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 12)))
      for (const { reason } of records) assert.match(reason, /^no TLS: client (connection|left)/)
      assert.strictEqual(target.accepted(), 0)
    }))

  it.live("may not be left out", () =>
    Effect.gen(function*() {
      const { pair, port, records } = yield* behindBalancer()
      yield* Effect.flip(Certificates.connect(port, pair))
      const plain = yield* connect(port)
      yield* plain.send(G0)
      assert.strictEqual((yield* plain.readToEnd).length, 0)
      yield* plain.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      assert.deepStrictEqual(records.map(({ reason }) => reason), [
        "no TLS: PROXY header: there is none: byte 1 is 0x16",
        "no TLS: PROXY header: there is none: byte 1 is 0x05"
      ])
    }))

  it.live("is read once, and not inside of TLS", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { pair, port, records } = yield* behindBalancer()
      const liar = ProxyHeader.between(at("127.0.0.1:1"), at("127.0.0.1:2"))
      const pieces = splits["whole"] ?? assert.fail()
      for (const bytes of [ProxyHeader.encodeLine(liar), ProxyHeader.codec.encode(liar)]) {
        const client = yield* through(port, pair, pieces(versions[1][1]))
        yield* client.send(bytes, G0, C4(target.port))
        assert.notInclude((yield* client.readToEnd).toString("hex"), "0500")
        yield* client.end
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      for (const { client } of records) assert.strictEqual(client, "203.0.113.7:4711")
      assert.strictEqual(target.accepted(), 0)
    }))

  it.live("is read from nobody else, who begin with TLS", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { pair, port, records } = yield* behindBalancer()
      const elsewhere = { localAddress: "127.0.0.2" }
      for (const [, bytes] of versions) {
        const liar = yield* connect(port, elsewhere)
        yield* liar.send(bytes, G0, C4(target.port))
        yield* Effect.exit(liar.readToEnd)
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      for (const { looksLike } of records) assert.strictEqual(looksLike, "no TLS")
      const client = yield* Certificates.connect(port, pair, { socket: yield* dial(port, elsewhere.localAddress) })
      yield* asks(client, target.port)
      yield* client.end
      yield* client.readToEnd
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      for (const { client } of records) assert.match(client ?? "", /^127\.0\.0\.2:/)
      assert.strictEqual(target.accepted(), 1)
    }))
})
