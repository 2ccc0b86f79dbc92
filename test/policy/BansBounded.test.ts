/** What is kept of attackers, however many addresses they come from. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { AuthenticationFailed, Authenticator } from "../../src/policy/Authenticator.ts"
import * as BanKeeper from "../../src/policy/BanKeeper.ts"
import * as BanList from "../../src/policy/BanList.ts"
import * as LoginGuard from "../../src/policy/LoginGuard.ts"
import * as RemoteBans from "../../src/policy/RemoteBans.ts"

const attackers = 200_000

/** How many are remembered where nothing is said of it. */
const remembered = 65_536

/** How many of those are remembered in any case: the oldest are forgotten some at once. */
const sure = remembered - remembered / 64

/** The address of an attacker; those of IPv6 are each in a network of its own. */
const ipv4 = (i: number) => NetAddress.ipv4FromBytesUnsafe(Uint8Array.of(11, i >> 16, i >> 8, i))
const ipv6 = (i: number) => {
  const bytes = new Uint8Array(16)
  bytes.set([0x20, 1, 0x0d, 0xb8, 0, i >> 16, i >> 8, i])
  return NetAddress.ipv6FromBytesUnsafe(bytes)
}

const each = (count: number, address: (i: number) => NetAddress.IpAddress) =>
  Effect.fnUntraced(function*(act: (client: NetAddress.IpAddress) => Effect.Effect<unknown>) {
    for (let i = 0; i < count; i++) yield* act(address(i))
  })

const victim = NetAddress.ipFromStringUnsafe("192.0.2.1")

const failOnce = (bans: BanList.BanList["Service"], client: NetAddress.IpAddress) =>
  Effect.map(bans.loginFailed(client), ({ failures }) => failures)

describe("200,000 addresses", () => {
  it.effect.each([["IPv4", ipv4], ["IPv6", ipv6]] as const)(
    "whose logins fail once leave so many behind, and every ban in place: %s",
    ([, address]) =>
      Effect.gen(function*() {
        const bans = yield* BanList.make()
        const banned = yield* bans.ban(victim, Duration.hours(1), "test")
        yield* each(attackers, address)(bans.loginFailed)
        assert.deepStrictEqual(yield* bans.find(victim), banned)
        assert.deepStrictEqual(yield* bans.list, banned && [banned])
        // Of those that came last each one counts, and of the others none.
        assert.strictEqual(yield* failOnce(bans, address(attackers - sure)), 2)
        assert.strictEqual(yield* failOnce(bans, address(attackers - 1)), 2)
        assert.strictEqual(yield* failOnce(bans, address(0)), 1)
        assert.strictEqual(yield* failOnce(bans, address(attackers - remembered - 1)), 1)
      })
  )

  it.effect("that are banned leave so many bans behind, the latest", () =>
    Effect.gen(function*() {
      const bans = yield* BanList.make({ after: 1 })
      yield* each(attackers, ipv4)(bans.loginFailed)
      const all = yield* bans.list
      assert.isAtMost(all.length, remembered)
      assert.isAtLeast(all.length, sure)
      assert.strictEqual(all[0]?.client, NetAddress.formatIp(ipv4(attackers - all.length)))
      assert.isDefined(yield* bans.find(ipv4(attackers - 1)))
      assert.isUndefined(yield* bans.find(ipv4(attackers - remembered - 1)))
      // One that fails again and again is not banned anew, which would push out the others.
      yield* Effect.replicateEffect(bans.loginFailed(ipv4(attackers - 1)), 100)
      assert.deepStrictEqual(yield* bans.list, all)
    }))

  it.effect("leave no more behind in a process that asks another one, nor there", () =>
    Effect.gen(function*() {
      const kept = yield* BanList.make()
      const keeper = BanKeeper.make(kept)
      const remote = yield* Effect.gen(function*() {
        let toKeeper: Parameters<typeof RemoteBans.make>[0] | undefined
        const made = yield* RemoteBans.make((message) => toKeeper?.(message))
        toKeeper = yield* keeper.connect(made.receive)
        return made
      })
      const banned = yield* keeper.bans.ban(victim, Duration.hours(1), "test")
      yield* each(attackers, ipv6)(remote.bans.loginFailed)
      for (const bans of [kept, remote.bans]) assert.deepStrictEqual(yield* bans.find(victim), banned)
      assert.strictEqual(yield* failOnce(remote.bans, ipv6(attackers - sure)), 2)
      assert.strictEqual(yield* failOnce(remote.bans, ipv6(attackers - remembered - 2)), 1)
      yield* each(attackers, ipv4)((client) => keeper.bans.ban(client, Duration.hours(1), "test"))
      for (const bans of [kept, remote.bans]) {
        assert.isAtMost((yield* bans.list).length, remembered)
        assert.isDefined(yield* bans.find(ipv4(attackers - sure)))
        assert.isUndefined(yield* bans.find(victim))
      }
    }))

  it.effect("that wait for refusals wait no more than so many at once", () =>
    Effect.gen(function*() {
      const none = Authenticator.of({
        required: true,
        authenticate: ({ username }) => Effect.fail(new AuthenticationFailed({ username }))
      })
      const guarded = LoginGuard.make(none, yield* BanList.make())
      const password = Redacted.make("wrong")
      const login = (client: NetAddress.IpAddress) =>
        Effect.flip(
          guarded.authenticate({ username: "ann", password, client: NetAddress.inetAddressUnsafe(client, 4711) })
        )
      const held: Array<Fiber.Fiber<unknown, unknown>> = []
      for (let i = 0; i < attackers; i++) {
        const fiber = yield* Effect.forkChild(login(ipv6(i)), { startImmediately: true })
        if (fiber.pollUnsafe() === undefined) held.push(fiber)
      }
      assert.lengthOf(held, 256)
      yield* TestClock.adjust("1 second")
      assert.isTrue(held.every((fiber) => fiber.pollUnsafe() !== undefined))
    }))
})

describe("A client in a process that asks another one", () => {
  it.effect("that goes on failing is not forgotten for others", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const { bans, receive } = yield* RemoteBans.make((message) => said.push(message._tag), 2)
      const [one, two, three] = [ipv4(1), ipv4(2), ipv4(3)]
      for (const client of [one, two, one, three]) receive({ _tag: "Failing", client: NetAddress.formatIp(client) })
      for (const client of [one, two, three]) yield* bans.loggedIn(client)
      assert.deepStrictEqual(said, ["LoggedIn", "LoggedIn"])
      yield* bans.loggedIn(one)
      assert.lengthOf(said, 2)
      receive({ _tag: "Failing", client: NetAddress.formatIp(two) })
      receive({ _tag: "Failing", client: NetAddress.formatIp(one) })
      receive({ _tag: "Failing", client: NetAddress.formatIp(two) })
      receive({ _tag: "Failing", client: NetAddress.formatIp(three) })
      yield* bans.loggedIn(two)
      assert.lengthOf(said, 3)
      yield* bans.loggedIn(one)
      assert.lengthOf(said, 3)
    }))
})
