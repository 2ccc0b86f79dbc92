import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
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
import * as Limit from "../../src/policy/Limit.ts"
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
  const said: Array<A> = []
  const send = (message: A) => {
    said.push(message)
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
    said,
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
  return { store: limits.store, bans: bans.bans, crash, mute: up.cut, said: up.said }
})

const workers = Effect.fnUntraced(function*(set: Limit.LimitSet, late = false) {
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
    Effect.forever(Effect.suspend(() => {
      const { slice } = flow
      return Effect.map(flow.take(slice), () => {
        taken.bytes += slice
      })
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
      yield* lease.identify({ ...ann, limits: "heavy" })
      assert.deepStrictEqual([lease.up.length, lease.down.length], [1, 1])
      assert.strictEqual(lease.up[0]?.slice, 100)
      const other = yield* second.store.admit(ann, ignore)
      assert.strictEqual(
        (yield* Effect.flip(other.identify({ ...ann, limits: "heavy" }))).message,
        "limit: user ann has 1 of 1 connections (class heavy)"
      )
      yield* second.store.admit(ann, ignore)
      yield* lease.release
      yield* other.identify({ ...ann, limits: "heavy" })
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

  it.effect("gives each connection the same, however many of them each worker has", () =>
    Effect.gen(function*() {
      const rate = 1_000_000
      const { first, second } = yield* workers({ user: { up: rate } })
      const takers = []
      for (const { store } of [first, second, second, second]) {
        takers.push(yield* taker((yield* store.admit(ann, ignore)).up[0]))
      }
      // The shares of the first moment are not fair yet.
      for (let i = 0; i < 1000; i++) yield* TestClock.adjust(1)
      const before = takers.map((taken) => taken.bytes)
      for (let i = 0; i < 10_000; i++) yield* TestClock.adjust(1)
      const bytes = takers.map((taken, at) => taken.bytes - (before[at] ?? 0))
      const sum = bytes.reduce((a, b) => a + b)
      assert.isAtLeast(sum, rate * 10 * 0.95)
      assert.isAtMost(sum, rate * 10 * 1.05)
      for (const one of bytes) {
        assert.isAtLeast(one, sum / 4 * 0.9, bytes.join())
        assert.isAtMost(one, sum / 4 * 1.1, bytes.join())
      }
    }))

  it.effect("brings other limits to those who are in", () =>
    Effect.gen(function*() {
      const { first, keep, second } = yield* workers(Limit.none)
      const [a, b] = [yield* first.store.admit(ann, ignore), yield* second.store.admit(ann, ignore)]
      yield* keep.replace({ user: { connections: 1, up: 1000 }, groups: new Map([["staff", { down: 500 }]]) })
      assert.deepStrictEqual([a, b].map(({ down, up }) => [up[0]?.slice, down[0]?.slice]), [[50, 25], [50, 25]])
      assert.strictEqual(
        (yield* Effect.flip(first.store.admit(ann, ignore))).message,
        "limit: user ann has 2 of 1 connections"
      )
      // Who waits where nobody has to wait any more goes on.
      const waiting = yield* Effect.forkChild(a.up[0]?.take(100_000) ?? Effect.never, { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.isUndefined(waiting.pollUnsafe())
      yield* keep.replace({ user: { up: 2000 } })
      assert.deepStrictEqual([a.up[0]?.slice, a.down.length], [100, 0])
      yield* keep.replace({})
      yield* TestClock.adjust(100)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual([a.up, b.up], [[], []])
      yield* Effect.forEach([a, b], ({ release }) => release)
      assert.deepStrictEqual(yield* keep.list, [])
    }))

  for (const [what, high] of [["lent", 1_000_000_000], ["asked for", 20_000_000]] as const) {
    it.effect(`lends at a lower rate from the moment that it holds, whatever was ${what}`, () =>
      Effect.gen(function*() {
        const { first, keep, second } = yield* workers({ user: { up: high } })
        const takers = yield* Effect.forEach(
          [first, second],
          ({ store }) => Effect.flatMap(store.admit(ann, ignore), ({ up }) => taker(up[0]))
        )
        for (let i = 0; i < 500; i++) yield* TestClock.adjust(1)
        const rate = high / 100
        yield* keep.replace({ user: { up: rate } })
        const sum = () => takers.reduce((all, { bytes }) => all + bytes, 0)
        const before = sum()
        for (let i = 0; i < 2000; i++) yield* TestClock.adjust(1)
        assert.isAtLeast(sum() - before, rate * 1.9)
        // The slices of either taker that were on their way, and what is kept and lent for less than a second.
        assert.isAtMost(sum() - before, rate * 2.2 + 2 * 64 * 1024)
      }))
  }

  it.effect("goes on with who has other groups, and refuses that nothing", () =>
    Effect.gen(function*() {
      const { first, keep, second } = yield* workers({ groups: new Map([["dba", { connections: 1, up: 1000 }]]) })
      yield* second.store.admit({ ...ann, groups: ["dba"] }, ignore)
      const lease = yield* first.store.admit(ann, ignore)
      lease.reidentify(ann)
      lease.reidentify({ ...ann, groups: ["dba"] })
      assert.strictEqual(lease.up.length, 1)
      assert.deepStrictEqual((yield* keep.list).map(({ connections }) => connections), [2])
      assert.strictEqual(first.said.filter(({ _tag }) => _tag === "Reidentify").length, 1)
      lease.reidentify(ann)
      assert.strictEqual(lease.up.length, 0)
    }))

  it.effect("asks about strangers only where those count", () =>
    Effect.gen(function*() {
      const { first, keep, second } = yield* workers({ user: { connections: 1 } })
      const asked = () => first.said.flatMap(({ _tag }) => _tag === "Ask" || _tag === "Identify" ? [_tag] : [])
      const early = yield* first.store.meet(ann.client, ignore)
      assert.deepStrictEqual(asked(), [])
      yield* early.identify(ann)
      yield* early.identify({ ...ann })
      assert.deepStrictEqual(asked(), ["Ask"])
      yield* keep.replace({ client: { connections: 3 }, user: { connections: 1 } })
      const [next, last] = [
        yield* first.store.meet(ann.client, ignore),
        yield* second.store.meet(ann.client, ignore)
      ]
      const full = "limit: client 192.0.2.1 has 3 of 3 connections"
      assert.strictEqual((yield* Effect.flip(second.store.meet(ann.client, ignore))).message, full)
      // One that never says who it is has said all that there is.
      yield* next.identify({ client: ann.client })
      assert.deepStrictEqual(asked(), ["Ask", "Ask"])
      assert.strictEqual((yield* Effect.flip(last.identify(ann))).message, "limit: user ann has 1 of 1 connections")
      yield* early.release
      yield* last.identify(ann)
      yield* Effect.forEach([next, last], ({ release }) => release)
      assert.deepStrictEqual((yield* keep.list).filter(({ connections }) => connections > 0), [])
    }))

  it.effect("tells strangers that a quota is used up when they say who they are", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 25))
      const { first } = yield* workers({ client: { connections: 3, bytesPerDay: 1000 } })
      const lease = yield* first.store.meet(ann.client, ignore)
      lease.used(1000)
      yield* lease.release
      const next = yield* first.store.meet(ann.client, ignore)
      assert.match((yield* Effect.flip(next.identify({ client: ann.client }))).message, /^quota: client 192\.0\.2\.1/)
    }))

  it.effect("tells what was used at once when it is much, so that a quota holds to that", () =>
    Effect.gen(function*() {
      const { first, second } = yield* workers({ user: { bytesPerDay: 1_000_000 } })
      let used = 0
      const ended: Array<unknown> = []
      const ends = (error: unknown) => ended.push(error)
      const leases = [
        yield* first.store.admit(ann, ends),
        yield* second.store.admit(ann, ends),
        yield* second.store.admit(ann, ends)
      ]
      while (ended.length === 0) {
        for (const lease of leases) {
          lease.used(10_000)
          used += 10_000
        }
      }
      assert.isAtMost(used, 1_000_000 + 3 * 16_384)
    }))

  it.live("lets nobody move more than is left before it is counted, over a channel that is late", () =>
    Effect.gen(function*() {
      const { first, second } = yield* workers({ user: { bytesPerDay: 1_000_000 } }, true)
      let [used, waits] = [0, 0]
      const move = Effect.fnUntraced(function*({ store }: typeof first) {
        const ended = yield* Deferred.make<void>()
        const lease = yield* store.admit(ann, () => void Deferred.doneUnsafe(ended, Effect.void))
        const chunk = Effect.gen(function*() {
          for (const flow of lease.down) {
            waits++
            yield* flow.take(10_000)
          }
          used += 10_000
          lease.used(10_000)
        })
        yield* Effect.raceFirst(Effect.forever(chunk, { disableYield: true }), Deferred.await(ended))
      })
      yield* Effect.all([move(first), move(first), move(second), move(second)], { concurrency: "unbounded" })
      assert.isAtLeast(used, 1_000_000)
      assert.isAtMost(used, 1_000_000 + 4 * 26_384)
      assert.isAbove(waits, 0)
    }))

  it.effect("lets go on who is not told what is left", () =>
    Effect.gen(function*() {
      const { first } = yield* workers({ user: { bytesPerDay: 1_000_000 } })
      const lease = yield* first.store.admit(ann, ignore)
      first.mute()
      lease.used(300_000)
      const waiting = yield* Effect.forkChild(lease.up[0]?.take(1) ?? Effect.die("open"), { startImmediately: true })
      yield* TestClock.adjust(4999)
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(lease.up, [])
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

  it.effect("says nothing of logins but those that make up for failed ones", () =>
    Effect.gen(function*() {
      const { first, second } = yield* workers({})
      const logins = () => second.said.filter(({ _tag }) => _tag === "LoggedIn").length
      yield* second.bans.loggedIn(client)
      assert.strictEqual(logins(), 0)
      yield* first.bans.loginFailed(client)
      yield* second.bans.loggedIn(NetAddress.ipFromStringUnsafe("192.0.2.7"))
      yield* second.bans.loggedIn(client)
      yield* second.bans.loggedIn(client)
      assert.strictEqual(logins(), 1)
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
