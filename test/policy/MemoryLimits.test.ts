import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as TestClock from "effect/testing/TestClock"
import type { LimitSet } from "../../src/policy/Limit.ts"
import * as Limit from "../../src/policy/Limit.ts"
import type { Lease, LimitExceeded, LimitStore, Who } from "../../src/policy/LimitStore.ts"
import * as MemoryLimits from "../../src/policy/MemoryLimits.ts"

const ip = NetAddress.ipFromStringUnsafe

const ann: Who = { user: "ann", client: ip("192.0.2.1") }

/** The same user from somewhere else. */
const at = (client: string): Who => ({ user: "ann", client: ip(client) })

/** One of many clients, each in a network of its own. */
const network = (i: number) => ip(`2001:db8:${i.toString(16)}::1`)

const rateWords = (count: number, per: number) => Limit.formatRate({ count, per }, "new connections")

const stays = (error: LimitExceeded) => assert.fail(error.message)

const enter = (store: LimitStore["Service"], who: Who) => store.admit(who, stays)

const meet = (store: LimitStore["Service"], client = "192.0.2.1") => store.meet(ip(client), stays)

/** The words with which one is kept out. */
const refused = (store: LimitStore["Service"], who: Who) =>
  Effect.map(Effect.flip(store.admit(who, stays)), (error) => error.message)

const times = <A, E>(count: number, effect: Effect.Effect<A, E>): Effect.Effect<Array<A>, E> =>
  Effect.forEach(Array.from({ length: count }), () => effect)

describe("connections", () => {
  it.effect("are counted for each user, and given back", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({ user: { connections: 3 } })
      const [first] = yield* times(3, enter(store, ann))
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 3 of 3 connections")
      yield* enter(store, { ...ann, user: "bob" })
      yield* (first as Lease).release
      // Once, however often it is said.
      yield* (first as Lease).release
      yield* enter(store, ann)
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 3 of 3 connections")
    }))

  it.effect("are counted for each client, whose IPv6 network of 64 bits is one", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({ client: { connections: 1 } })
      yield* enter(store, { client: ip("192.0.2.1") })
      assert.strictEqual(
        yield* refused(store, { client: ip("::ffff:192.0.2.1") }),
        "limit: client 192.0.2.1 has 1 of 1 connections"
      )
      yield* enter(store, { client: ip("2001:db8:0:1::5") })
      assert.strictEqual(
        yield* refused(store, { client: ip("2001:db8:0:1:ffff::6") }),
        "limit: client 2001:db8:0:1::/64 has 1 of 1 connections"
      )
      yield* enter(store, { client: ip("2001:db8:0:2::5") })
      yield* enter(store, { client: undefined })
      assert.strictEqual(
        yield* refused(store, { client: undefined }),
        "limit: client without an address has 1 of 1 connections"
      )
    }))

  it.effect("are counted for a group and for all together", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({
        global: { connections: 3 },
        groups: new Map([["staff", { connections: 2 }]])
      })
      yield* enter(store, { ...ann, groups: ["staff", "staff", "others"] })
      yield* enter(store, { ...ann, user: "bob", groups: ["staff"] })
      assert.strictEqual(
        yield* refused(store, { ...ann, user: "cid", groups: ["others", "staff"] }),
        "limit: group staff has 2 of 2 connections"
      )
      yield* enter(store, ann)
      assert.strictEqual(yield* refused(store, ann), "limit: all clients together have 3 of 3 connections")
    }))

  it.effect("of those who are refused by one limit are held against no other", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({
        user: { connections: 1 },
        global: { connections: 2, newConnections: { count: 2, per: 1000 } }
      })
      yield* enter(store, ann)
      yield* times(5, refused(store, ann))
      yield* enter(store, { ...ann, user: "bob" })
    }))
})

describe("classes", () => {
  const set: LimitSet = {
    user: { connections: 1 },
    classes: new Map([["heavy", { connections: 2 }], ["free", {}]])
  }

  it.effect("take the place of the limits of a user", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make(set)
      const heavy = { ...ann, limits: "heavy" }
      yield* times(2, enter(store, heavy))
      assert.strictEqual(yield* refused(store, heavy), "limit: user ann has 2 of 2 connections (class heavy)")
      yield* times(10, enter(store, { ...ann, limits: "free" }))
      // Nobody knows it.
      yield* enter(store, { ...ann, limits: "other" })
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 1 of 1 connections")
    }))

  it.effect("hold for the client where there is no user", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make(set)
      const heavy: Who = { client: ip("192.0.2.9"), limits: "heavy" }
      yield* times(2, enter(store, heavy))
      assert.strictEqual(yield* refused(store, heavy), "limit: client 192.0.2.9 has 2 of 2 connections (class heavy)")
    }))

  it.effect("can be changed for a session, unless there is no room", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make(set)
      const lease = yield* enter(store, ann)
      yield* lease.identify({ ...ann, limits: "heavy" })
      yield* lease.identify({ ...ann, limits: "heavy" })
      const second = yield* enter(store, ann)
      yield* second.identify({ ...ann, limits: "heavy" })
      const third = yield* enter(store, ann)
      assert.strictEqual(
        (yield* Effect.flip(third.identify({ ...ann, limits: "heavy" }))).message,
        "limit: user ann has 2 of 2 connections (class heavy)"
      )
      // It is where it was.
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 1 of 1 connections")
      yield* Effect.forEach([lease, second, third], ({ release }) => release)
      assert.deepStrictEqual((yield* store.list).filter(({ connections }) => connections > 0), [])
    }))
})

describe("devices", () => {
  it.effect("are the different clients of a user at once", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({ user: { devices: 2 } })
      const first = yield* enter(store, at("192.0.2.1"))
      const again = yield* enter(store, at("192.0.2.1"))
      yield* enter(store, at("2001:db8::1"))
      yield* enter(store, at("2001:db8::2"))
      assert.strictEqual(yield* refused(store, at("192.0.2.2")), "limit: user ann has 2 of 2 devices")
      yield* first.release
      assert.strictEqual(yield* refused(store, at("192.0.2.2")), "limit: user ann has 2 of 2 devices")
      yield* again.release
      yield* enter(store, at("192.0.2.2"))
    }))
})

describe("new connections", () => {
  it.effect("come at a rate", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({ user: { newConnections: { count: 20, per: 1000 } } })
      const visit = Effect.flatMap(enter(store, ann), ({ release }) => release)
      yield* times(20, visit)
      assert.strictEqual(yield* refused(store, ann), "limit: user ann makes more than 20 new connections a second")
      yield* TestClock.adjust(49)
      assert.strictEqual(yield* refused(store, ann), "limit: user ann makes more than 20 new connections a second")
      yield* TestClock.adjust(1)
      yield* visit
      yield* TestClock.adjust(10_000)
      yield* times(20, visit)
      yield* refused(store, ann)
    }))

  it("are named by their time", () => {
    assert.strictEqual(rateWords(600, 60_000), "600 new connections a minute")
    assert.strictEqual(rateWords(5, 3_600_000), "5 new connections an hour")
    assert.strictEqual(rateWords(5, 86_400_000), "5 new connections a day")
    assert.strictEqual(rateWords(5, 2500), "5 new connections in 2.5 seconds")
  })
})

const day = 86_400_000

/** 2026-11-25, noon. */
const noon = Date.UTC(2026, 10, 25, 12)

describe("quotas", () => {
  it.effect("of a day end sessions, keep new ones out, and are new at midnight (UTC)", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const store = yield* MemoryLimits.make({ user: { bytesPerDay: 10_000_000_000 } })
      const ends: Array<string> = []
      const admit = (who: Who) => store.admit(who, (error) => ends.push(error.message))
      const [lease] = yield* times(2, admit(ann))
      const other = yield* admit({ ...ann, user: "bob" })
      lease?.used(9_999_999_999)
      other.used(9_999_999_999)
      assert.deepStrictEqual(ends, [])
      lease?.used(1)
      const words = "quota: user ann has used up 10GB a day, more from 2026-11-26 (UTC)"
      assert.deepStrictEqual(ends, [words, words])
      lease?.used(1)
      assert.strictEqual(ends.length, 2)
      assert.strictEqual(yield* refused(store, ann), words)
      yield* TestClock.setTime(noon + day / 2 - 1)
      assert.strictEqual(yield* refused(store, ann), words)
      yield* TestClock.setTime(noon + day / 2)
      yield* enter(store, ann)
    }))

  it.effect("of a month go on over midnight", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const store = yield* MemoryLimits.make({ client: { bytesPerDay: 600, bytesPerMonth: 1000 } })
      const words: Array<string> = []
      const lease = yield* store.admit(ann, (error) => words.push(error.message))
      lease.used(599)
      yield* TestClock.setTime(noon + day)
      lease.used(401)
      assert.deepStrictEqual(words, ["quota: client 192.0.2.1 has used up 1kB a month, more from 2026-12-01 (UTC)"])
      yield* TestClock.setTime(Date.UTC(2026, 11, 1))
      yield* enter(store, ann)
    }))

  it("are written as people write sizes", () => {
    const sizes = [999, 1500, 1_000_000, 1_500_000_000, 10_000_000_001].map(Limit.formatBytes)
    assert.deepStrictEqual(sizes, ["999B", "1.5kB", "1MB", "1.5GB", "10000000001B"])
  })
})

describe("the store", () => {
  it.effect("costs nothing where nothing is limited", () =>
    Effect.gen(function*() {
      for (const set of [Limit.none, { user: {} }, { client: { connections: undefined }, groups: new Map() }]) {
        const store = yield* MemoryLimits.make(set)
        const lease = yield* enter(store, ann)
        assert.deepStrictEqual([lease.up, lease.down, lease.packets], [[], [], []])
        assert.deepStrictEqual(yield* store.list, [])
      }
    }))

  it.effect("remembers no more clients than it is to, and keeps those that are in", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make(
        { client: { connections: 1, newConnections: { count: 1, per: 3_600_000 }, bytesPerDay: 1000 } },
        { remember: 50 }
      )
      yield* enter(store, { client: network(0) })
      yield* Effect.forEach(
        Array.from({ length: 2000 }, (_, i) => i + 1),
        (i) => Effect.flatMap(enter(store, { client: network(i) }), ({ release }) => release)
      )
      assert.strictEqual((yield* store.list).length, 51)
      assert.strictEqual(
        yield* refused(store, { client: network(0) }),
        "limit: client 2001:db8::/64 has 1 of 1 connections"
      )
      assert.strictEqual(
        yield* refused(store, { client: network(2000) }),
        "limit: client 2001:db8:7d0::/64 makes more than 1 new connections an hour"
      )
    }))

  it.effect("forgets those that are as if they had never been there", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({ client: { newConnections: { count: 1, per: 1000 } } })
      const visit = (i: number) =>
        Effect.flatMap(enter(store, { client: ip(`10.0.${i >> 8}.${i & 255}`) }), ({ release }) => release)
      yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, i) => i),
        (i) => Effect.andThen(visit(i), TestClock.adjust(100))
      )
      assert.isAtMost((yield* store.list).length, 20)
    }))

  it.effect("goes on under other limits", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({ user: { connections: 1, up: 1_000_000 } })
      const lease = yield* enter(store, ann)
      assert.strictEqual(lease.up.length, 1)
      yield* store.replace({ user: { connections: 2, up: 10 } })
      yield* enter(store, ann)
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 2 of 2 connections")
      const [flow] = lease.up
      assert.isFalse(flow?.tryTake(2))
      yield* store.replace(Limit.none)
      yield* enter(store, ann)
      yield* TestClock.adjust(1)
      // Who waits there still does not do so for long.
      assert.deepStrictEqual(lease.up, [])
      assert.isTrue(flow?.tryTake(1_000_000))
      yield* lease.release
      assert.deepStrictEqual(yield* store.list, [])
    }))

  it.effect("brings other limits to those who are in, and refuses them nothing", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const store = yield* MemoryLimits.make(Limit.none)
      const ends: Array<string> = []
      const leases = yield* times(3, store.admit({ ...ann, groups: ["staff"] }, (error) => ends.push(error.message)))
      const [first] = leases
      assert(first !== undefined)
      yield* store.replace({
        user: { connections: 1, up: 1000, newConnections: { count: 1, per: 1000 } },
        groups: new Map([["staff", { udpPackets: { count: 5, per: 1000 }, bytesPerDay: 1000 }]])
      })
      assert.deepStrictEqual([first.up.length, first.down.length, first.packets.length], [1, 0, 1])
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 3 of 1 connections")
      yield* Effect.forEach(leases.slice(1), ({ release }) => release)
      assert.strictEqual(yield* refused(store, ann), "limit: user ann has 1 of 1 connections")
      first.used(999)
      assert.deepStrictEqual(ends, [])
      yield* store.replace({ user: { down: 1000 }, groups: new Map([["staff", { bytesPerDay: 900 }]]) })
      assert.deepStrictEqual([first.up.length, first.down.length, first.packets.length], [0, 1, 0])
      assert.deepStrictEqual(ends, ["quota: group staff has used up 900B a day, more from 2026-11-26 (UTC)"])
      yield* first.release
      assert.deepStrictEqual((yield* store.list).filter(({ connections }) => connections > 0), [])
    }))

  it.effect("goes on with who has other groups, or another class, and refuses that nothing", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({
        user: { connections: 5 },
        groups: new Map([["staff", { connections: 1 }], ["guests", { up: 1000 }]]),
        classes: new Map([["heavy", { connections: 1, down: 1000 }]])
      })
      const [first, second] = yield* times(2, enter(store, { ...ann, groups: ["guests"] }))
      yield* enter(store, { ...ann, user: "bob", groups: ["staff"] })
      assert(first !== undefined && second !== undefined)
      first.reidentify({ ...ann, groups: ["staff"] })
      second.reidentify({ ...ann, groups: ["staff"], limits: "heavy" })
      assert.deepStrictEqual([first.up.length, second.up.length, second.down.length], [0, 0, 1])
      assert.strictEqual(
        yield* refused(store, { ...ann, user: "cid", groups: ["staff"] }),
        "limit: group staff has 3 of 1 connections"
      )
      yield* first.release
      first.reidentify(ann)
      yield* second.release
      assert.strictEqual(
        yield* refused(store, { ...ann, user: "cid", groups: ["staff"] }),
        "limit: group staff has 1 of 1 connections"
      )
      const inUse = (yield* store.list).filter(({ connections }) => connections > 0)
      assert.deepStrictEqual(inUse.map(({ holder: { name } }) => name).sort(), ["bob", "staff"])
    }))

  it.effect("forgets all but so many of 100,000 addresses, and the rates that held for them", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make({
        client: { newConnections: { count: 1, per: 86_400_000 }, bytesPerDay: 1000 }
      })
      for (let i = 0; i < 100_000; i++) {
        // Half of them IPv6, each in a network of 64 bits of its own.
        const client = i % 2 === 0
          ? ip(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
          : ip(`2001:db8:${(i >> 8).toString(16)}:${(i & 255).toString(16)}::1`)
        yield* (yield* enter(store, { client })).release
      }
      const all = yield* store.list
      assert.strictEqual(all.length, 65_536)
      assert.deepStrictEqual(all.filter(({ connections, devices }) => connections > 0 || devices > 0), [])
      // Those are left that came last.
      yield* refused(store, { client: ip(`10.1.${(99_998 >> 8) & 255}.${99_998 & 255}`) })
      yield* enter(store, { client: ip("10.0.0.0") })
      yield* TestClock.adjust("2 days")
      for (let i = 0; i < 3000; i++) {
        yield* (yield* enter(store, { client: ip(`10.200.${i >> 8}.${i & 255}`) })).release
      }
      // One is still connected.
      assert.strictEqual((yield* store.list).length, 3001)
    }))
})

describe("a stranger", () => {
  const set: LimitSet = {
    global: { connections: 3 },
    client: { newConnections: { count: 2, per: 1000 }, bytesPerDay: 1000 },
    user: { connections: 1 }
  }

  it.effect("counts for its address, and among all, before it says who it is", () =>
    Effect.gen(function*() {
      const store = yield* MemoryLimits.make(set)
      const [first, second] = yield* times(2, meet(store))
      assert.strictEqual(
        (yield* Effect.flip(meet(store))).message,
        "limit: client 192.0.2.1 makes more than 2 new connections a second"
      )
      yield* meet(store, "192.0.2.2")
      assert.strictEqual(
        (yield* Effect.flip(meet(store, "192.0.2.3"))).message,
        "limit: all clients together have 3 of 3 connections"
      )
      assert(first !== undefined && second !== undefined)
      yield* first.identify(ann)
      assert.strictEqual((yield* Effect.flip(second.identify(ann))).message, "limit: user ann has 1 of 1 connections")
      // It counts no more than before.
      yield* second.identify({ ...ann, user: "bob" })
      yield* Effect.forEach([first, second], ({ release }) => release)
      const inUse = (yield* store.list).filter(({ connections }) => connections > 0)
      assert.deepStrictEqual(inUse.map(({ connections, holder }) => [holder.kind, connections]), [
        ["global", 1],
        ["client", 1]
      ])
    }))

  it.effect("is told that its quota is used up when it has said who it is", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const store = yield* MemoryLimits.make(set)
      const lease = yield* store.meet(ip("192.0.2.1"), () => {})
      lease.used(1000)
      yield* lease.release
      const next = yield* meet(store)
      assert.strictEqual(
        (yield* Effect.flip(next.identify(ann))).message,
        "quota: client 192.0.2.1 has used up 1kB a day, more from 2026-11-26 (UTC)"
      )
    }))
})
