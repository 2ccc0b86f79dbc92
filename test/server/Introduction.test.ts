/** PROXY headers, from a load balancer and to a target. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import { AccessPolicy, type AccessRequest, type Verdict } from "../../src/policy/AccessPolicy.ts"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import * as ProxyHeader from "../../src/protocol/ProxyHeader.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { memoryProxy, pass } from "../support/Memory.ts"
import { within } from "../support/Polling.ts"
import { proxy, type ProxyOptions } from "../support/Proxy.ts"
import { AU, C4, connect, G0, G2, hex, readReply } from "../support/RawClient.ts"
import { echo, target } from "../support/Targets.ts"

const at = (text: string) => NetAddress.inetAddressFromStringUnsafe(text)
const networks = (...texts: ReadonlyArray<string>) => texts.map(IpNetwork.fromStringUnsafe)

/** Of a client at 203.0.113.7, in both versions. */
const header = ProxyHeader.between(at("203.0.113.7:4711"), at("198.51.100.1:1080"))
const versions: ReadonlyArray<readonly [string, Uint8Array]> = [
  ["version 1", ProxyHeader.encodeLine(header)],
  ["version 2", ProxyHeader.codec.encode(header)],
  ["version 2 with fields", hex("0d0a0d0a000d0a515549540a 21 11 00 14 cb007107 c6336401 1267 0438 ea 00 05 6c6f63616c")]
]

/** A policy that allows all and remembers whom it judged. */
const watching = (sendsProxyHeader?: (request: AccessRequest) => boolean) => {
  const clients = new Set<string | undefined>()
  const note = (request: AccessRequest) =>
    Effect.sync((): Verdict => {
      clients.add(request.client && NetAddress.formatInet(request.client))
      return { proxyHeader: sendsProxyHeader?.(request) ?? false }
    })
  const layer = Layer.succeed(AccessPolicy, {
    authorize: note,
    authorizeAddress: note
  })
  return { clients, layer }
}

/** One that trusts 127.0.0.1, and nobody else on loopback. */
const behindBalancer = (options: ProxyOptions = {}) =>
  proxy({ proxyProtocol: networks("127.0.0.1/32", "2001:db8::/32"), ...options })

/** Listens as with TLS, which begins behind the header: what is read before is none of ours. */
const awaitingTls = Layer.effect(
  Transport,
  Effect.map(Transport, (transport) => ({
    ...transport,
    listen: (address, accept, options) =>
      transport.listen(address, {
        ...accept,
        accept: (connection) => accept.accept(Object.assign(connection, { insecure: true }))
      }, options)
  }))
).pipe(Layer.provide(NodeTransport.layer()))

describe("from a load balancer", () => {
  it.live.each(versions)(
    "names the client to policy, authenticator and log: %s",
    ([, bytes]) =>
      Effect.gen(function*() {
        const policy = watching()
        const logins: Array<string | undefined> = []
        const authenticator = Layer.succeed(Authenticator, {
          required: true,
          authenticate: ({ client, username }) =>
            Effect.sync(() => {
              logins.push(client && NetAddress.formatInet(client))
              return { name: username }
            })
        })
        const { port, records } = yield* behindBalancer({ services: Layer.merge(policy.layer, authenticator) })
        const origin = yield* echo()
        const client = yield* connect(port)
        yield* client.send(bytes, G2, AU("ann", "x"), C4(origin.port), "early")
        assert.deepStrictEqual(yield* client.read(4), hex("05 02 01 00"))
        assert.strictEqual((yield* readReply(client))[1], 0)
        assert.strictEqual((yield* client.read(5)).toString(), "early")
        yield* client.end
        yield* client.readToEnd
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.deepInclude(records[0], {
          client: "203.0.113.7:4711",
          user: "ann",
          reply: 0,
          bytesUp: 5,
          reason: "done"
        })
        assert.deepStrictEqual([...policy.clients], ["203.0.113.7:4711"])
        assert.deepStrictEqual(logins, ["203.0.113.7:4711"])
      })
  )

  it.live.each(versions)("is read however it is split: %s", ([, bytes]) =>
    Effect.gen(function*() {
      const { port } = yield* behindBalancer({ services: watching().layer })
      const origin = yield* echo()
      const client = yield* connect(port)
      for (const byte of bytes) {
        yield* client.send(Uint8Array.of(byte))
        yield* Effect.sleep(1)
      }
      yield* client.send(G0, C4(origin.port), "ping")
      assert.strictEqual((yield* client.read(2 + 10 + 4)).subarray(12).toString(), "ping")
    }))

  it.live("keeps a client from elsewhere out of internal networks, through a load balancer on this host", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer()
      const origin = yield* echo()
      const unknown = ProxyHeader.codec.encode({ _tag: "Unknown" })
      for (const bytes of [...versions.map(([, bytes]) => bytes), unknown, Buffer.from("PROXY UNKNOWN\r\n")]) {
        const client = yield* connect(port)
        yield* client.send(bytes, G0, C4(origin.port))
        assert.deepStrictEqual((yield* client.readToEnd).subarray(0, 4), hex("05 00 05 02"))
        yield* client.end
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === versions.length + 2)))
      assert.deepStrictEqual(records.map(({ client }) => client), [
        ...versions.map(() => "203.0.113.7:4711"),
        undefined,
        undefined
      ])
      assert.strictEqual(origin.accepted(), 0)
    }))

  it.live("can be for the load balancer itself", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer()
      const origin = yield* echo()
      const client = yield* connect(port)
      yield* client.send(ProxyHeader.codec.encode({ _tag: "Local" }), G0, C4(origin.port), "ping")
      assert.strictEqual((yield* client.read(2 + 10 + 4)).subarray(12).toString(), "ping")
      const own = `127.0.0.1:${client.socket.localPort}`
      yield* client.end
      yield* client.readToEnd
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.client, own)
    }))

  it.live("must be there: without one the connection is closed", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer()
      const bad: ReadonlyArray<readonly [Uint8Array, string]> = [
        [G0, "PROXY header: there is none: byte 1 is 0x05"],
        [Buffer.from("GET / HTTP/1.1\r\n"), "PROXY header: there is none: byte 1 is 0x47"],
        [Buffer.from("PROXY TCP4 1.2.3.4\r\n"), "PROXY header: bad line \"PROXY TCP4 1.2.3.4\""],
        [Buffer.from("PROXY UNKNOWN ".padEnd(200, "x")), "PROXY header: the line is longer than 107 bytes"],
        [hex("0d0a0d0a000d0a515549540a 21 11 ff ff"), "PROXY header: longer than 4096 bytes"]
      ]
      for (const [bytes] of bad) {
        const client = yield* connect(port)
        yield* client.send(bytes)
        assert.strictEqual((yield* client.readToEnd).length, 0)
        yield* client.end
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === bad.length)))
      assert.deepStrictEqual(records.map(({ reason }) => reason), bad.map(([, reason]) => reason))
    }))

  it.live("is not taken from inside of TLS, where a client may have written it", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer({ services: awaitingTls })
      for (const [, bytes] of versions) {
        const client = yield* connect(port)
        yield* client.send(bytes, G0)
        assert.strictEqual((yield* client.readToEnd).length, 0)
        yield* client.end
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === versions.length)))
      for (const { client, reason } of records) {
        assert.match(client ?? "", /^127\.0\.0\.1:/)
        assert.match(reason, /PROXY header: none is read on a listener with TLS$/)
      }
    }))

  it.effect("must be there in time", () =>
    Effect.gen(function*() {
      const { connect, records } = yield* memoryProxy({
        proxyProtocol: networks("0.0.0.0/0"),
        handshakeTimeout: 10_000
      })
      const client = yield* connect
      yield* client.send("PROXY TCP4 203.0.113.7")
      yield* pass(9999)
      assert.strictEqual(client.outcome, "open")
      yield* pass(1)
      assert.strictEqual(client.outcome, "end")
      assert.deepStrictEqual(records.map(({ reason }) => reason), ["handshake timeout"])
    }))

  it.live("is read from nobody else", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer()
      const origin = yield* echo()
      const stranger = { localAddress: "127.0.0.2" }
      for (const [, bytes] of versions) {
        const liar = yield* connect(port, stranger)
        yield* liar.send(bytes, G0, C4(origin.port))
        assert.notInclude((yield* liar.readToEnd).toString("hex"), "0500")
        yield* liar.end
      }
      const honest = yield* connect(port, stranger)
      yield* honest.send(G0, C4(origin.port), "ping")
      assert.strictEqual((yield* honest.read(2 + 10 + 4)).subarray(12).toString(), "ping")
      yield* honest.end
      yield* honest.readToEnd
      assert.isTrue(yield* within(Effect.sync(() => records.length === versions.length + 1)))
      for (const { client } of records) assert.match(client ?? "", /^127\.0\.0\.2:/)
    }))

  it.live("is known by its IPv4 address on a listener for both families", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer({ listen: "[::]:0", services: watching().layer })
      const origin = yield* echo()
      const client = yield* connect(port)
      yield* client.send(ProxyHeader.encodeLine(header), G0, C4(origin.port), "ping")
      assert.strictEqual((yield* client.read(2 + 10 + 4)).subarray(12).toString(), "ping")
      yield* client.end
      yield* client.readToEnd
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.client, "203.0.113.7:4711")
    }))

  it.live("that names one of the other family has no place for its datagrams", () =>
    Effect.gen(function*() {
      const { port, records } = yield* behindBalancer()
      const client = yield* connect(port)
      yield* client.send("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", G0, hex("05 03 00 01 00000000 0000"))
      yield* client.read(2)
      assert.strictEqual((yield* readReply(client))[1], 7)
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
    }))
})

/** Keeps what it gets. */
const hearing = Effect.map(
  Effect.sync((): Array<Buffer> => []),
  (heard) => ({ heard, all: () => Buffer.concat(heard).toString("hex") })
)

describe("to a target", () => {
  it.live("comes first, where the policy wants it", () =>
    Effect.gen(function*() {
      const { all, heard } = yield* hearing
      const origin = yield* target((socket) => {
        socket.on("data", (bytes) => heard.push(bytes))
        socket.on("end", () => socket.end())
      })
      const requests: Array<AccessRequest> = []
      const policy = watching((request) => requests.push(request) > 0)
      const { port } = yield* proxy({ services: policy.layer })
      const client = yield* connect(port)
      yield* client.send(G0, C4(origin.port), "early")
      yield* client.read(2)
      assert.strictEqual((yield* readReply(client))[1], 0)
      const own = at(`127.0.0.1:${client.socket.localPort}`)
      yield* client.end
      yield* client.readToEnd
      const expected = ProxyHeader.codec.encode(ProxyHeader.between(own, at(`127.0.0.1:${origin.port}`)))
      assert.strictEqual(all(), Buffer.concat([expected, Buffer.from("early")]).toString("hex"))
      // As it was sent, and its address.
      assert.deepStrictEqual(requests.map(({ destination }) => destination.port), [origin.port, origin.port])
    }))

  it.live("says what a load balancer has said", () =>
    Effect.gen(function*() {
      const { all, heard } = yield* hearing
      const origin = yield* target((socket) => {
        socket.on("data", (bytes) => heard.push(bytes))
        socket.on("end", () => socket.end())
      })
      const { port } = yield* behindBalancer({ services: watching(() => true).layer })
      const expected: Array<Uint8Array> = []
      for (const [, bytes] of [...versions, ["unknown", Buffer.from("PROXY UNKNOWN\r\n")] as const]) {
        const client = yield* connect(port)
        yield* client.send(bytes, G0, C4(origin.port))
        yield* client.end
        yield* client.readToEnd
        const from = expected.length < versions.length ? at("203.0.113.7:4711") : undefined
        expected.push(ProxyHeader.codec.encode(ProxyHeader.between(from, at(`127.0.0.1:${origin.port}`))))
      }
      assert.strictEqual(all(), Buffer.concat(expected).toString("hex"))
    }))

  it.live("is not sent where the policy says no, or nothing", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      for (const policy of [watching(() => false), watching()]) {
        const { port } = yield* proxy({ services: policy.layer })
        const client = yield* connect(port)
        yield* client.send(G0, C4(origin.port), "ping")
        yield* client.end
        assert.strictEqual((yield* client.readToEnd).subarray(12).toString(), "ping")
      }
    }))
})
