/** UDP ASSOCIATE that goes out through another proxy. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Chain from "../../src/client/Chain.ts"
import * as UpstreamPool from "../../src/client/UpstreamPool.ts"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { SocksServer } from "../../src/server/SocksServer.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { connect, G0, hex, port16, readReply } from "../support/RawClient.ts"
import { closedPort, target } from "../support/Targets.ts"
import { associated, boundPorts, U4, U6, UA, UD, udp, udpEcho } from "../support/Udp.ts"
import * as Upstream from "../support/Upstream.ts"

const ipv6Loopback = hex("00000000 00000000 00000000 00000001")

const pool = (...chains: ReadonlyArray<Chain.Proxies>) => {
  const [first = [], ...rest] = chains.map((chain) => Result.getOrThrow(Chain.fromInput(chain)))
  return Arr.isReadonlyArrayNonEmpty(first)
    ? UpstreamPool.layer({ chains: [first, ...rest] as const, checkEvery: 0 }).pipe(
      Layer.provide(SocksServer.defaults)
    )
    : assert.fail("no chain")
}

/** The whole reply to UDP ASSOCIATE. */
const refusal = Effect.fnUntraced(function*(port: number) {
  const client = yield* connect(port)
  yield* client.send(G0, UA)
  yield* client.read(2)
  return yield* readReply(client)
}, Effect.scoped)

/** A SOCKS5 proxy that gives one answer; its connections are `open`. */
const answering = (answer: Uint8Array) =>
  target((socket) => {
    socket.once("data", () => {
      socket.write(hex("05 00"))
      socket.once("data", () => socket.write(answer))
    })
  })

/** One that grants, and takes datagrams at a socket of the test's. `told` is what it calls that socket's address. */
const scripted = Effect.fnUntraced(function*(told = "7f000001") {
  const relay = yield* udp()
  const { open, port } = yield* answering(Buffer.concat([hex(`05 00 00 01 ${told}`), port16(relay.port)]))
  return { relay, open, url: `socks5h://127.0.0.1:${port}` }
})

describe("UDP through an upstream", () => {
  it.live("that is dante: an address, a name, and much at once", () =>
    Effect.gen(function*() {
      const dante = yield* Upstream.dante
      const origin = yield* udpEcho()
      for (const protocol of ["socks5", "socks5h"]) {
        const { port, records } = yield* proxy({ services: pool(`${protocol}://127.0.0.1:${dante}`) })
        const large = Buffer.alloc(1400, "large")
        yield* Effect.scoped(Effect.gen(function*() {
          const { exchange } = yield* associated(port)
          assert.deepStrictEqual((yield* exchange(U4(origin.port, "four"))).bytes, U4(origin.port, "four"))
          const named = yield* exchange(UD("localhost", origin.port, "name"))
          assert.deepStrictEqual(named.bytes, U4(origin.port, "name"))
          assert.isTrue((yield* exchange(U4(origin.port, large))).bytes.equals(U4(origin.port, large)))
        }))
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.deepInclude(records[0], {
          command: "associate",
          address: `127.0.0.1:${dante}`,
          reply: 0,
          reason: "done",
          bytesUp: 8 + large.length,
          bytesDown: 8 + large.length,
          datagrams: { up: 3, down: 3, dropped: {} }
        })
      }
    }))

  it.live("that is Sluice: IPv4, IPv6 and a name in one association, and the largest of each", () =>
    Effect.gen(function*() {
      const inner = yield* proxy()
      const { port } = yield* proxy({ services: pool(`socks5h://127.0.0.1:${inner.port}`) })
      const [four, six] = [yield* udpEcho(), yield* udpEcho("::1")]
      yield* Effect.scoped(Effect.gen(function*() {
        const { exchange } = yield* associated(port)
        for (const size of [0, 4, 65_497]) {
          const sent = U4(four.port, Buffer.alloc(size, "x"))
          assert.isTrue((yield* exchange(sent)).bytes.equals(sent), `${size} bytes`)
        }
        for (const size of [4, 65_485]) {
          const sent = U6(six.port, Buffer.alloc(size, "y"), ipv6Loopback)
          assert.isTrue((yield* exchange(sent)).bytes.equals(sent), `${size} bytes`)
        }
        assert.deepStrictEqual((yield* exchange(UD("localhost", four.port, "n"))).bytes, U4(four.port, "n"))
      }))
      assert.isTrue(yield* within(Effect.sync(() => inner.records.length === 1)))
      assert.deepInclude(inner.records[0]?.datagrams, { up: 6, down: 6, dropped: {} })
    }))

  it.live("that is reached by IPv6", () =>
    Effect.gen(function*() {
      const inner = yield* proxy({ listen: "[::1]:0" })
      const { port } = yield* proxy({ services: pool(`socks5h://[::1]:${inner.port}`) })
      const origin = yield* udpEcho()
      const { exchange } = yield* associated(port)
      assert.deepStrictEqual((yield* exchange(U4(origin.port, "ping"))).bytes, U4(origin.port, "ping"))
    }))

  it.live("sends a name as it was sent, or as its address where it is looked up here", () =>
    Effect.gen(function*() {
      for (const [protocol, host] of [["socks5h", "localhost"], ["socks5", "127.0.0.1"]] as const) {
        const { relay, url } = yield* scripted()
        const { port } = yield* proxy({ services: pool(url.replace("socks5h", protocol)) })
        const { send } = yield* associated(port)
        yield* send(UD("LocalHost", 53, "ping"))
        const expected = protocol === "socks5h" ? UD(host, 53, "ping") : U4(53, "ping")
        assert.deepStrictEqual((yield* relay.next).bytes, expected)
      }
    }))

  it.live("sends nothing that the policy does not allow, and asks it once for each destination", () =>
    Effect.gen(function*() {
      const { relay, url } = yield* scripted()
      const judged: Array<string> = []
      const policy = Layer.succeed(AccessPolicy, {
        authorize: ({ destination }) =>
          Effect.suspend(() => {
            judged.push(Host.formatHostPort(destination))
            return destination.host === "forbidden.test"
              ? Effect.fail(new AccessDenied({ rule: "test" }))
              : AccessPolicy.permit
          }),
        authorizeAddress: (_, address) =>
          NetAddress.formatIp(address) === "10.0.0.1"
            ? Effect.fail(new AccessDenied({ rule: "test" }))
            : AccessPolicy.permit
      })
      const { port, records } = yield* proxy({ services: Layer.merge(pool(url), policy) })
      yield* Effect.scoped(Effect.gen(function*() {
        const { send } = yield* associated(port)
        yield* send(UD("forbidden.test", 53, "no"))
        yield* send(U4(53, "no", [10, 0, 0, 1]))
        yield* send(UD("10.0.0.1", 53, "no"))
        yield* send(UD("fine.test", 53, "yes"))
        yield* send(UD("fine.test", 53, "yes"))
        assert.deepStrictEqual((yield* relay.next).bytes, UD("fine.test", 53, "yes"))
        assert.deepStrictEqual((yield* relay.next).bytes, UD("fine.test", 53, "yes"))
      }))
      assert.deepStrictEqual(relay.received, [])
      assert.deepStrictEqual(judged, ["forbidden.test:53", "10.0.0.1:53", "10.0.0.1:53", "fine.test:53"])
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepStrictEqual(records[0]?.datagrams, { up: 2, down: 0, dropped: { denied: 3 } })
    }))

  it.live("takes answers from the upstream alone, passes them on as they are, and drops what is none", () =>
    Effect.gen(function*() {
      // 0.0.0.0: where it was dialled.
      const { relay, url } = yield* scripted("00000000")
      const { port, records } = yield* proxy({ services: pool(url) })
      yield* Effect.scoped(Effect.gen(function*() {
        const { send, socket } = yield* associated(port)
        yield* send(U4(53, "ping"))
        const ours = yield* relay.next
        assert.strictEqual(ours.host, "127.0.0.1")
        const stranger = yield* udp()
        yield* stranger.send(U4(53, "forged"), ours)
        yield* relay.send(hex("00 00"), ours)
        yield* relay.send(hex("00 01 00 01 7f000001 0035"), ours)
        yield* relay.send(U4(53, "part", [127, 0, 0, 1], 1), ours)
        // Datagrams of one socket to another keep their order.
        yield* relay.send(U6(9, "answer", ipv6Loopback), ours)
        assert.deepStrictEqual((yield* socket.next).bytes, U6(9, "answer", ipv6Loopback))
      }))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { bytesUp: 4, bytesDown: 6 })
      assert.deepStrictEqual(records[0]?.datagrams, {
        up: 1,
        down: 1,
        dropped: { unsolicited: 1, malformed: 2, fragment: 1 }
      })
    }))

  it.live("drops what the upstream sends before the client has a port", () =>
    Effect.gen(function*() {
      const { relay, url } = yield* scripted()
      const { port, sessions } = yield* proxy({ services: pool(url) })
      const before = yield* boundPorts
      const { relay: inside, send } = yield* associated(port)
      const ours = [...yield* boundPorts].filter((bound) => !before.has(bound) && bound !== inside.port)
      for (const port of ours) yield* relay.send(U4(53, "early"), { port })
      const dropped = Effect.map(sessions.list, ([session]) => session?.datagrams?.dropped.unsolicited === 1)
      assert.isTrue(yield* within(dropped))
      yield* send(U4(53, "ping"))
      assert.include(ours, (yield* relay.next).port)
    }))

  it.live("ends when the upstream does", () =>
    Effect.gen(function*() {
      const inner = yield* proxy()
      const { port, records } = yield* proxy({ services: pool(`socks5h://127.0.0.1:${inner.port}`) })
      const origin = yield* udpEcho()
      const { client, exchange } = yield* associated(port)
      yield* exchange(U4(origin.port, "ping"))
      assert.isTrue(yield* inner.sessions.interrupt(1))
      assert.strictEqual((yield* client.readToEnd).length, 0)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { reply: 0, reason: "upstream ended the association" })
    }))

  it.live("closes all that it had when the client ends", () =>
    Effect.gen(function*() {
      const { open, relay, url } = yield* scripted()
      const { port } = yield* proxy({ services: pool(url) })
      const { client, relay: inside, send } = yield* associated(port)
      yield* send(U4(53, "ping"))
      const ours = yield* relay.next
      assert.strictEqual(open.size, 1)
      yield* client.end
      yield* client.readToEnd
      // The scripted upstream never closes, so only its peer's end can be seen.
      const ended = Effect.sync(() => [...open].every((socket) => socket.readableEnded || socket.destroyed))
      for (const socket of open) socket.resume()
      assert.isTrue(yield* within(ended))
      const closed = Effect.map(boundPorts, (bound) => !bound.has(ours.port) && !bound.has(inside.port))
      assert.isTrue(yield* within(closed))
    }))
})

describe("UDP through an upstream is refused", () => {
  it.live.each<readonly [code: number, reply: number]>([[1, 1], [2, 2], [7, 7], [8, 8], [0x5b, 1]])(
    "as the upstream does: %i is %i",
    ([code, reply]) =>
      Effect.gen(function*() {
        const upstream = yield* answering(Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
        const { port, records } = yield* proxy({ services: pool(`socks5h://127.0.0.1:${upstream.port}`) })
        assert.deepStrictEqual(yield* refusal(port), Buffer.from([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.deepInclude(records[0], { reply, command: "associate" })
        assert.include(records[0]?.reason, "upstream socks5h://127.0.0.1:")
      })
  )

  it.live.each(["05 00 00 01 7f000001 0000", "05 00 00 03 01 61 1234"])(
    "01 without a place to send to: %s",
    (answer) =>
      Effect.gen(function*() {
        const upstream = yield* answering(hex(answer))
        const { port, records } = yield* proxy({ services: pool(`socks5h://127.0.0.1:${upstream.port}`) })
        assert.strictEqual((yield* refusal(port))[1], 1)
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.include(records[0]?.reason, "bad answer: no address to send datagrams to")
      })
  )

  it.live("01 when nobody is there", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ services: pool(`socks5h://127.0.0.1:${yield* closedPort}`) })
      assert.strictEqual((yield* refusal(port))[1], 1)
    }))

  it.live("07 by a chain, HTTP and SOCKS4, which are not asked", () =>
    Effect.gen(function*() {
      const upstream = yield* answering(hex("05 00 00 01 7f000001 1234"))
      const address = `127.0.0.1:${upstream.port}`
      const ways = [
        [`socks5h://${address}`, `socks5h://${address}`],
        `http://${address}`,
        `https://${address}`,
        `socks4://${address}`,
        `socks4a://${address}`
      ]
      for (const way of ways) {
        const { port } = yield* proxy({ services: pool(way) })
        assert.strictEqual((yield* refusal(port))[1], 7)
      }
      assert.strictEqual(upstream.accepted(), 0)
    }))

  it.live("only when no other takes it", () =>
    Effect.gen(function*() {
      const [inner, microsocks] = [yield* proxy(), yield* Upstream.microsocks()]
      const urls = [
        `http://127.0.0.1:${inner.port}`,
        ...[microsocks, inner.port].map((port) => `socks5://127.0.0.1:${port}`)
      ]
      const { port } = yield* proxy({ services: pool(...urls) })
      const origin = yield* udpEcho()
      for (let i = 0; i < 3; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { exchange } = yield* associated(port)
          assert.deepStrictEqual((yield* exchange(U4(origin.port, "ping"))).bytes, U4(origin.port, "ping"))
        }))
      }
      assert.isTrue(yield* within(Effect.sync(() => inner.records.length === 3)))
      assert.deepStrictEqual(inner.records.map(({ command }) => command), ["associate", "associate", "associate"])
    }))
})
