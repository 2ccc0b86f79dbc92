import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { AuthenticationFailed, Authenticator } from "../../src/policy/Authenticator.ts"
import * as BanList from "../../src/policy/BanList.ts"
import * as LoginGuard from "../../src/policy/LoginGuard.ts"

const at = (address: string) => NetAddress.inetAddressFromIpStringUnsafe(address, 5000)

const client = at("192.0.2.1")

/** Everybody whose password is their name; `broken` can't be asked for. */
const inner = Authenticator.of({
  required: true,
  authenticate: ({ password, username }) =>
    Redacted.value(password) === username
      ? Effect.succeed({ name: username })
      : Effect.fail(new AuthenticationFailed({ username, blameless: username === "broken" })),
  identify: (username) => Effect.fail(new AuthenticationFailed({ username }))
})

const login = (
  guarded: Authenticator["Service"],
  password: string,
  from: NetAddress.InetAddress | undefined = client,
  username = "ann"
) => guarded.authenticate({ username, password: Redacted.make(password), client: from })

/** How long the refusal takes, in milliseconds, and its words. */
const refusal = Effect.fnUntraced(function*<A>(attempt: Effect.Effect<A, AuthenticationFailed>) {
  const start = yield* Clock.currentTimeMillis
  const fiber = yield* Effect.forkChild(
    Effect.flatMap(
      Effect.flip(attempt),
      (error) => Effect.map(Clock.currentTimeMillis, (now) => [now, error] as const)
    ),
    { startImmediately: true }
  )
  if (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(60_000)
  const [now, error] = yield* Fiber.join(fiber)
  return [now - start, error.message] as const
})

const failed = "authentication failed"

describe("LoginGuard", () => {
  it.effect("answers each refusal later than the one before, and then bans", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 10, 25, 12))
      const guarded = LoginGuard.make(inner, yield* BanList.make({ after: 7, within: "1 hour" }))
      assert.isTrue(guarded.required)
      const waits: Array<number> = []
      for (let i = 0; i < 6; i++) {
        const [wait, words] = yield* refusal(login(guarded, "wrong"))
        assert.strictEqual(words, failed)
        waits.push(wait)
      }
      assert.deepStrictEqual(waits, [1000, 2000, 4000, 8000, 16_000, 16_000])
      // The client learns of its ban by nothing but the refusals.
      assert.deepStrictEqual(yield* refusal(login(guarded, "wrong")), [0, failed])
      const [wait, words] = yield* refusal(login(guarded, "ann"))
      assert.strictEqual(wait, 0)
      assert.strictEqual(
        words,
        "authentication failed: banned: 192.0.2.1 until 2026-11-25T13:06:00Z for 7 failed logins"
      )
      assert.strictEqual((yield* login(guarded, "ann", at("192.0.2.2"))).name, "ann")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* login(guarded, "ann")).name, "ann")
    }))

  it.effect("logs a ban once, however many logins were under way, in whichever object it comes", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
      const kept = yield* BanList.make({ after: 2 })
      // As a process hears of it that asks another one.
      const bans = {
        ...kept,
        loginFailed: (client: NetAddress.IpAddress) =>
          Effect.map(kept.loginFailed(client), ({ ban, failures }) => ({ failures, ban: ban && { ...ban } }))
      }
      const guarded = LoginGuard.make(inner, bans)
      const attempts = Effect.all(Array.from({ length: 5 }, () => Effect.flip(login(guarded, "wrong"))), {
        concurrency: "unbounded"
      })
      const fiber = yield* Effect.forkChild(Effect.provide(attempts, Logger.layer([logger])), {
        startImmediately: true
      })
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(yield* Fiber.join(fiber), 5)
      assert.deepStrictEqual(lines, ["client banned for its failed logins"])
    }))

  it.effect("begins anew after a success", () =>
    Effect.gen(function*() {
      const guarded = LoginGuard.make(inner, yield* BanList.make({ after: 3 }))
      for (let i = 0; i < 5; i++) {
        assert.deepStrictEqual(yield* refusal(login(guarded, "wrong")), [1000, failed])
        assert.deepStrictEqual(yield* refusal(login(guarded, "wrong")), [2000, failed])
        yield* login(guarded, "ann")
      }
    }))

  it.effect("counts names without a password as well", () =>
    Effect.gen(function*() {
      const guarded = LoginGuard.make(inner, yield* BanList.make({ after: 2 }))
      const { identify } = guarded
      if (identify === undefined) return assert.fail("it has been lost")
      assert.deepStrictEqual(yield* refusal(identify("ann", client)), [1000, failed])
      assert.deepStrictEqual(yield* refusal(identify("ann", client)), [0, failed])
      assert.match((yield* Effect.flip(login(guarded, "ann"))).message, /banned/)
      const { identify: none } = LoginGuard.make(
        { required: true, authenticate: inner.authenticate },
        yield* BanList.make()
      )
      assert.isUndefined(none)
    }))

  it.effect("holds only so many: further refusals come at once, and count", () =>
    Effect.gen(function*() {
      const guarded = LoginGuard.make(inner, yield* BanList.make({ after: 100 }), { maxDelayed: 3 })
      const held = yield* Effect.forEach(
        [1, 2, 3],
        (i) => Effect.forkChild(Effect.flip(login(guarded, "wrong", at(`192.0.2.${i}`))), { startImmediately: true })
      )
      assert.deepStrictEqual(yield* refusal(login(guarded, "wrong", at("192.0.2.4"))), [0, failed])
      // One that leaves makes room.
      yield* Fiber.interrupt(held[0] as Fiber.Fiber<unknown>)
      assert.deepStrictEqual(yield* refusal(login(guarded, "wrong", at("192.0.2.4"))), [2000, failed])
      assert.isDefined(held[1]?.pollUnsafe())
    }))

  it.effect("neither slows nor bans who is allowed, who is on this machine, or who is not to blame", () =>
    Effect.gen(function*() {
      const allow = [IpNetwork.fromStringUnsafe("198.51.100.0/24")]
      const bans = yield* BanList.make({ after: 2, allow })
      const guarded = LoginGuard.make(inner, bans)
      for (let i = 0; i < 5; i++) {
        assert.deepStrictEqual(yield* refusal(login(guarded, "wrong", at("198.51.100.1"))), [0, failed])
        assert.deepStrictEqual(yield* refusal(login(guarded, "wrong", client, "broken")), [0, failed])
        const unix = guarded.authenticate({ username: "ann", password: Redacted.make(""), client: undefined })
        assert.deepStrictEqual(yield* refusal(unix), [0, failed])
      }
      assert.deepStrictEqual(yield* bans.list, [])
    }))
})
