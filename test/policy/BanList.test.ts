import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as TestClock from "effect/testing/TestClock"
import * as BanList from "../../src/policy/BanList.ts"

const ip = NetAddress.ipFromStringUnsafe

const client = ip("192.0.2.1")

const another = (i: number) => ip(`198.51.100.${i}`)

const noon = Date.UTC(2026, 10, 25, 12)

const failures = (bans: BanList.BanList["Service"], count: number, address = client) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.map(bans.loginFailed(address), ({ failures }) => failures))

describe("BanList", () => {
  it.effect("bans after so many failed logins, for a time", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const bans = yield* BanList.make()
      assert.deepStrictEqual(yield* failures(bans, 4), [1, 2, 3, 4])
      yield* BanList.BanList.check(bans, client)
      const { ban } = yield* bans.loginFailed(client)
      assert.deepStrictEqual(ban, { client: "192.0.2.1", until: noon + 3_600_000, why: "5 failed logins" })
      const banned = yield* Effect.flip(BanList.BanList.check(bans, client))
      assert.strictEqual(banned.message, "banned: 192.0.2.1 until 2026-11-25T13:00:00Z for 5 failed logins")
      assert.deepStrictEqual(yield* bans.list, ban && [ban])
      // One that was under way makes it no longer.
      assert.deepStrictEqual((yield* bans.loginFailed(client)).ban, ban)
      yield* BanList.BanList.check(bans, ip("192.0.2.2"))
      yield* TestClock.adjust("59 minutes")
      assert.isDefined(yield* bans.find(client))
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(yield* bans.find(client))
      assert.deepStrictEqual(yield* bans.list, [])
      // And begins anew.
      assert.deepStrictEqual(yield* failures(bans, 1), [1])
    }))

  it.effect("counts only what failed not long ago, and not before a success", () =>
    Effect.gen(function*() {
      const bans = yield* BanList.make({ after: 3, within: "10 minutes" })
      yield* failures(bans, 2)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* failures(bans, 2), [1, 2])
      yield* bans.loggedIn(client)
      assert.deepStrictEqual(yield* failures(bans, 2), [1, 2])
      assert.isUndefined(yield* bans.find(client))
    }))

  it.effect("takes the 64 bits of an IPv6 network for one, and a carried IPv4 address for that", () =>
    Effect.gen(function*() {
      const bans = yield* BanList.make({ after: 2 })
      yield* failures(bans, 1, ip("2001:db8:1:2::1"))
      yield* failures(bans, 1, ip("2001:db8:1:2:ffff::2"))
      assert.strictEqual((yield* bans.find(ip("2001:db8:1:2:3::4")))?.client, "2001:db8:1:2::/64")
      assert.isUndefined(yield* bans.find(ip("2001:db8:1:3::1")))
      yield* failures(bans, 1, ip("::ffff:192.0.2.1"))
      yield* failures(bans, 1)
      assert.isDefined(yield* bans.find(client))
    }))

  it.effect("never bans who is allowed", () =>
    Effect.gen(function*() {
      const bans = yield* BanList.make({ after: 1, allow: [IpNetwork.fromStringUnsafe("192.0.2.0/24")] })
      assert.deepStrictEqual(yield* failures(bans, 3), [0, 0, 0])
      assert.isUndefined(yield* bans.ban(ip("::ffff:192.0.2.9"), Duration.hours(1), "no reason"))
      assert.deepStrictEqual(yield* bans.list, [])
      yield* failures(bans, 1, ip("198.51.100.1"))
      assert.deepStrictEqual((yield* bans.list).map(({ why }) => why), ["a failed login"])
    }))

  it.effect("bans and lifts by hand", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const bans = yield* BanList.make()
      assert.isFalse(yield* bans.lift(client))
      yield* bans.ban(client, Duration.minutes(1), "spam")
      assert.strictEqual(
        (yield* Effect.flip(BanList.BanList.check(bans, client))).message,
        "banned: 192.0.2.1 until 2026-11-25T12:01:00Z for spam"
      )
      assert.isTrue(yield* bans.lift(client))
      assert.isFalse(yield* bans.lift(client))
      yield* failures(bans, 4)
      yield* bans.lift(client)
      assert.deepStrictEqual(yield* failures(bans, 1), [1])
    }))

  it.effect("remembers so many, the latest", () =>
    Effect.gen(function*() {
      const bans = yield* BanList.make({ after: 2, remember: 10 })
      for (let i = 0; i < 100; i++) yield* bans.ban(another(i), Duration.hours(1), "test")
      assert.deepStrictEqual(
        (yield* bans.list).map(({ client }) => client),
        Array.from({ length: 10 }, (_, i) => `198.51.100.${90 + i}`)
      )
      for (let i = 100; i < 200; i++) yield* bans.loginFailed(another(i))
      assert.deepStrictEqual(yield* failures(bans, 1, another(100)), [1])
      assert.deepStrictEqual(yield* failures(bans, 1, another(199)), [2])
    }))
})
