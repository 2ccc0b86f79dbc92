import { assert, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Deadlines from "../../src/server/Deadlines.ts"

const entry = (expire: Deadlines.Deadline["expire"]): Deadlines.Deadline => ({ due: 0, place: -1, expire })

it.effect("expires each at its millisecond, in order", () =>
  Effect.gen(function*() {
    const deadlines = yield* Deadlines.make
    const fired: Array<[string, number]> = []
    const named = (name: string) =>
      entry((now) => {
        fired.push([name, now])
        return undefined
      })
    deadlines.set(named("c"), 300)
    deadlines.set(named("a"), 100)
    deadlines.set(named("b"), 200)
    yield* TestClock.adjust(99)
    assert.deepStrictEqual(fired, [])
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(fired, [["a", 100]])
    // One that is due before the one the timer sleeps for.
    deadlines.set(named("early"), 150)
    yield* TestClock.adjust(50)
    assert.deepStrictEqual(fired, [["a", 100], ["early", 150]])
    yield* TestClock.adjust(1000)
    assert.deepStrictEqual(fired.map(([name]) => name), ["a", "early", "b", "c"])
    assert.strictEqual(deadlines.size(), 0)
  }))

it.effect("asks again later when it is told to, and never once it was cleared", () =>
  Effect.gen(function*() {
    const deadlines = yield* Deadlines.make
    const asked: Array<number> = []
    const renewed = entry((now) => {
      asked.push(now)
      return asked.length < 3 ? now + 10 : undefined
    })
    const cleared = entry(() => assert.fail("it was cleared"))
    deadlines.set(renewed, 10)
    deadlines.set(cleared, 15)
    deadlines.clear(cleared)
    deadlines.clear(cleared)
    yield* TestClock.adjust(100)
    assert.deepStrictEqual(asked, [10, 20, 30])
  }))

it.effect("agrees with a sorted list, whatever is entered, moved and cleared", () =>
  Effect.gen(function*() {
    const Step = Schema.Struct({
      entry: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 })),
      due: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 50 })),
      clear: Schema.Boolean
    })
    const result = yield* Arbitrary.checkEffect(
      Arbitrary.schema(Schema.Array(Step)),
      (steps) =>
        Effect.scoped(Effect.gen(function*() {
          const start = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
          const deadlines = yield* Deadlines.make
          const fired: Array<string> = []
          const model = new Map<number, number>()
          const entries = Array.from({ length: 8 }, (_, i) =>
            entry((now) => {
              fired.push(`${now - start}:${i}`)
              return undefined
            }))
          for (const step of steps) {
            const target = entries[step.entry]
            if (target === undefined) continue
            if (step.clear) {
              model.delete(step.entry)
              deadlines.clear(target)
            } else {
              model.set(step.entry, step.due)
              deadlines.set(target, start + step.due)
            }
          }
          if (deadlines.size() !== model.size) return false
          yield* TestClock.adjust(60)
          const expected = [...model].map(([i, due]) => `${due}:${i}`).sort()
          return JSON.stringify(fired.toSorted()) === JSON.stringify(expected)
        })),
      { runs: 300 }
    )
    assert.strictEqual(result._tag, "Passed", JSON.stringify(result))
  }))
