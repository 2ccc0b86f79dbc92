import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { bandwidth, type Flow, LocalFlow } from "../../src/policy/Flow.ts"

const flowOf = (bytes: number) => Effect.map(Clock.Clock, (clock) => new LocalFlow(...bandwidth(bytes), clock))

/** Takes slices for ever, and counts. */
const taker = Effect.fnUntraced(function*(flow: Flow, most = Infinity) {
  const taken = { bytes: 0 }
  const slice = Math.min(flow.slice, most)
  const fiber = yield* Effect.forkChild(
    Effect.forever(Effect.map(flow.take(slice), () => {
      taken.bytes += slice
    })),
    { startImmediately: true }
  )
  return { taken, fiber }
})

const within = (bytes: number, expected: number, share: number, what: string) => {
  assert.isAtLeast(bytes, expected * (1 - share), what)
  assert.isAtMost(bytes, expected * (1 + share), what)
}

describe("LocalFlow", () => {
  for (const rate of [1, 1000, 12_345, 1_000_000, 100_000_000]) {
    it.effect(`lets ${rate} bytes a second pass, to 5 % over 10 seconds`, () =>
      Effect.gen(function*() {
        const flow = yield* flowOf(rate)
        const { taken } = yield* taker(flow)
        // In steps, so that all that is due in one has run before the next.
        for (let i = 0; i < 10_000; i++) yield* Effect.andThen(TestClock.adjust(1), Effect.yieldNow)
        within(taken.bytes, rate * 10, rate === 1 ? 0.1 : 0.05, "in 10 seconds")
      }))
  }

  it.effect("gives each of those who wait the same, however many they are", () =>
    Effect.gen(function*() {
      const flow = yield* flowOf(1_000_000)
      const takers = yield* Effect.forEach(Array.from({ length: 10 }), () => taker(flow))
      yield* TestClock.adjust(60_000)
      const bytes = takers.map(({ taken }) => taken.bytes)
      within(bytes.reduce((a, b) => a + b), 60_000_000, 0.05, "together")
      for (const one of bytes) within(one, 6_000_000, 0.05, `one of ${bytes}`)
    }))

  it.effect("goes on with the others when one that waits is interrupted", () =>
    Effect.gen(function*() {
      const flow = yield* flowOf(1000)
      const takers = yield* Effect.forEach(Array.from({ length: 3 }), () => taker(flow))
      yield* TestClock.adjust(1000)
      yield* Effect.forEach(takers.slice(0, 2), ({ fiber }) => Fiber.interrupt(fiber))
      const before = takers[2]?.taken.bytes ?? 0
      yield* TestClock.adjust(10_000)
      within((takers[2]?.taken.bytes ?? 0) - before, 10_000, 0.05, "the last one")
    }))

  it.effect("lets more than it ever has at once pass in parts", () =>
    Effect.gen(function*() {
      const flow = yield* flowOf(1000)
      const fiber = yield* Effect.forkChild(flow.take(1100), { startImmediately: true })
      yield* TestClock.adjust(999)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("goes on at another rate with those who wait", () =>
    Effect.gen(function*() {
      const flow = yield* flowOf(1000)
      const { taken } = yield* taker(flow)
      yield* TestClock.adjust(10_000)
      flow.change(...bandwidth(50_000))
      const before = taken.bytes
      yield* TestClock.adjust(10_000)
      within(taken.bytes - before, 500_000, 0.05, "at the new rate")
    }))

  it.effect("lets datagrams pass beside those who wait, like one more of them", () =>
    Effect.gen(function*() {
      const flow = yield* flowOf(1_000_000)
      const { taken } = yield* taker(flow, 10_000)
      let datagrams = 0
      for (let i = 0; i < 10_000; i++) {
        if (flow.tryTake(1000)) datagrams += 1000
        yield* TestClock.adjust(1)
      }
      within(datagrams + taken.bytes, 10_000_000, 0.05, "together")
      assert.isAtLeast(taken.bytes, 1_000_000)
      assert.isAtLeast(datagrams, 1_000_000)
    }))

  it.effect("drops datagrams above the rate", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const flow = new LocalFlow({ count: 100, per: 1000 }, 100, clock)
      let passed = 0
      for (let i = 0; i < 10_000; i++) {
        if (flow.tryTake(1)) passed++
        yield* TestClock.adjust(1)
      }
      assert.isAtLeast(passed, 1000)
      assert.isAtMost(passed, 1100)
      assert.isFalse(flow.isFull())
      yield* TestClock.adjust(1000)
      assert.isTrue(flow.isFull())
    }))
})
