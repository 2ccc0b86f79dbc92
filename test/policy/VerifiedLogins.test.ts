import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { inspect } from "node:util"
import * as VerifiedLogins from "../../src/policy/VerifiedLogins.ts"

/** What is remembered, and else what is found. */
const get = <A, E>(
  logins: VerifiedLogins.VerifiedLogins<A>,
  login: ReadonlyArray<string>,
  verify: Effect.Effect<VerifiedLogins.Verified<A> | undefined, E>
) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const key = logins.keyOf(login)
    const known = logins.recall(key, now)
    return known === undefined ? logins.find(key, verify) : Effect.succeed(known)
  })

/** Counts how often it is asked. */
const counter = <A>(found: VerifiedLogins.Verified<A> | undefined) => {
  const counted = { times: 0 }
  const verify = Effect.sync(() => {
    counted.times++
    return found
  })
  return Object.assign(counted, { verify })
}

const ann = ["ann", "secret", "hash"]

describe("VerifiedLogins", () => {
  it.effect("asks once within the time to live", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>({ timeToLive: "1 minute" })
      const counted = counter({ value: 7 })
      assert.strictEqual(yield* get(logins, ann, counted.verify), 7)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* get(logins, ann, counted.verify), 7)
      assert.strictEqual(counted.times, 1)
      // That it was asked for does not make it live longer.
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* get(logins, ann, counted.verify), 7)
      assert.strictEqual(counted.times, 2)
    }))

  it.effect("remembers no longer than it is told to, and nothing at all with 0", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>({ timeToLive: "1 minute" })
      const short = counter({ value: 1, timeToLive: 1_000 })
      yield* get(logins, ann, short.verify)
      yield* TestClock.adjust("999 millis")
      yield* get(logins, ann, short.verify)
      assert.strictEqual(short.times, 1)
      yield* TestClock.adjust("1 millis")
      yield* get(logins, ann, short.verify)
      assert.strictEqual(short.times, 2)
      const none = VerifiedLogins.make<number>({ timeToLive: 0 })
      const each = counter({ value: 1 })
      yield* get(none, ann, each.verify)
      yield* get(none, ann, each.verify)
      assert.strictEqual(each.times, 2)
      assert.strictEqual(none.size(), 0)
    }))

  it.effect("remembers no failure", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>()
      const wrong = counter<number>(undefined)
      assert.strictEqual(yield* get(logins, ann, wrong.verify), undefined)
      assert.strictEqual(yield* get(logins, ann, wrong.verify), undefined)
      assert.strictEqual(wrong.times, 2)
      assert.strictEqual(yield* Effect.flip(get(logins, ann, Effect.fail("broken"))), "broken")
      assert.strictEqual(logins.size(), 0)
    }))

  it.effect("takes each part for itself", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>()
      yield* get(logins, ["a", "b\u00001:c"], Effect.succeed({ value: 1 }))
      for (const other of [["a", "b", "c"], ["a\u00003:b", "c"], ["a", "b\u00001:c", ""], ["b\u00001:c", "a"]]) {
        assert.strictEqual(yield* get(logins, other, Effect.succeed(undefined)), undefined)
      }
    }))

  it.effect.prop(
    "has a key of its own for each login",
    [Schema.Array(Schema.String), Schema.Array(Schema.String)],
    ([one, other]) =>
      Effect.sync(() => {
        const logins = VerifiedLogins.make<number>()
        const same = JSON.stringify(one) === JSON.stringify(other)
        assert.strictEqual(logins.keyOf(one) === logins.keyOf(other), same)
      })
  )

  it.effect("forgets what was not asked for longest when it is full", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<string>({ capacity: 2 })
      const visit = (name: string) => {
        const counted = counter({ value: name })
        return Effect.as(get(logins, [name], counted.verify), counted)
      }
      yield* visit("a")
      yield* visit("b")
      yield* visit("a")
      yield* visit("c")
      assert.strictEqual(logins.size(), 2)
      assert.strictEqual((yield* visit("a")).times, 0)
      assert.strictEqual((yield* visit("b")).times, 1)
    }))

  it.effect("has those share one verification who ask at the same time", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>()
      const gate = yield* Deferred.make<VerifiedLogins.Verified<number>>()
      let times = 0
      const verify = Effect.suspend(() => {
        times++
        return Deferred.await(gate)
      })
      const ask = Effect.forkChild(get(logins, ann, verify), { startImmediately: true })
      const [first, ...others] = [yield* ask, yield* ask, yield* ask]
      // Whoever leaves leaves the others theirs.
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(gate, { value: 3 })
      for (const other of others) assert.strictEqual(yield* Fiber.join(other), 3)
      assert.strictEqual(times, 1)
    }))

  it.effect("ends a verification that nobody waits for any more", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>()
      let ended = 0
      const verify = Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended++))
      const ask = Effect.forkChild(get(logins, ann, verify), { startImmediately: true })
      const asking = [yield* ask, yield* ask]
      yield* Effect.yieldNow
      yield* Fiber.interruptAll(asking)
      yield* Effect.yieldNow
      assert.strictEqual(ended, 1)
      // The next one starts anew.
      assert.strictEqual(yield* get(logins, ann, Effect.succeed({ value: 5 })), 5)
    }))

  it.effect("holds no password", () =>
    Effect.gen(function*() {
      const logins = VerifiedLogins.make<number>()
      const canary = "S3cr3t-canary"
      yield* get(logins, ["ann", canary, "hash"], Effect.succeed({ value: 1 }))
      const shown = inspect(logins, { depth: null, showHidden: true }) + logins.keyOf(["ann", canary, "hash"])
      for (const encoding of ["utf8", "hex", "base64"] as const) {
        assert.notInclude(shown, Buffer.from(canary).toString(encoding))
      }
    }))
})
