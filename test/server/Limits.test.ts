/** Sessions under limits, in a network in memory: what is refused, how fast bytes go, and when it ends. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as TestClock from "effect/testing/TestClock"
import type { LimitSet } from "../../src/policy/Limit.ts"
import { LimitStore } from "../../src/policy/LimitStore.ts"
import * as MemoryLimits from "../../src/policy/MemoryLimits.ts"
import { Datagrams, type Receiver } from "../../src/transport/Datagrams.ts"
import { memoryProxy, type MemoryProxyOptions, pass, type Peer, settle } from "../support/Memory.ts"
import { AU, C4, G0, G2, hex } from "../support/RawClient.ts"
import { U4, UA } from "../support/Udp.ts"

const users: MemoryProxyOptions = {
  services: { authenticator: { required: true, authenticate: ({ username }) => Effect.succeed({ name: username }) } }
}

/** A proxy with limits, and a target that counts. */
const limited = Effect.fnUntraced(function*(limits: LimitSet, options: MemoryProxyOptions = {}) {
  const store = yield* MemoryLimits.make(limits)
  const proxy = yield* memoryProxy(options).pipe(Effect.provideService(LimitStore, store))
  const targets = yield* proxy.listen("127.0.0.1:80")
  // Bytes that wait for their turn would have the server wait for its end, while no time passes.
  yield* Effect.addFinalizer(() =>
    Effect.flatMap(proxy.sessions.list, (list) => Effect.forEach(list, ({ id }) => proxy.sessions.interrupt(id)))
  )
  return {
    proxy,
    store,
    relay: Effect.gen(function*() {
      const client = yield* proxy.connect
      yield* client.send(G0, C4(80))
      yield* settle
      assert.strictEqual(client.received.length, 12)
      const target = targets.at(-1)
      if (target === undefined) return assert.fail("the target was not dialled")
      return { client, target }
    })
  }
})

/** Sends without an end, for as long as the connection takes it. */
const flood = (peer: Peer) =>
  Effect.forkScoped(Effect.ignore(Effect.forever(peer.connection.write(new Uint8Array(16_384)))), {
    startImmediately: true
  })

const seconds = (count: number) => Effect.forEach(Array.from({ length: count * 50 }), () => pass(20), { discard: true })

const near = (bytes: number, expected: number) => {
  assert.isAtLeast(bytes, expected * 0.95)
  assert.isAtMost(bytes, expected * 1.05)
}

describe("a session under limits", () => {
  it.effect("is refused with 02 when it is one too many, and lets others in when it ends", () =>
    Effect.gen(function*() {
      const { proxy, store } = yield* limited({ user: { connections: 1 } }, users)
      const visit = Effect.gen(function*() {
        const client = yield* proxy.connect
        yield* client.send(G2, AU("ann", "x"), C4(80))
        yield* settle
        return client
      })
      const first = yield* visit
      assert.strictEqual(first.received.toString("hex", 4, 6), "0500")
      const second = yield* visit
      assert.strictEqual(second.received.toString("hex", 4, 6), "0502")
      yield* pass(1000)
      assert.strictEqual(proxy.records[0]?.reason, "limit: user ann has 1 of 1 connections")
      yield* first.reset
      yield* settle
      assert.deepStrictEqual((yield* store.list).filter(({ connections }) => connections > 0), [])
      const third = yield* visit
      assert.strictEqual(third.received.toString("hex", 4, 6), "0500")
    }))

  it.effect("moves bytes at its bandwidth in each direction, to 5 % over 10 seconds", () =>
    Effect.gen(function*() {
      const { relay } = yield* limited({ client: { up: 100_000, down: 30_000 } })
      const { client, target } = yield* relay
      yield* flood(client)
      yield* flood(target)
      yield* seconds(10)
      near(target.received.length, 1_000_000)
      near(client.received.length - 12, 300_000)
    }))

  it.effect("shares its bandwidth with others of the same client", () =>
    Effect.gen(function*() {
      const { relay } = yield* limited({ client: { down: 90_000 }, global: { down: 1_000_000 } })
      const relays = [yield* relay, yield* relay, yield* relay]
      yield* Effect.forEach(relays, ({ target }) => flood(target))
      yield* seconds(10)
      for (const { client } of relays) near(client.received.length, 300_000)
    }))

  it.effect("keeps nothing: who sends too fast has to wait", () =>
    Effect.gen(function*() {
      const { proxy, relay } = yield* limited({ client: { up: 10_000 } }, { network: { capacity: 4096 } })
      const { client, target } = yield* relay
      let sent = 0
      yield* Effect.forkScoped(
        Effect.ignore(Effect.forever(Effect.map(client.connection.write(new Uint8Array(1000)), () => {
          sent += 1000
        })))
      )
      yield* seconds(10)
      near(target.received.length, 100_000)
      // What is on its way is what the network holds, and one read.
      assert.isAtMost(sent - target.received.length, 4 * 4096)
      assert.strictEqual(yield* proxy.sessions.count, 1)
    }))

  it.effect("brings all bytes, in order, to the end", () =>
    Effect.gen(function*() {
      const { proxy, relay } = yield* limited({ client: { up: 50_000, down: 20_000 } })
      const { client, target } = yield* relay
      const data = Buffer.from(Array.from({ length: 60_000 }, (_, i) => i * 7 + (i >> 8)))
      yield* Effect.forkScoped(Effect.andThen(client.send(data), client.end))
      yield* Effect.forkScoped(Effect.andThen(target.send(data.subarray(0, 30_000)), target.end))
      yield* seconds(4)
      assert.isTrue(target.received.equals(data))
      assert.isTrue(client.received.subarray(12).equals(data.subarray(0, 30_000)))
      assert.deepStrictEqual([client.outcome, target.outcome], ["end", "end"])
      assert.deepInclude(proxy.records[0], { reason: "done", bytesUp: 60_000, bytesDown: 30_000 })
    }))

  it.effect("is not idle while its bytes wait for their turn", () =>
    Effect.gen(function*() {
      const { proxy, relay } = yield* limited({ client: { up: 100, down: 100 } }, {
        idleTimeout: 5000,
        halfCloseTimeout: 1000
      })
      const { client, target } = yield* relay
      yield* Effect.forkScoped(client.send(new Uint8Array(1500)), { startImmediately: true })
      yield* client.end
      yield* Effect.forkScoped(target.send(new Uint8Array(1500)))
      yield* seconds(14)
      assert.strictEqual(yield* proxy.sessions.count, 1)
      yield* seconds(2)
      assert.deepStrictEqual([target.received.length, client.received.length], [1500, 1512])
    }))

  it.effect("ends when its quota is used up", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 25, 12))
      const { proxy, relay } = yield* limited({ client: { bytesPerDay: 100_000 } })
      const { client, target } = yield* relay
      yield* client.send(new Uint8Array(50_000))
      yield* target.send(new Uint8Array(49_999))
      yield* settle
      assert.strictEqual(yield* proxy.sessions.count, 1)
      yield* target.send("x")
      yield* settle
      assert.strictEqual(yield* proxy.sessions.count, 0)
      const words = "quota: client 127.0.0.1 has used up 100kB a day, more from 2026-11-26 (UTC)"
      assert.strictEqual(proxy.records[0]?.reason, words)
      const next = yield* proxy.connect
      yield* next.send(G0, C4(80))
      yield* pass(1000)
      assert.strictEqual(next.received.toString("hex", 2, 4), "0502")
      assert.strictEqual(proxy.records[1]?.reason, words)
      yield* TestClock.adjust("12 hours")
      yield* relay
    }))
})

describe("limits that come while it runs", () => {
  it.effect("hold in each direction from then on, and are gone when they are lifted", () =>
    Effect.gen(function*() {
      const { relay, store } = yield* limited({})
      const { client, target } = yield* relay
      const data = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i * 7 + (i >> 8)))
      yield* client.send(data.subarray(0, 100_000))
      yield* target.send(data.subarray(0, 100_000))
      yield* settle
      assert.deepStrictEqual([target.received.length, client.received.length], [100_000, 100_012])
      yield* store.replace({ client: { up: 10_000, down: 20_000 } })
      yield* Effect.forkScoped(client.send(data.subarray(100_000, 200_000)), { startImmediately: true })
      yield* Effect.forkScoped(target.send(data.subarray(100_000, 200_000)), { startImmediately: true })
      yield* seconds(2)
      near(target.received.length - 100_000, 20_000)
      near(client.received.length - 100_012, 40_000)
      yield* store.replace({})
      yield* seconds(1)
      yield* client.send(data.subarray(200_000))
      yield* target.send(data.subarray(200_000))
      yield* settle
      assert.isTrue(target.received.equals(data))
      assert.isTrue(client.received.subarray(12).equals(data))
    }))

  it.effect("are those of other groups, when the user is in others now", () =>
    Effect.gen(function*() {
      let groups = ["staff"]
      const set: LimitSet = { groups: new Map([["guests", { down: 10_000, connections: 0 }]]) }
      const store = yield* MemoryLimits.make(set)
      const identity = () => ({ name: "ann", groups })
      const proxy = yield* memoryProxy({
        services: {
          authenticator: {
            required: true,
            authenticate: () => Effect.succeed(identity()),
            recheck: () => Effect.succeed(identity())
          }
        }
      }).pipe(Effect.provideService(LimitStore, store))
      const targets = yield* proxy.listen("127.0.0.1:80")
      const client = yield* proxy.connect
      yield* client.send(G2, AU("ann", "x"), C4(80))
      yield* settle
      groups = ["guests"]
      assert.strictEqual(yield* proxy.server.rejudge, 0)
      const [target] = targets
      assert(target !== undefined)
      const before = client.received.length
      yield* Effect.forkScoped(Effect.ignore(target.connection.write(new Uint8Array(50_000))), {
        startImmediately: true
      })
      yield* seconds(2)
      near(client.received.length - before, 20_000)
      groups = ["staff"]
      yield* proxy.server.rejudge
      yield* seconds(1)
      assert.strictEqual(client.received.length - before, 50_000)
    }))
})

describe("a client that is one too many", () => {
  it.effect("is closed without a word, and logged, whatever it would have said", () =>
    Effect.gen(function*() {
      const { proxy } = yield* limited({ client: { connections: 1 } })
      yield* proxy.connect
      yield* settle
      const second = yield* proxy.connect
      yield* settle
      assert.notStrictEqual(second.outcome, "open")
      assert.strictEqual(second.received.length, 0)
      assert.deepInclude(proxy.records[0], {
        reason: "limit: client 127.0.0.1 has 1 of 1 connections",
        protocol: undefined,
        reply: undefined
      })
      assert.strictEqual(yield* proxy.sessions.count, 1)
    }))

  it.effect("is who the load balancer says, and not that", () =>
    Effect.gen(function*() {
      const { proxy } = yield* limited(
        { client: { connections: 1 } },
        { proxyProtocol: [IpNetwork.fromStringUnsafe("127.0.0.0/8")] }
      )
      const from = Effect.fnUntraced(function*(address: string) {
        const client = yield* proxy.connect
        yield* client.send(`PROXY TCP4 ${address} 127.0.0.1 4711 1080\r\n`)
        yield* settle
        return client.outcome
      })
      assert.strictEqual(yield* from("192.0.2.1"), "open")
      assert.strictEqual(yield* from("192.0.2.2"), "open")
      assert.notStrictEqual(yield* from("192.0.2.1"), "open")
      assert.strictEqual(proxy.records[0]?.reason, "limit: client 192.0.2.1 has 1 of 1 connections")
    }))
})

describe("an association under limits", () => {
  const me = "127.0.0.1:4000"

  const associate = Effect.fnUntraced(function*(limits: LimitSet) {
    const receivers: Array<Receiver> = []
    const sent: Array<string> = []
    let port = 50_000
    const datagrams: Datagrams["Service"] = {
      bind: (address, receiver) =>
        Effect.sync(() => {
          receivers.push(receiver)
          return {
            local: NetAddress.inetAddressUnsafe(address.address, ++port),
            send: (_parts, host, port) => sent.push(`${host}:${port}`) > 0
          }
        })
    }
    const { proxy } = yield* limited(limits).pipe(Effect.provideService(Datagrams, datagrams))
    const client = yield* proxy.connect
    yield* client.send(G0, UA)
    yield* settle
    assert.deepStrictEqual(client.received.subarray(0, 6), hex("05 00 05 00 00 01"))
    const deliver = (index: number, bytes: Uint8Array, host: string, port: number) =>
      Effect.andThen(Effect.sync(() => receivers[index]?.received(bytes, host, port)), settle)
    return {
      sent,
      out: (data: string) => deliver(0, U4(53, data, [192, 0, 2, 1]), "127.0.0.1", 4000),
      back: (data: string) => deliver(1, Buffer.from(data), "192.0.2.1", 53),
      counts: Effect.map(proxy.sessions.list, ([session]) => session?.datagrams)
    }
  })

  it.effect("drops what is more than its packets a second, and counts it", () =>
    Effect.gen(function*() {
      const { back, counts, out, sent } = yield* associate({ client: { udpPackets: { count: 5, per: 1000 } } })
      for (let i = 0; i < 3; i++) yield* out("?")
      for (let i = 0; i < 4; i++) yield* back("!")
      for (let i = 0; i < 2; i++) yield* out("?")
      assert.deepStrictEqual(sent, [...Array.from({ length: 3 }, () => "192.0.2.1:53"), me, me])
      assert.deepStrictEqual(yield* counts, { up: 3, down: 2, dropped: { limited: 4 } })
      yield* pass(200)
      yield* back("!")
      yield* back("!")
      assert.deepStrictEqual(yield* counts, { up: 3, down: 3, dropped: { limited: 5 } })
    }))

  it.effect("drops what is more than its bandwidth", () =>
    Effect.gen(function*() {
      const { back, counts, out } = yield* associate({ client: { up: 10_000, down: 20_000 } })
      for (let i = 0; i < 3; i++) yield* out("x".repeat(500))
      for (let i = 0; i < 5; i++) yield* back("x".repeat(500))
      assert.deepStrictEqual(yield* counts, { up: 2, down: 4, dropped: { limited: 2 } })
      yield* pass(50)
      yield* out("x".repeat(500))
      assert.deepStrictEqual(yield* counts, { up: 3, down: 4, dropped: { limited: 2 } })
    }))
})
