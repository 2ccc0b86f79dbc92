import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import { ResolveError } from "../../src/transport/Resolver.ts"
import {
  type MemoryProxy,
  memoryProxy,
  type MemoryProxyOptions,
  pass,
  type Peer,
  proxyAddress,
  resolvesTo,
  settle
} from "../support/Memory.ts"
import { AU, C4, CD, G0, G2, hex } from "../support/RawClient.ts"

const second = 1000
const minute = 60 * second
const hour = 60 * minute

const users: MemoryProxyOptions = {
  services: { authenticator: { required: true, authenticate: ({ username }) => Effect.succeed({ name: username }) } }
}
const endless: MemoryProxyOptions = {
  services: { authenticator: Authenticator.of({ required: true, authenticate: () => Effect.never }) }
}

/** A port that neither answers nor refuses. */
const hangs = 82
const hanging = {
  conditions: { dial: ({ port }: NetAddress.InetAddress) => port === hangs ? Effect.never : Effect.void }
}

/** Nothing happens for all but the last millisecond; with that one it does. */
const happensAfter = Effect.fnUntraced(function*(milliseconds: number, happened: () => boolean) {
  yield* pass(milliseconds - 1)
  assert.isFalse(happened(), `before ${milliseconds} ms`)
  yield* pass(1)
  assert.isTrue(happened(), `after ${milliseconds} ms`)
})

/** Whether a peer has heard of the end. */
const over = (...peers: ReadonlyArray<Peer>) => () => peers.every((peer) => peer.outcome !== "open")

/** All sessions are over, each was logged with its reason, and nothing of them is left. */
const left = Effect.fnUntraced(function*(proxy: MemoryProxy, ...reasons: ReadonlyArray<string>) {
  yield* settle
  assert.deepStrictEqual(proxy.records.map(({ reason }) => reason), reasons)
  assert.strictEqual(new Set(proxy.records.map(({ id }) => id)).size, reasons.length)
  assert.deepStrictEqual(yield* proxy.sessions.list, [])
  assert.strictEqual(yield* proxy.sessions.count, 0)
  assert.strictEqual(proxy.owned(), 0)
  assert.strictEqual(proxy.deadlines(), 0)
})

/** A running relay: the client has read the replies. */
const relayed = Effect.fnUntraced(function*(options: MemoryProxyOptions = {}) {
  const proxy = yield* memoryProxy(options)
  const targets = yield* proxy.listen("127.0.0.1:80")
  const relay = Effect.gen(function*() {
    const client = yield* proxy.connect
    yield* client.send(G0, C4(80))
    yield* settle
    assert.strictEqual(client.received.length, 12)
    const target = targets.at(-1)
    if (target === undefined) return assert.fail("the target was not dialled")
    return { client, target }
  })
  return { proxy, relay, ...yield* relay }
})

describe("handshake timeout", () => {
  it.effect("ends a client that says nothing after 10 s", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy()
      const client = yield* proxy.connect
      yield* happensAfter(10 * second, over(client))
      assert.strictEqual(client.outcome, "end")
      assert.strictEqual(client.received.length, 0)
      yield* left(proxy, "handshake timeout")
      assert.deepInclude(proxy.records[0], { duration: 10_000, reply: undefined })
    }))

  it.effect("is one limit for all of it: a byte each second does not renew it", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy()
      const client = yield* proxy.connect
      yield* client.send(hex("05 ff"))
      for (let i = 0; i < 9; i++) {
        yield* pass(second)
        yield* client.send(hex("00"))
      }
      yield* happensAfter(second, over(client))
      yield* left(proxy, "handshake timeout")
    }))

  it.effect("covers the login, whether the client is slow", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy(users)
      const client = yield* proxy.connect
      yield* pass(4 * second)
      yield* client.send(G2)
      yield* pass(5 * second)
      assert.deepStrictEqual(client.received, hex("05 02"))
      yield* client.send(AU("alice", "secret").subarray(0, 9))
      yield* happensAfter(second, over(client))
      yield* left(proxy, "handshake timeout")
    }))

  it.effect("covers the login, or the authenticator", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy(endless)
      const client = yield* proxy.connect
      yield* client.send(G2, AU("alice", "secret"))
      yield* happensAfter(10 * second, over(client))
      assert.deepStrictEqual(client.received, hex("05 02"))
      yield* left(proxy, "handshake timeout")
      assert.strictEqual(proxy.records[0]?.user, "alice")
    }))

  it.effect("covers the request", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ ...users, handshakeTimeout: 1234 })
      const client = yield* proxy.connect
      yield* client.send(G2, AU("alice", "secret"), C4(80).subarray(0, 9))
      yield* happensAfter(1234, over(client))
      assert.deepStrictEqual(client.received, hex("05 02 01 00"))
      yield* left(proxy, "handshake timeout")
    }))

  it.effect("is off with 0", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ handshakeTimeout: 0 })
      const client = yield* proxy.connect
      yield* pass(24 * hour)
      assert.strictEqual(client.outcome, "open")
      assert.strictEqual(proxy.deadlines(), 0)
      yield* client.close
      yield* left(proxy, "client left during the handshake")
    }))

  it.effect("does not end what came through it in time", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed()
      yield* pass(30 * minute)
      assert.strictEqual(client.outcome, "open")
      yield* client.end
      yield* target.end
      yield* left(proxy, "done")
    }))
})

describe("connect timeout", () => {
  const failure = hex("05 00 05 04 00 01 00 00 00 00 00 00")

  it.effect("replies 04 after 10 s", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ network: hanging })
      const client = yield* proxy.connect
      yield* client.send(G0, C4(hangs))
      yield* happensAfter(10 * second, () => client.received.length > 2)
      assert.deepStrictEqual(client.received, failure)
      assert.strictEqual(client.outcome, "end")
      yield* client.close
      yield* left(proxy, `can't connect to 127.0.0.1:${hangs}: ETIMEDOUT`)
      assert.deepInclude(proxy.records[0], { duration: 10_000, reply: 4, address: undefined })
    }))

  it.effect("is one limit over all addresses of a name", () =>
    Effect.gen(function*() {
      const resolve = resolvesTo("2001:db8::1", "2001:db8::2", "192.0.2.1")
      const proxy = yield* memoryProxy({ network: hanging, services: { resolve, dialer: { connectTimeout: 2500 } } })
      const client = yield* proxy.connect
      yield* client.send(G0, CD("slow.example", hangs))
      yield* happensAfter(2500, () => client.received.length > 2)
      assert.deepStrictEqual(client.received, failure)
      yield* client.close
      yield* left(proxy, `can't connect to [2001:db8::1]:${hangs}: ETIMEDOUT`)
    }))

  it.effect("is not the handshake's: a slow client gets all of it", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ network: hanging })
      const client = yield* proxy.connect
      yield* pass(9 * second)
      yield* client.send(G0, C4(hangs))
      yield* happensAfter(10 * second, () => client.received.length > 2)
      yield* client.close
      yield* left(proxy, `can't connect to 127.0.0.1:${hangs}: ETIMEDOUT`)
    }))

  it.effect("passes a resolver's own limit on as 04", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({
        services: {
          resolve: (name) =>
            Effect.timeoutOrElse(Effect.never, {
              duration: "5 seconds",
              orElse: () => Effect.fail(new ResolveError({ reason: "TimedOut", name, code: "ETIMEOUT" }))
            })
        }
      })
      const client = yield* proxy.connect
      yield* client.send(G0, CD("silent.example", 80))
      yield* happensAfter(5 * second, () => client.received.length > 2)
      assert.deepStrictEqual(client.received, failure)
      yield* client.close
      yield* left(proxy, "can't resolve silent.example: ETIMEOUT")
    }))

  it.effect("does not cut what is there in time, and abandons what is not", () =>
    Effect.gen(function*() {
      for (const [delay, replies] of [[9999, [0]], [10_000, [0, 4]], [10_001, [4]]] as const) {
        const dial = ({ port }: NetAddress.InetAddress) => port === 80 ? Effect.sleep(delay) : Effect.void
        const proxy = yield* memoryProxy({ network: { conditions: { dial } } })
        const targets = yield* proxy.listen("127.0.0.1:80")
        const client = yield* proxy.connect
        yield* client.send(G0, C4(80))
        yield* pass(10_001)
        const reply = client.received[3] ?? -1
        assert.include(replies, reply)
        assert.strictEqual(targets.length, reply === 0 ? 1 : 0)
        yield* client.close
        for (const target of targets) yield* target.close
        yield* left(proxy, reply === 0 ? "done" : "can't connect to 127.0.0.1:80: ETIMEDOUT")
      }
    }))
})

describe("idle timeout", () => {
  it.effect("ends a silent relay after 1 h, on both sides", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed()
      yield* happensAfter(hour, over(client, target))
      yield* left(proxy, "idle timeout")
      assert.deepInclude(proxy.records[0], { duration: hour, reply: 0, bytesUp: 0, bytesDown: 0 })
    }))

  it.effect("is renewed by a byte in either direction", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed({ idleTimeout: "10 minutes" })
      yield* pass(10 * minute - 1)
      yield* client.send("u")
      yield* pass(10 * minute - 1)
      yield* target.send("d")
      yield* happensAfter(10 * minute, over(client, target))
      assert.strictEqual(target.received.toString(), "u")
      assert.strictEqual(client.received.subarray(12).toString(), "d")
      yield* left(proxy, "idle timeout")
      assert.deepInclude(proxy.records[0], { duration: 30 * minute - 2, bytesUp: 1, bytesDown: 1 })
    }))

  it.effect("ends a relay whose reader has stalled, however much waits for it", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ network: { capacity: 64 }, idleTimeout: 5000 })
      yield* proxy.listen("127.0.0.1:80", Effect.never)
      const client = yield* proxy.connect
      yield* client.send(G0, C4(80))
      yield* pass(100)
      const flood = yield* Effect.forkChild(Effect.ignore(Effect.forever(client.connection.write(new Uint8Array(10)))))
      // The first of four looks in each limit, at 1250 ms, found it waiting: the limit counts from there.
      yield* happensAfter(1250 + 5000 - 100, over(client))
      assert.strictEqual(client.outcome, "reset")
      assert.isDefined(flood.pollUnsafe())
      yield* left(proxy, "idle timeout")
    }))

  it.effect("is off with 0", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed({ idleTimeout: 0 })
      yield* pass(30 * 24 * hour)
      assert.strictEqual(proxy.deadlines(), 0)
      yield* client.send("still here")
      yield* settle
      assert.strictEqual(target.received.toString(), "still here")
      yield* client.end
      yield* target.end
      yield* left(proxy, "done")
    }))
})

describe("a dial", () => {
  it.effect("is given up at once when the client resets its connection", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ network: hanging })
      const client = yield* proxy.connect
      yield* client.send(G0, C4(hangs))
      yield* pass(second)
      yield* client.reset
      yield* left(proxy, "client left during the dial")
      assert.strictEqual(proxy.records[0]?.duration, second)
    }))
})

describe("half-close timeout", () => {
  it.effect("ends what is silent for 1 min after the client's end", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed()
      yield* pass(30 * minute)
      yield* client.end
      yield* settle
      assert.deepStrictEqual([target.outcome, client.outcome], ["end", "open"])
      assert.strictEqual((yield* proxy.sessions.list)[0]?.phase, "half-closed")
      yield* happensAfter(minute, over(client, target))
      yield* left(proxy, "half-closed timeout")
      assert.strictEqual(proxy.records[0]?.duration, 31 * minute)
    }))

  it.effect("ends what is silent for 1 min after the target's end", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed()
      yield* target.end
      yield* settle
      assert.deepStrictEqual([target.outcome, client.outcome], ["open", "end"])
      yield* happensAfter(minute, over(client, target))
      yield* left(proxy, "half-closed timeout")
    }))

  it.effect("is renewed by a byte in the other direction", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed({ halfCloseTimeout: 5000 })
      yield* client.end
      for (let i = 0; i < 10; i++) {
        yield* pass(4999)
        yield* target.send("d")
      }
      yield* happensAfter(5000, over(client, target))
      assert.strictEqual(client.received.length, 12 + 10)
      yield* left(proxy, "half-closed timeout")
    }))

  it.effect("waits for a reader that is slow to take what there is, and ends the silence after it", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ network: { capacity: 64 } })
      const targets = yield* proxy.listen("127.0.0.1:80")
      const answer = Buffer.alloc(1000, "answer")
      const parts = [0, 200, 400, 600, 800].map((from) => answer.subarray(from, from + 200))
      // Each read comes more than twice the limit after the one before.
      const client = yield* proxy.hold(yield* proxy.memory.transport.connect(proxyAddress), Effect.sleep(150 * second))
      yield* client.send(G0, C4(80))
      yield* settle
      yield* client.end
      yield* Effect.forkChild(Effect.forEach(parts, (part) => targets[0]?.send(part) ?? Effect.die("no target")))
      yield* pass(20 * minute)
      assert.strictEqual(client.received.length, 12 + 1000)
      assert.isTrue(client.received.subarray(12).equals(answer))
      yield* pass(150 * second)
      assert.strictEqual(client.outcome, "end")
      yield* left(proxy, "half-closed timeout")
    }))

  it.effect("is the idle timeout where that is shorter, or the only one", () =>
    Effect.gen(function*() {
      for (const options of [{ idleTimeout: 3000 }, { idleTimeout: 3000, halfCloseTimeout: 0 }]) {
        const { client, proxy, target } = yield* relayed(options)
        yield* client.end
        yield* happensAfter(3000, over(client, target))
        yield* left(proxy, "half-closed timeout")
      }
    }).pipe(Effect.scoped))

  it.effect("is the only one where the idle timeout is off, and off with it", () =>
    Effect.gen(function*() {
      const limited = yield* relayed({ idleTimeout: 0, halfCloseTimeout: 3000 })
      yield* limited.client.end
      yield* happensAfter(3000, over(limited.client, limited.target))
      yield* left(limited.proxy, "half-closed timeout")
      const { client, proxy, target } = yield* relayed({ idleTimeout: 0, halfCloseTimeout: 0 })
      yield* client.end
      yield* pass(24 * hour)
      assert.strictEqual(client.outcome, "open")
      yield* target.end
      yield* left(proxy, "done")
    }))
})

describe("linger of a refused client", () => {
  const refusal = hex("05 00 05 05 00 01 00 00 00 00 00 00")
  const reason = "can't connect to 127.0.0.1:81: ECONNREFUSED"

  const refused = Effect.gen(function*() {
    const proxy = yield* memoryProxy()
    const client = yield* proxy.connect
    yield* client.send(G0, C4(81))
    yield* settle
    assert.deepStrictEqual(client.received, refusal)
    assert.strictEqual(client.outcome, "end")
    return { client, proxy }
  })

  it.effect("ends with the client", () =>
    Effect.gen(function*() {
      const { client, proxy } = yield* refused
      yield* pass(500)
      yield* client.close
      yield* left(proxy, reason)
      assert.strictEqual(proxy.records[0]?.duration, 500)
    }))

  it.effect("ends after 1 s", () =>
    Effect.gen(function*() {
      const { proxy } = yield* refused
      yield* happensAfter(second, () => proxy.records.length === 1)
      yield* left(proxy, reason)
    }))

  it.effect("is not renewed by what the client still sends, which is read", () =>
    Effect.gen(function*() {
      const { client, proxy } = yield* refused
      for (let i = 0; i < 9; i++) {
        yield* pass(100)
        yield* client.send("GET / HTTP/1.1\r\n\r\n")
      }
      yield* happensAfter(100, () => proxy.records.length === 1)
      assert.deepStrictEqual(client.received, refusal)
      yield* left(proxy, reason)
      assert.deepInclude(proxy.records[0], { reply: 5, bytesUp: 0 })
    }))

  it.effect("leaves the refusal whole for a client that has sent ahead", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy()
      const client = yield* proxy.connect
      yield* client.send(G0, C4(81), new Uint8Array(10_000))
      yield* client.send(new Uint8Array(10_000))
      yield* pass(second)
      assert.deepStrictEqual(client.received, refusal)
      assert.strictEqual(client.outcome, "end")
      yield* left(proxy, reason)
    }))
})

describe("drain", () => {
  it.effect("waits 30 s for running relays, then ends them; new clients are refused meanwhile", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed()
      const drain = yield* Effect.forkChild(proxy.server.drain)
      yield* pass(second)
      assert.strictEqual((yield* Effect.flip(proxy.connect)).reason, "Refused")
      yield* client.send("still served")
      yield* settle
      assert.strictEqual(target.received.toString(), "still served")
      yield* happensAfter(29 * second, over(client, target))
      assert.isTrue(drain.pollUnsafe() !== undefined)
      yield* left(proxy, "server stopped")
    }))

  it.effect("is over as soon as the last relay is, which is not cut", () =>
    Effect.gen(function*() {
      const { client, proxy, relay, target } = yield* relayed({ drainTimeout: 5000 })
      const other = yield* relay
      const drain = yield* Effect.forkChild(proxy.server.drain)
      yield* pass(2000)
      yield* other.client.end
      yield* other.target.end
      yield* pass(2999)
      assert.isUndefined(drain.pollUnsafe())
      yield* target.send("last words")
      yield* target.end
      yield* client.end
      yield* settle
      yield* Fiber.join(drain)
      assert.strictEqual(client.received.subarray(12).toString(), "last words")
      assert.deepStrictEqual([client.outcome, target.outcome], ["end", "end"])
      yield* left(proxy, "done", "done")
    }))

  it.effect("does not wait with 0", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed({ drainTimeout: 0 })
      yield* proxy.server.drain
      yield* settle
      assert.isTrue(over(client, target)())
      yield* left(proxy, "server stopped")
    }))

  it.effect("is what closing the layer does, and ends handshakes too", () =>
    Effect.gen(function*() {
      const { client, proxy, target } = yield* relayed({ drainTimeout: 3000, handshakeTimeout: 0 })
      const silent = yield* proxy.connect
      const shutdown = yield* Effect.forkChild(proxy.shutdown)
      yield* happensAfter(3000, over(client, target, silent))
      yield* Fiber.join(shutdown)
      // The listener that is left is the test's.
      assert.strictEqual(proxy.memory.listening(), 1)
      yield* left(proxy, "server stopped", "server stopped")
    }))
})

describe("max connections", () => {
  it.effect("closes clients above it at once, counts them, and has room again when one leaves", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ maxConnections: 2 })
      const first = yield* proxy.connect
      yield* proxy.connect
      for (let i = 1; i <= 3; i++) {
        const refused = yield* proxy.connect
        yield* settle
        assert.deepStrictEqual([refused.outcome, refused.received.length], ["end", 0])
        assert.strictEqual(yield* proxy.server.refused, i)
      }
      assert.strictEqual(yield* proxy.sessions.count, 2)
      yield* first.close
      yield* settle
      const admitted = yield* proxy.connect
      yield* admitted.send(G0)
      yield* settle
      assert.deepStrictEqual(admitted.received, hex("05 00"))
      assert.strictEqual(yield* proxy.server.refused, 3)
      yield* pass(10 * second)
      yield* left(proxy, "client left during the handshake", "handshake timeout", "handshake timeout")
    }))
})

describe("Sessions", () => {
  it.effect("shows each session, and interrupts one by its id", () =>
    Effect.gen(function*() {
      const { client, proxy, relay, target } = yield* relayed({ services: { resolve: resolvesTo("127.0.0.1") } })
      yield* pass(1500)
      const other = yield* relay
      yield* client.send("hello")
      yield* settle
      const [first, second] = yield* proxy.sessions.list
      assert.deepStrictEqual(first, {
        id: 1,
        phase: "relay",
        protocol: "socks5",
        looksLike: undefined,
        command: "connect",
        client: first?.client,
        user: undefined,
        session: undefined,
        destination: "127.0.0.1:80",
        address: "127.0.0.1:80",
        reply: 0,
        bytesUp: 5,
        bytesDown: 0,
        duration: 1500
      })
      assert.match(first?.client ?? "", /^127\.0\.0\.1:\d+$/)
      assert.deepStrictEqual(yield* proxy.sessions.get(2), Option.fromUndefinedOr(second))
      assert.isTrue(Option.isNone(yield* proxy.sessions.get(3)))

      assert.isTrue(yield* proxy.sessions.interrupt(1))
      // Both its sockets were closed before that returned.
      assert.strictEqual(proxy.owned(), 2)
      assert.isTrue(Option.isNone(yield* proxy.sessions.get(1)))
      yield* settle
      assert.isTrue(over(client, target)())
      assert.isFalse(yield* proxy.sessions.interrupt(1))
      assert.strictEqual(other.client.outcome, "open")
      assert.isTrue(yield* proxy.sessions.interrupt(2))
      yield* left(proxy, "interrupted", "interrupted")
    }))

  it.effect("interrupts in every phase", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({ network: hanging })
      yield* proxy.listen("127.0.0.1:80")
      const phases: Array<string> = []
      const messages = [[], [G0, C4(hangs)], [G0, C4(80)], [G0, C4(80)], [G0, C4(81)]]
      for (const [i, message] of messages.entries()) {
        const client = yield* proxy.connect
        yield* client.send(...message)
        if (i === 3) yield* client.end
        yield* settle
        const [session] = yield* proxy.sessions.list
        phases.push(session?.phase ?? "none")
        assert.isTrue(yield* proxy.sessions.interrupt(session?.id ?? 0))
        yield* settle
        assert.isTrue(over(client)())
        assert.strictEqual(proxy.owned(), 0)
      }
      assert.deepStrictEqual(phases, ["handshake", "dial", "relay", "half-closed", "closing"])
      const interrupted = "interrupted"
      // The reason of a refusal is the first one.
      const refused = "can't connect to 127.0.0.1:81: ECONNREFUSED"
      yield* left(proxy, interrupted, interrupted, interrupted, interrupted, refused)
    }))
})
