import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as BanKeeper from "../../src/policy/BanKeeper.ts"
import * as BanList from "../../src/policy/BanList.ts"
import type { Flow } from "../../src/policy/Flow.ts"
import type { LimitSet } from "../../src/policy/Limit.ts"
import * as LimitKeeper from "../../src/policy/LimitKeeper.ts"
import * as LimitMessage from "../../src/policy/LimitMessage.ts"
import type { Who } from "../../src/policy/LimitStore.ts"
import * as MemoryLimits from "../../src/policy/MemoryLimits.ts"
import * as RemoteBans from "../../src/policy/RemoteBans.ts"
import * as RemoteLimits from "../../src/policy/RemoteLimits.ts"

const ann: Who = { user: "ann", groups: ["staff"], client: NetAddress.ipFromStringUnsafe("192.0.2.1") }

/** A channel that carries text, and takes no time or a turn of the event loop for it. */
const channel = <A>(encode: (message: A) => unknown, decode: (json: unknown) => Option.Option<A>, late: boolean) => {
  let receive: ((message: A) => void) | undefined
  let open = true
  const send = (message: A) => {
    const text = JSON.stringify(encode(message))
    const arrive = () => {
      const decoded = decode(JSON.parse(text))
      if (open) receive?.(Option.getOrThrow(decoded))
    }
    if (late) setImmediate(arrive)
    else arrive()
  }
  return {
    send,
    to: (receiver: (message: A) => void) => {
      receive = receiver
    },
    cut: () => {
      open = false
    }
  }
}

/** A worker beside its keeper; `stop` is how the keeper sees it end, `crash` is without a word before. */
const worker = Effect.fnUntraced(function*(
  keep: MemoryLimits.MemoryLimits["Service"],
  banKeeper: BanKeeper.BanKeeper,
  late = false
) {
  const up = channel(LimitMessage.encode.toKeeper, LimitMessage.decode.toKeeper, late)
  const down = channel(LimitMessage.encode.fromKeeper, LimitMessage.decode.fromKeeper, late)
  const limits = yield* RemoteLimits.make(up.send)
  const bans = yield* RemoteBans.make(up.send)
  down.to((message) => {
    limits.receive(message)
    bans.receive(message)
  })
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const toLimits = yield* Scope.provide(LimitKeeper.connect(keep, down.send), scope)
  const toBans = yield* Scope.provide(banKeeper.connect(down.send), scope)
  up.to((message) => {
    toLimits(message)
    toBans(message)
  })
  const crash = Effect.suspend(() => {
    up.cut()
    down.cut()
    return Scope.close(scope, Exit.void)
  })
  return { store: limits.store, bans: bans.bans, crash, mute: up.cut }
})

const workers = Effect.fnUntraced(function*(set: LimitSet, late = false) {
  const keep = yield* MemoryLimits.make(set)
  const banKeeper = BanKeeper.make(yield* BanList.make({ after: 3 }))
  const [first, second] = [yield* worker(keep, banKeeper, late), yield* worker(keep, banKeeper, late)]
  return { keep, banKeeper, first, second }
})

const ignore = () => {}

/** Takes slices for ever, and counts. */
const taker = Effect.fnUntraced(function*(flow: Flow | undefined) {
  const taken = { bytes: 0 }
  if (flow === undefined) return taken
  yield* Effect.forkScoped(
    Effect.forever(Effect.map(flow.take(flow.slice), () => {
      taken.bytes += flow.slice
    })),
    { startImmediately: true }
  )
  return taken
})

describe("RemoteLimits", () => {
  for (const late of [false, true]) {
    it.live(`lets in as many as the keeper has room for, over a channel that is ${late ? "late" : "at once"}`, () =>
      Effect.gen(function*() {
        const { first, second } = yield* workers({ user: { connections: 3 } }, late)
        const lease = yield* first.store.admit(ann, ignore)
        yield* first.store.admit(ann, ignore)
        yield* second.store.admit(ann, ignore)
        const full = "limit: user ann has 3 of 3 connections"
        for (const { store } of [first, second]) {
          const error = yield* Effect.flip(store.admit(ann, ignore))
          assert.strictEqual(error.limit, "connections")
          assert.strictEqual(error.message, full)
        }
        yield* lease.release
        yield* second.store.admit(ann, ignore)
        assert.strictEqual((yield* Effect.flip(first.store.admit(ann, ignore))).message, full)
      }))
  }

  it.effect("gives back all that a worker had when it crashes", () =>
    Effect.gen(function*() {
      const { first, keep, second } = yield* workers({
        user: { connections: 4, devices: 4 },
        groups: new Map([["staff", { connections: 9 }]])
      })
      for (let i = 0; i < 4; i++) yield* first.store.admit(ann, ignore)
      yield* Effect.flip(second.store.admit(ann, ignore))
      yield* first.crash
      assert.deepStrictEqual((yield* keep.list).filter(({ connections }) => connections > 0), [])
      for (let i = 0; i < 4; i++) yield* second.store.admit(ann, ignore)
    }))

  it.effect("changes the class of a session", () =>
    Effect.gen(function*() {
      const { first, second } = yield* workers({
        user: { connections: 2, up: 1000 },
        classes: new Map([["heavy", { connections: 1, up: 2000, down: 5000 }]])
      })
      const lease = yield* first.store.admit(ann, ignore)
      assert.deepStrictEqual([lease.up.length, lease.down.length], [1, 0])
      yield* lease.changeClass("heavy")
      assert.deepStrictEqual([lease.up.length, lease.down.length], [1, 1])
      assert.strictEqual(lease.up[0]?.slice, 100)
      const other = yield* second.store.admit(ann, ignore)
      assert.strictEqual(
        (yield* Effect.flip(other.changeClass("heavy"))).message,
        "limit: user ann has 1 of 1 connections (class heavy)"
      )
      yield* second.store.admit(ann, ignore)
      yield* lease.release
      yield* other.changeClass("heavy")
    }))

  it.effect("ends sessions of all workers when a quota is used up", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 25))
      const { first, second } = yield* workers({ user: { bytesPerDay: 1000 } })
      const ends: Array<string> = []
      const [a, b] = [
        yield* first.store.admit(ann, (error) => ends.push(`first ${error.message}`)),
        yield* second.store.admit(ann, (error) => ends.push(`second ${error.message}`))
      ]
      a.used(600)
      b.used(399)
      yield* TestClock.adjust(250)
      assert.deepStrictEqual(ends, [])
      // What was moved last is told at the end.
      b.used(1)
      yield* b.release
      const words = "quota: user ann has used up 1kB a day, more from 2026-11-26 (UTC)"
      assert.deepStrictEqual(ends, [`first ${words}`, `second ${words}`])
      assert.strictEqual((yield* Effect.flip(second.store.admit(ann, ignore))).message, words)
    }))

  it.effect("shares a bandwidth among workers, to 5 % over 10 seconds", () =>
    Effect.gen(function*() {
      const rate = 1_000_000
      const { first, second } = yield* workers({ user: { up: rate } })
      const takers = []
      for (const { store } of [first, first, second, second]) {
        takers.push(yield* taker((yield* store.admit(ann, ignore)).up[0]))
      }
      for (let i = 0; i < 10_000; i++) yield* TestClock.adjust(1)
      const bytes = takers.map((taken) => taken.bytes)
      const sum = bytes.reduce((a, b) => a + b)
      assert.isAtLeast(sum, rate * 10 * 0.95)
      assert.isAtMost(sum, rate * 10 * 1.05)
      for (const one of bytes) assert.isAtLeast(one, sum / 4 * 0.9, bytes.join())
    }))

  it.effect("leaves all of a bandwidth to the worker that uses it", () =>
    Effect.gen(function*() {
      const rate = 1_000_000
      const { first, second } = yield* workers({ global: { down: rate } })
      yield* second.store.admit(ann, ignore)
      const taken = yield* taker((yield* first.store.admit(ann, ignore)).down[0])
      for (let i = 0; i < 10_000; i++) yield* TestClock.adjust(1)
      assert.isAtLeast(taken.bytes, rate * 10 * 0.95)
      assert.isAtMost(taken.bytes, rate * 10 * 1.05)
    }))

  it.effect("goes on with a bandwidth when the worker that waits for a share is gone", () =>
    Effect.gen(function*() {
      const { first, second } = yield* workers({ user: { up: 1000 } })
      yield* taker((yield* first.store.admit(ann, ignore)).up[0])
      const taken = yield* taker((yield* second.store.admit(ann, ignore)).up[0])
      yield* TestClock.adjust(1000)
      yield* first.crash
      const before = taken.bytes
      for (let i = 0; i < 1000; i++) yield* TestClock.adjust(10)
      assert.isAtLeast(taken.bytes - before, 9500)
    }))

  it.effect("counts datagrams of all workers, and lends what is there to the next", () =>
    Effect.gen(function*() {
      const { first, second } = yield* workers({ user: { udpPackets: { count: 100, per: 1000 } } })
      const leases = [yield* first.store.admit(ann, ignore), yield* second.store.admit(ann, ignore)]
      let passed = 0
      for (let i = 0; i < 10_000; i++) {
        for (const lease of leases) if (lease.packets[0]?.tryTake(1) === true) passed++
        yield* TestClock.adjust(1)
      }
      assert.isAtLeast(passed, 950)
      assert.isAtMost(passed, 1150)
      yield* TestClock.adjust(1000)
      yield* Effect.forEach(leases, (lease) => lease.release)
      const next = yield* first.store.admit(ann, ignore)
      // The first is dropped, and brings the first share.
      next.packets[0]?.tryTake(1)
      let burst = 0
      while (next.packets[0]?.tryTake(1) === true) burst++
      assert.isAtLeast(burst, 1)
    }))

  it.effect("refuses when the keeper does not answer, and gives up what it asked for", () =>
    Effect.gen(function*() {
      const { first, keep } = yield* workers({ user: { connections: 3 } })
      yield* first.store.admit(ann, ignore)
      first.mute()
      const fiber = yield* Effect.forkChild(Effect.flip(first.store.admit(ann, ignore)), { startImmediately: true })
      yield* TestClock.adjust(5000)
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.limit, "unknown")
      assert.strictEqual(error.message, "limit: who keeps the limits does not answer")
      assert.strictEqual((yield* keep.list)[0]?.connections, 1)
    }))

  it.live("holds nothing for a session that ends while it waits for the answer", () =>
    Effect.gen(function*() {
      const { first, keep } = yield* workers({ user: { connections: 3 } }, true)
      const fiber = yield* Effect.forkChild(first.store.admit(ann, ignore), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* Effect.sleep(20)
      assert.deepStrictEqual((yield* keep.list).filter(({ connections }) => connections > 0), [])
    }))
})

describe("RemoteBans", () => {
  const client = NetAddress.ipFromStringUnsafe("2001:db8::1")

  it.effect("counts failed logins of all workers, and bans everywhere", () =>
    Effect.gen(function*() {
      const { banKeeper, first, second } = yield* workers({})
      assert.strictEqual((yield* first.bans.loginFailed(client)).failures, 1)
      assert.strictEqual((yield* second.bans.loginFailed(client)).failures, 2)
      const { ban } = yield* first.bans.loginFailed(client)
      assert.strictEqual(ban?.why, "3 failed logins")
      for (const { bans } of [first, second, banKeeper]) {
        assert.deepStrictEqual(yield* bans.find(client), ban)
        assert.deepStrictEqual(yield* bans.list, ban && [ban])
      }
      assert.isTrue(yield* second.bans.lift(client))
      assert.isFalse(yield* second.bans.lift(client))
      for (const { bans } of [first, second, banKeeper]) assert.isUndefined(yield* bans.find(client))
    }))

  it.effect("forgets failures after a success, and bans when they are over", () =>
    Effect.gen(function*() {
      const { banKeeper, first, second } = yield* workers({})
      yield* first.bans.loginFailed(client)
      yield* second.bans.loggedIn(client)
      assert.strictEqual((yield* first.bans.loginFailed(client)).failures, 1)
      yield* banKeeper.bans.ban(client, Duration.minutes(1), "spam")
      assert.strictEqual((yield* first.bans.find(client))?.why, "spam")
      yield* TestClock.adjust(60_000)
      assert.isUndefined(yield* first.bans.find(client))
      assert.deepStrictEqual(yield* second.bans.list, [])
    }))

  it.effect("tells a worker that comes later who is banned", () =>
    Effect.gen(function*() {
      const keep = yield* MemoryLimits.make({})
      const banKeeper = BanKeeper.make(yield* BanList.make())
      yield* banKeeper.bans.ban(client, Duration.hours(1), "spam")
      const late = yield* worker(keep, banKeeper)
      assert.strictEqual((yield* late.bans.find(client))?.why, "spam")
      const mine = yield* late.bans.ban(NetAddress.ipFromStringUnsafe("192.0.2.7"), Duration.hours(1), "more spam")
      assert.strictEqual(mine?.client, "192.0.2.7")
    }))
})
