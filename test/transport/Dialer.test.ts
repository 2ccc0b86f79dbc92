import { assert, describe, it } from "@effect/vitest"
import type * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Dialer from "../../src/transport/Dialer.ts"
import * as MemoryTransport from "../../src/transport/MemoryTransport.ts"
import { DialError } from "../../src/transport/Transport.ts"

const ip = NetAddress.ipFromStringUnsafe
const ips = (...[first, ...rest]: Arr.NonEmptyReadonlyArray<string>) =>
  [ip(first), ...rest.map(ip)] as const satisfies Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>

const accept = { admit: () => true, accept: () => {}, failed: () => {} }

/** A network in which addresses ending in `hang` never answer and all but the listening ones refuse. */
const network = Effect.fnUntraced(function*(listening: ReadonlyArray<string>, hanging: ReadonlyArray<string>) {
  const dialed: Array<string> = []
  const memory = MemoryTransport.make({
    conditions: {
      dial: (address) =>
        Effect.suspend(() => {
          const host = NetAddress.formatIp(address.address)
          dialed.push(host)
          return hanging.includes(host) ? Effect.never : Effect.void
        })
    }
  })
  for (const host of listening) yield* memory.transport.listen(NetAddress.inetAddressUnsafe(ip(host), 80), accept)
  return { dialed, memory, dialer: Dialer.make(memory.transport) }
})

const order = (...list: Arr.NonEmptyReadonlyArray<string>) => Dialer.interleave(ips(...list)).map(NetAddress.formatIp)

describe("interleave", () => {
  it("lets the families take turns and keeps each one's order", () => {
    assert.deepStrictEqual(order("::1", "::2", "::3", "1.1.1.1", "2.2.2.2"), [
      "::1",
      "1.1.1.1",
      "::2",
      "2.2.2.2",
      "::3"
    ])
    assert.deepStrictEqual(order("1.1.1.1", "2.2.2.2", "::1"), ["1.1.1.1", "::1", "2.2.2.2"])
    assert.deepStrictEqual(order("1.1.1.1", "::1", "::2", "::3"), ["1.1.1.1", "::1", "::2", "::3"])
    assert.deepStrictEqual(order("::1"), ["::1"])
  })
})

describe("Dialer", () => {
  it.effect("goes on at once when an address refuses", () =>
    Effect.gen(function*() {
      const { dialed, dialer } = yield* network(["127.0.0.1"], [])
      const { address } = yield* dialer.dial(ips("::1", "::2", "127.0.0.1"), 80)
      assert.strictEqual(NetAddress.formatInet(address), "127.0.0.1:80")
      assert.deepStrictEqual(dialed, ["::1", "127.0.0.1"])
    }))

  it.effect("gives each address a head start of 250 ms, and closes all attempts but the winner's", () =>
    Effect.gen(function*() {
      const { dialed, dialer, memory } = yield* network(["192.0.2.1"], ["2001:db8::1", "192.0.2.9"])
      yield* Effect.scoped(Effect.gen(function*() {
        const dial = yield* Effect.forkChild(dialer.dial(ips("2001:db8::1", "192.0.2.9", "192.0.2.1"), 80))
        yield* TestClock.adjust(249)
        assert.deepStrictEqual(dialed, ["2001:db8::1"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(dialed, ["2001:db8::1", "192.0.2.9"])
        yield* TestClock.adjust(250)
        const { address } = yield* Fiber.join(dial)
        assert.strictEqual(NetAddress.formatInet(address), "192.0.2.1:80")
        assert.strictEqual(memory.open(), 2)
      }))
      // The accepting end is the test's own; the dialled one closed with its scope.
      assert.strictEqual(memory.open(), 1)
    }))

  /** Addresses that answer when they are told to, and what became of the sockets that were opened to them. */
  const answering = Effect.fnUntraced(function*(...hosts: Arr.NonEmptyReadonlyArray<string>) {
    const { memory } = yield* network(hosts, [])
    const answers = new Map(hosts.map((host) => [host, Deferred.makeUnsafe<void>()]))
    const answer = (host: string) => answers.get(host) ?? assert.fail(host)
    const closed: Array<string> = []
    /** Closing takes as long as the test says. */
    const closing = new Map<string, Effect.Effect<void>>()
    const connect = Effect.fnUntraced(function*(address: NetAddress.InetAddress) {
      const host = NetAddress.formatIp(address.address)
      // As sockets do, it belongs to the scope from its first moment.
      yield* Effect.addFinalizer(() =>
        Effect.andThen(closing.get(host) ?? Effect.void, Effect.sync(() => void closed.push(host)))
      )
      yield* Deferred.await(answer(host))
      return yield* memory.transport.connect(address)
    })
    const dialer = Dialer.make({ ...memory.transport, connect })
    const dial = yield* Effect.forkScoped(dialer.dial(ips(...hosts), 80))
    yield* TestClock.adjust(250 * (hosts.length - 1))
    assert.isUndefined(dial.pollUnsafe())
    const connected = (host: string) => Deferred.doneUnsafe(answer(host), Effect.void)
    return { closed, closing, connected, dial }
  })

  it.effect.each([["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]] as const)(
    "of two that connect together, %s first, it closes %s",
    ([first, late]) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { closed, connected, dial } = yield* Scope.provide(answering("192.0.2.1", "192.0.2.2"), scope)
        connected(first)
        connected(late)
        assert.strictEqual(NetAddress.formatInet((yield* Fiber.join(dial)).address), `${first}:80`)
        assert.deepStrictEqual(closed, [late], "while the winner is in use")
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(closed, [late, first])
      })
  )

  it.effect("closes one that had connected when another one came to be the winner", () =>
    Effect.gen(function*() {
      const [first, second, third] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"] as const
      const scope = yield* Scope.make()
      const { closed, closing, connected, dial } = yield* Scope.provide(answering(first, second, third), scope)
      // The second would win, but for the third, which holds it up with its closing.
      const release = yield* Deferred.make<void>()
      closing.set(third, Deferred.await(release))
      connected(second)
      yield* TestClock.adjust(0)
      assert.isUndefined(dial.pollUnsafe())
      connected(first)
      yield* Deferred.succeed(release, undefined)
      assert.strictEqual(NetAddress.formatInet((yield* Fiber.join(dial)).address), `${first}:80`)
      assert.deepStrictEqual(closed, [third, second], "while the winner is in use")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(closed, [third, second, first])
    }))

  it.effect("fails with the first failure when no address answers", () =>
    Effect.gen(function*() {
      const { dialer } = yield* network([], [])
      const error = yield* Effect.flip(dialer.dial(ips("::1", "127.0.0.1"), 80))
      assert.deepStrictEqual([error.reason, NetAddress.formatInet(error.address)], ["Refused", "[::1]:80"])
    }))

  it.effect("times out over all addresses together, to the millisecond", () =>
    Effect.gen(function*() {
      const { dialer } = yield* network([], ["192.0.2.1", "192.0.2.2"])
      for (const addresses of [ips("192.0.2.1"), ips("192.0.2.1", "192.0.2.2")]) {
        const dial = yield* Effect.forkChild(Effect.flip(dialer.dial(addresses, 80)))
        yield* TestClock.adjust("9999 millis")
        assert.isUndefined(dial.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(dial)
        assert.instanceOf(error, DialError)
        assert.strictEqual(error.reason, "TimedOut")
      }
    }))

  it.effect("abandons its attempts when it is interrupted", () =>
    Effect.gen(function*() {
      const { dialer, memory } = yield* network([], ["192.0.2.1", "192.0.2.2"])
      const dial = yield* Effect.forkChild(dialer.dial(ips("192.0.2.1", "192.0.2.2"), 80))
      yield* TestClock.adjust(300)
      yield* Fiber.interrupt(dial)
      assert.strictEqual(memory.open(), 0)
    }))

  it.effect("goes out from an address of the destination's family, in turn, or by user", () =>
    Effect.gen(function*() {
      const { memory } = yield* network(["127.0.0.1", "::1"], [])
      const egress = ips("10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2")
      const sourceOf = (dialer: Dialer.Dialer["Service"], to: string, user?: string) =>
        Effect.scoped(Effect.map(
          dialer.dial(ips(to), 80, { user }),
          ({ connection }) => connection.local && NetAddress.formatIp(connection.local.address)
        ))
      const rotating = Dialer.make(memory.transport, { egress })
      const sources = yield* Effect.forEach(
        ["127.0.0.1", "::1", "127.0.0.1", "::1"],
        (to) => sourceOf(rotating, to, "ann")
      )
      assert.deepStrictEqual(sources, ["10.0.0.1", "fd00::2", "10.0.0.1", "fd00::2"])
      const sticky = Dialer.make(memory.transport, { egress, egressBy: "user" })
      const ofAnn = yield* Effect.forEach([1, 2, 3], () => sourceOf(sticky, "::1", "ann"))
      assert.strictEqual(new Set(ofAnn).size, 1)
      const ofMany = yield* Effect.forEach(["a", "b", "c", "d", "e"], (user) => sourceOf(sticky, "::1", user))
      assert.strictEqual(new Set(ofMany).size, 2)
      const unknown = yield* Effect.forEach([1, 2], () => sourceOf(sticky, "::1"))
      assert.deepStrictEqual(unknown, ["fd00::1", "fd00::2"])
    }))

  it.effect("races only the addresses of families that it may go out from", () =>
    Effect.gen(function*() {
      const { dialed, memory } = yield* network(["127.0.0.1", "::1"], [])
      const dialer = Dialer.make(memory.transport, { egress: ips("10.0.0.1") })
      const { connection } = yield* dialer.dial(ips("::1", "127.0.0.1"), 80)
      assert.strictEqual(connection.local && NetAddress.formatIp(connection.local.address), "10.0.0.1")
      assert.deepStrictEqual(dialed, ["127.0.0.1"])
      const error = yield* Effect.flip(dialer.dial(ips("::1"), 80))
      assert.deepInclude(error, { reason: "NetworkUnreachable", code: "EADDRNOTAVAIL" })
    }))
})
