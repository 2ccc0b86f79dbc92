/** One UDP association without a socket: time, policy, names and bounds. */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import * as InternalNetworks from "../../src/policy/InternalNetworks.ts"
import { idle, maxKnown, maxUndecided, refusedFor } from "../../src/server/Destinations.ts"
import { Datagrams, type DatagramSocket, type Receiver } from "../../src/transport/Datagrams.ts"
import { ListenError } from "../../src/transport/Transport.ts"
import {
  memoryProxy,
  type MemoryProxyOptions,
  pass,
  type Peer,
  proxyAddress,
  resolvesTo,
  settle
} from "../support/Memory.ts"
import { G0, hex } from "../support/RawClient.ts"
import { U4, U6, UA, UD } from "../support/Udp.ts"

/** What was sent, in words. */
interface Sent {
  readonly from: string
  readonly to: string
  readonly data: Buffer
}

/** UDP sockets that only remember what they are to send. */
const makeNetwork = () => {
  const receivers = new Map<string, Receiver>()
  const network = {
    sent: [] as Array<Sent>,
    full: false,
    /** How binding fails, if it shall. */
    broken: undefined as string | undefined,
    bound: () => [...receivers.keys()],
    /** Somebody sends to a socket. */
    deliver: (to: string, from: string, data: Uint8Array | string) => {
      const { address, port } = NetAddress.inetAddressFromStringUnsafe(from)
      const receiver = receivers.get(to)
      if (receiver === undefined) return assert.fail(`nobody is bound to ${to}`)
      receiver.received(Buffer.from(data), NetAddress.formatIp(address), port)
    },
    takeSent: () => network.sent.splice(0)
  }
  let lastPort = 50_000
  const service: Datagrams["Service"] = {
    bind: (address, receiver) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          if (network.broken !== undefined && NetAddress.isUnspecified(address.address)) {
            return Effect.fail(new ListenError({ address, code: network.broken }))
          }
          const local = NetAddress.inetAddressUnsafe(address.address, address.port === 0 ? ++lastPort : address.port)
          const key = NetAddress.formatInet(local)
          receivers.set(key, receiver)
          const socket: DatagramSocket & { readonly key: string } = {
            key,
            local,
            send: (parts, host, port) => {
              if (network.full || !receivers.has(key)) return false
              const to = NetAddress.formatInet(NetAddress.inetAddressFromIpStringUnsafe(host, port))
              network.sent.push({ from: key, to, data: Buffer.concat(parts) })
              return true
            }
          }
          return Effect.succeed(socket)
        }),
        ({ key }) => Effect.sync(() => receivers.delete(key))
      )
  }
  return { network, service }
}

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const me = "127.0.0.1:4000"
const elsewhere = "203.0.113.7"

/** A proxy, and an association with it: the client's socket is bound to `relay`. */
const associate = Effect.fnUntraced(function*(options: MemoryProxyOptions = {}, host = "127.0.0.1") {
  const { network, service } = makeNetwork()
  const proxy = yield* memoryProxy(options).pipe(Effect.provideService(Datagrams, service))
  const from = NetAddress.inetAddressFromIpStringUnsafe(host, 4001)
  const client = yield* proxy.hold(yield* proxy.memory.connectFrom(from, proxyAddress))
  yield* client.send(G0, UA)
  yield* client.until((bytes) => bytes.length >= 12)
  assert.deepStrictEqual(client.received.subarray(0, 6), hex("05 00 05 00 00 01"))
  const relay = `127.0.0.1:${client.received.readUInt16BE(10)}`
  assert.deepStrictEqual(network.bound(), [relay])
  const send = (bytes: Uint8Array, from = me) =>
    Effect.andThen(Effect.sync(() => network.deliver(relay, from, bytes)), settle)
  /** Whatever was sent since the last look, `DATA to HOST:PORT`. */
  const went = () => network.takeSent().map(({ data, to }) => `${data} to ${to}`)
  const counts = Effect.map(proxy.sessions.list, ([session]) => session?.datagrams)
  return { proxy, network, client, relay, send, went, counts }
})

const end = Effect.fnUntraced(function*(client: Peer) {
  yield* client.end
  yield* settle
})

describe("an association", () => {
  it.effect("is not to be had without UDP sockets: 07", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy()
      const client = yield* proxy.connect
      yield* client.send(G0, UA)
      yield* client.until((bytes) => bytes.length >= 12)
      assert.deepStrictEqual(client.received, hex("05 00 05 07 00 01 00000000 0000"))
      yield* pass(1000)
      assert.deepInclude(proxy.records[0], { reply: 7, reason: "request: unknown command 0x03" })
    }))

  it.effect("opens sockets when they are needed, and closes all with the TCP connection", () =>
    Effect.gen(function*() {
      const { client, network, proxy, relay, send, went } = yield* associate()
      yield* send(U4(53, "four", [192, 0, 2, 1]))
      assert.deepStrictEqual(network.bound(), [relay, "0.0.0.0:50002"])
      yield* send(U6(53, "six", hex("20010db8 00000000 00000000 00000001")))
      assert.deepStrictEqual(network.bound(), [relay, "0.0.0.0:50002", "[::]:50003"])
      assert.deepStrictEqual(went(), ["four to 192.0.2.1:53", "six to [2001:db8::1]:53"])
      network.deliver("[::]:50003", "[2001:db8::1]:53", "answer")
      assert.deepStrictEqual(network.takeSent(), [{
        from: relay,
        to: me,
        data: U6(53, "answer", hex("20010db8 00000000 00000000 00000001"))
      }])
      yield* end(client)
      assert.deepStrictEqual(network.bound(), [])
      assert.deepInclude(proxy.records[0], { bytesUp: 7, bytesDown: 6, reason: "done", reply: 0 })
      assert.deepStrictEqual(proxy.records[0]?.datagrams, { up: 2, down: 1, dropped: {} })
    }))

  it.effect("ends with the server, though a name is being looked up", () =>
    Effect.gen(function*() {
      const { network, proxy, send } = yield* associate({ services: { resolve: () => Effect.never }, drainTimeout: 0 })
      yield* send(UD("slow.test", 53, "?"))
      yield* proxy.shutdown
      assert.deepStrictEqual([network.bound(), proxy.owned(), proxy.deadlines()], [[], 0, 0])
      assert.strictEqual(proxy.records[0]?.reason, "server stopped")
    }))

  it.effect("is kept by datagrams, in either direction, and ended by the idle limit without them", () =>
    Effect.gen(function*() {
      const { network, proxy, send } = yield* associate({ idleTimeout: "40 seconds" })
      for (let count = 0; count < 3; count++) {
        yield* pass(30_000)
        yield* send(U4(53, "?", [192, 0, 2, 1]))
        yield* pass(30_000)
        network.deliver("0.0.0.0:50002", "192.0.2.1:53", "!")
      }
      assert.strictEqual(proxy.records.length, 0)
      yield* pass(40_000)
      assert.deepInclude(proxy.records[0], { reason: "idle timeout", bytesUp: 3, bytesDown: 3 })
      assert.deepStrictEqual(network.bound(), [])
    }))

  it.effect("sends or drops whatever comes, and counts it", () =>
    Effect.gen(function*() {
      const { counts, network, relay, send, went } = yield* associate()
      const byte = int(0, 255)
      const samples = yield* Arbitrary.sampleEffect(
        Arbitrary.schema(Schema.Struct({
          base: int(0, 2),
          edits: Schema.Array(Schema.Tuple([int(0, 24), byte])).check(Schema.isMaxLength(3)),
          end: int(0, 60)
        })),
        { count: 2000 }
      )
      const bases = [
        U4(53, "data", [192, 0, 2, 1]),
        U6(53, "data", hex("20010db8 00000000 00000000 00000001")),
        UD("name.test", 53, "data")
      ]
      // From a port that nobody can answer to.
      yield* send(U4(53, "?", [192, 0, 2, 1]), "127.0.0.1:0")
      for (const { base, edits, end } of samples) {
        const bytes = Buffer.from(bases[base] ?? "").subarray(0, end)
        for (const [at, value] of edits) bytes.set(at < bytes.length ? [value] : [], Math.min(at, bytes.length))
        network.deliver(relay, me, bytes)
      }
      yield* settle
      const { down = 0, dropped = {}, up = 0 } = (yield* counts) ?? {}
      const total = Object.values(dropped).reduce((sum, count) => sum + count, 0)
      assert.deepStrictEqual([up + total, down, dropped.foreign], [2001, 0, 1])
      assert.containsAllKeys(dropped, ["malformed", "fragment", "unresolved"])
      assert.strictEqual(went().length, up)
      assert.isAbove(up, 100)
    }))

  it.effect("passes over what comes by TCP", () =>
    Effect.gen(function*() {
      const { client, send, went } = yield* associate()
      for (let count = 0; count < 10; count++) yield* client.send(Buffer.alloc(65_536))
      yield* send(U4(53, "?", [192, 0, 2, 1]))
      assert.deepStrictEqual(went(), ["? to 192.0.2.1:53"])
      assert.strictEqual(client.outcome, "open")
    }))
})

describe("a destination", () => {
  it.effect("is forgotten after a minute without datagrams, and its socket closed", () =>
    Effect.gen(function*() {
      const { counts, network, relay, send } = yield* associate()
      yield* send(U4(53, "?", [192, 0, 2, 1]))
      yield* send(U4(53, "?", [192, 0, 2, 2]))
      const outside = "0.0.0.0:50002"
      // Whatever comes from one of them keeps that one.
      for (let passed = 0; passed < 2 * idle; passed += idle / 2) {
        yield* pass(idle / 2)
        network.deliver(outside, "192.0.2.1:53", "!")
      }
      network.deliver(outside, "192.0.2.2:53", "too late")
      assert.deepStrictEqual(yield* counts, { up: 2, down: 4, dropped: { unsolicited: 1 } })
      assert.deepStrictEqual(network.bound(), [relay, outside])
      yield* pass(idle + 15_000)
      assert.deepStrictEqual(network.bound(), [relay])
      yield* send(U4(53, "again", [192, 0, 2, 1]))
      assert.deepStrictEqual(network.takeSent().at(-1), {
        from: "0.0.0.0:50003",
        to: "192.0.2.1:53",
        data: Buffer.from("again")
      })
    }))

  it.effect("makes room for a new one when there are too many: the one that was used longest ago", () =>
    Effect.gen(function*() {
      const { counts, network, send, went } = yield* associate()
      yield* send(U4(1000, "first", [192, 0, 2, 1]))
      yield* pass(1)
      for (let count = 1; count < maxKnown; count++) {
        network.deliver("127.0.0.1:50001", me, U4(1000 + count, "", [192, 0, 2, 2]))
      }
      yield* pass(1)
      // The first is used again, so that the second is the oldest.
      yield* send(U4(1000, "again", [192, 0, 2, 1]))
      yield* send(U4(9, "new", [192, 0, 2, 3]))
      network.deliver("0.0.0.0:50002", "192.0.2.1:1000", "!")
      network.deliver("0.0.0.0:50002", "192.0.2.3:9", "!")
      assert.deepStrictEqual((yield* counts)?.dropped, {})
      // One in, one out, for as long as they come.
      yield* pass(1)
      for (let count = 0; count < 3 * maxKnown; count++) {
        network.deliver("127.0.0.1:50001", me, U4(1 + count, "", [198, 51, 100, count % 256]))
      }
      network.deliver("0.0.0.0:50002", "192.0.2.1:1000", "!")
      assert.deepStrictEqual((yield* counts)?.dropped, { unsolicited: 1 })
      assert.strictEqual(went().length, 2 + maxKnown + 3 * maxKnown + 2)
    }))

  it.effect("that the policy denies is judged again after some seconds only", () =>
    Effect.gen(function*() {
      const judged: Array<string> = []
      const policy: AccessPolicy["Service"] = {
        authorize: ({ client, destination, user }) => {
          judged.push(`${client && NetAddress.formatIp(client.address)} ${user} ${Host.formatHostPort(destination)}`)
          return destination.port === 25 ? Effect.fail(new AccessDenied({ rule: "no mail" })) : AccessPolicy.permit
        },
        authorizeAddress: (_, address) => {
          judged.push(NetAddress.formatIp(address))
          return NetAddress.isIpv4Address(address) && NetAddress.isPrivate(address)
            ? Effect.fail(new AccessDenied({ rule: "private" }))
            : AccessPolicy.permit
        }
      }
      const resolve = resolvesTo("10.0.0.1", "192.0.2.1")
      const { counts, send, went } = yield* associate({ services: { policy, resolve } })
      for (let count = 0; count < 10; count++) yield* send(U4(25, "mail", [192, 0, 2, 1]))
      for (let count = 0; count < 10; count++) yield* send(U4(53, "lan", [10, 0, 0, 1]))
      assert.deepStrictEqual(went(), [])
      assert.deepStrictEqual(judged.splice(0), [
        "127.0.0.1 undefined 192.0.2.1:25",
        "127.0.0.1 undefined 10.0.0.1:53",
        "10.0.0.1"
      ])
      // Of a name's addresses, only one that is allowed.
      for (let count = 0; count < 10; count++) yield* send(UD("mixed.test", 53, "x"))
      assert.deepStrictEqual(new Set(went()), new Set(["x to 192.0.2.1:53"]))
      assert.deepStrictEqual(judged.splice(0), ["127.0.0.1 undefined mixed.test:53", "10.0.0.1", "192.0.2.1"])
      assert.deepStrictEqual(yield* counts, { up: 10, down: 0, dropped: { denied: 20 } })
      yield* pass(refusedFor)
      yield* send(U4(25, "mail", [192, 0, 2, 1]))
      yield* send(UD("mixed.test", 53, "x"))
      assert.deepStrictEqual(judged, ["127.0.0.1 undefined 192.0.2.1:25"])
    }))

  it.effect("of an internal network is out of reach from elsewhere, in every spelling (A33, A34)", () =>
    Effect.gen(function*() {
      const policy = yield* InternalNetworks.make()
      const resolve = resolvesTo("::1", "127.0.0.1")
      const { counts, send, went } = yield* associate({ services: { policy, resolve } }, elsewhere)
      const internal = [
        U4(80, "x"),
        U4(80, "x", [10, 0, 0, 1]),
        U4(80, "x", [169, 254, 169, 254]),
        U6(80, "x", hex("00000000 00000000 00000000 00000001")),
        U6(80, "x", hex("00000000 00000000 0000ffff 7f000001")),
        UD("localhost", 80, "x"),
        UD("::ffff:127.0.0.1", 80, "x"),
        UD("::ffff:7f00:1", 80, "x"),
        UD("127.0.0.1", 80, "x")
      ]
      for (const datagram of internal) yield* send(datagram, `${elsewhere}:4000`)
      yield* send(U4(80, "out", [192, 0, 2, 1]), `${elsewhere}:4000`)
      assert.deepStrictEqual(went(), ["out to 192.0.2.1:80"])
      assert.deepStrictEqual(yield* counts, { up: 1, down: 0, dropped: { denied: internal.length } })
    }))

  it.effect("is looked up once for all datagrams that wait, which then go in their order", () =>
    Effect.gen(function*() {
      const found = yield* Deferred.make<void>()
      let lookups = 0
      const { counts, send, went } = yield* associate({
        services: {
          resolve: (name) => {
            lookups++
            return Effect.andThen(Deferred.await(found), resolvesTo("2001:db8::1", "192.0.2.1")(name))
          }
        }
      })
      for (let count = 1; count <= 20; count++) yield* send(UD("name.test", 53, `${count}`))
      // Others don't wait for it.
      yield* send(U4(53, "address", [192, 0, 2, 9]))
      assert.deepStrictEqual(went(), ["address to 192.0.2.9:53"])
      yield* Deferred.succeed(found, undefined)
      yield* settle
      assert.deepStrictEqual(went(), Array.from({ length: 16 }, (_, index) => `${index + 1} to 192.0.2.1:53`))
      assert.strictEqual(lookups, 1)
      yield* send(UD("name.test", 53, "more"))
      assert.deepStrictEqual(went(), ["more to 192.0.2.1:53"])
      assert.deepStrictEqual(yield* counts, { up: 18, down: 0, dropped: { congested: 4 } })
    }))

  it.effect("waits its turn for no more than 64 others, and their bytes are bounded", () =>
    Effect.gen(function*() {
      let lookups = 0
      const { counts, network, send } = yield* associate({
        services: {
          resolve: () => {
            lookups++
            return Effect.never
          }
        }
      })
      for (let count = 0; count < 1000; count++) {
        network.deliver("127.0.0.1:50001", me, UD(`name${count}.test`, 53, "?"))
      }
      yield* settle
      assert.strictEqual(lookups, maxUndecided)
      assert.deepStrictEqual((yield* counts)?.dropped, { congested: 1000 - maxUndecided })
      for (let count = 0; count < 10; count++) yield* send(UD("name0.test", 53, Buffer.alloc(60_000)))
      // 256 KiB have room for four.
      assert.deepStrictEqual((yield* counts)?.dropped, { congested: 1000 - maxUndecided + 6 })
    }))

  it.effect("that has no address is asked for again after some seconds only", () =>
    Effect.gen(function*() {
      const { counts, send } = yield* associate()
      for (let count = 0; count < 5; count++) yield* send(UD("nx.test", 53, "?"))
      yield* pass(refusedFor)
      yield* send(UD("nx.test", 53, "?"))
      assert.deepStrictEqual(yield* counts, { up: 0, down: 0, dropped: { unresolved: 6 } })
    }))

  it.effect("costs its own datagrams only when a service dies, or no socket is to be had", () =>
    Effect.gen(function*() {
      const { counts, network, send, went } = yield* associate({
        services: { resolve: () => Effect.die(new Error("made to die")) }
      })
      network.broken = "EMFILE"
      yield* send(U4(53, "no socket", [192, 0, 2, 1]))
      network.broken = undefined
      yield* send(UD("a.test", 53, "?"))
      yield* send(UD("b.test", 53, "?"))
      assert.deepStrictEqual(yield* counts, { up: 0, down: 0, dropped: { unsendable: 3 } })
      yield* pass(refusedFor)
      yield* send(U4(53, "a socket", [192, 0, 2, 1]))
      assert.deepStrictEqual(went(), ["a socket to 192.0.2.1:53"])
    }))

  it.effect("loses what the system has no room for", () =>
    Effect.gen(function*() {
      const { counts, network, send, went } = yield* associate()
      yield* send(U4(53, "one", [192, 0, 2, 1]))
      network.full = true
      yield* send(U4(53, "two", [192, 0, 2, 1]))
      network.deliver("0.0.0.0:50002", "192.0.2.1:53", "!")
      network.full = false
      yield* send(U4(53, "three", [192, 0, 2, 1]))
      assert.deepStrictEqual(went(), ["one to 192.0.2.1:53", "three to 192.0.2.1:53"])
      assert.deepStrictEqual(yield* counts, { up: 2, down: 0, dropped: { congested: 2 } })
    }))
})
