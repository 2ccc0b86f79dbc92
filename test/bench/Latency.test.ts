import { assert, describe, it } from "@effect/vitest"
import { Latency } from "../../src/bench/Latency.ts"

const of = (...times: ReadonlyArray<number>): Latency => {
  const latency = new Latency()
  for (const ms of times) latency.record(ms)
  return latency
}

const at = (latency: Latency, wanted: number): number =>
  latency.percentiles().find(({ percentile }) => percentile === wanted)?.ms ?? Number.NaN

describe("Latency", () => {
  it("keeps three digits from a microsecond to minutes", () => {
    const latency = of(0.0004, 0.001, 1, 1.5, 100_000)
    assert.strictEqual(latency.count, 5)
    assert.strictEqual(at(latency, 0), 0.001)
    assert.closeTo(at(latency, 50), 1, 0.001)
    assert.closeTo(latency.maxMs, 100_000, 100)
  })

  it("merges what several processes have sent", () => {
    const times = Array.from({ length: 1_000 }, (_, index) => index + 1)
    const parts = [times.filter((ms) => ms % 2 === 0), times.filter((ms) => ms % 2 === 1), []]
    const merged = Latency.merge(parts.map((part) => of(...part).encode()))
    const whole = of(...times)
    assert.deepStrictEqual(merged.percentiles(), whole.percentiles())
    assert.strictEqual(merged.count, 1_000)
    assert.closeTo(at(merged, 99), 990, 1)
    assert.closeTo(merged.meanMs, 500.5, 1)
  })

  it("draws no percentile that no time lies above, but for the named", () => {
    const drawn = of(1, 2, 3, 4).percentiles().map(({ percentile }) => percentile)
    assert.deepStrictEqual(drawn, [0, 10, 20, 30, 40, 50, 60, 70, 75, 90, 99, 99.9])
  })

  it("forgets", () => {
    const latency = of(5)
    latency.reset()
    latency.record(1)
    assert.deepStrictEqual([latency.count, latency.maxMs], [1, 1])
  })
})
