import { assert, it } from "@effect/vitest"
import type * as Argon2 from "@node-rs/argon2"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { beforeEach, vi } from "vitest"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import { within } from "../support/Polling.ts"

const { counted, running } = vi.hoisted(() => {
  /** How many hashes are being computed, how many have been at once, and in all. */
  const running = { now: 0, most: 0, total: 0 }
  const counted = <A extends ReadonlyArray<unknown>, B>(work: (...args: A) => Promise<B>) => async (...args: A) => {
    running.now++
    running.total++
    running.most = Math.max(running.most, running.now)
    try {
      return await work(...args)
    } finally {
      running.now--
    }
  }
  return { counted, running }
})

// The real thing, counted.
vi.mock("@node-rs/argon2", async (importOriginal) => {
  const real = await importOriginal<typeof Argon2>()
  return { ...real, hash: counted(real.hash), verify: counted(real.verify) }
})

const password = Redacted.make("storm")

beforeEach(() => {
  Object.assign(running, { most: 0, total: 0 })
})

it.live("computes two hashes at once, however many are asked for", () =>
  Effect.gen(function*() {
    const encoded = yield* PasswordHash.hash(password)
    const storm = Array.from({ length: 12 }, (_, i) =>
      i % 3 === 0 ? PasswordHash.hash(password) : PasswordHash.verify(encoded, password))
    yield* Effect.all(storm, { concurrency: "unbounded" })
    assert.deepStrictEqual(running, { now: 0, most: 2, total: 13 })
  }))

it.live("counts those that nobody waits for any more until they are done", () =>
  Effect.gen(function*() {
    const encoded = yield* PasswordHash.hash(password)
    const fork = Effect.forkChild(PasswordHash.verify(encoded, password), { startImmediately: true })
    const abandoned = yield* Effect.forEach([0, 1], () => fork)
    assert.strictEqual(running.now, 2)
    // The clients have left: the threads go on with their work.
    const interrupts = yield* Effect.forkChild(Fiber.interruptAll(abandoned), { startImmediately: true })
    assert.isTrue(yield* Fiber.join(yield* fork))
    yield* Fiber.join(interrupts)
    assert.isTrue(yield* within(Effect.sync(() => running.now === 0)))
    assert.deepStrictEqual(running, { now: 0, most: 2, total: 4 })
  }))
