import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { TokenBucket } from "../../src/policy/TokenBucket.ts"

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Step = Schema.Struct({ pause: between(0, 400), wanted: between(1, 300) })

describe("TokenBucket", () => {
  it.prop(
    "never gives more than its rate over any window",
    [between(1, 5000), between(1, 3000), between(1, 400), Schema.Array(Step)],
    ([count, per, burst, steps]) => {
      let now = 0
      const bucket = new TokenBucket({ count, per }, burst, now)
      const taken: Array<readonly [at: number, tokens: number]> = []
      for (const { pause, wanted } of steps) {
        now += pause
        if (bucket.take(wanted, now)) taken.push([now, wanted])
      }
      taken.forEach(([from], first) => {
        let sum = 0
        for (const [to, tokens] of taken.slice(first)) {
          sum += tokens
          // In whole numbers, so that there is no tolerance.
          assert.isAtMost(sum * per, burst * per + count * (to - from), `from ${from} to ${to}`)
        }
      })
    }
  )

  it.prop(
    "has what was wanted after the wait that it names, and not a millisecond before",
    [between(1, 5000), between(1, 3000), between(1, 400), between(1, 400)],
    ([count, per, burst, wanted]) => {
      const bucket = new TokenBucket({ count, per }, burst, 0)
      assert.isTrue(bucket.take(burst, 0))
      const wait = bucket.wait(wanted, 0)
      if (wanted > burst) return assert.strictEqual(wait, Infinity)
      assert.isFalse(bucket.take(wanted, wait - 1))
      assert.isTrue(bucket.take(wanted, wait))
    }
  )

  it("gives its rate, and once its burst", () => {
    const bucket = new TokenBucket({ count: 1000, per: 1000 }, 100, 0)
    let sum = 0
    for (let now = 0; now <= 10_000; now += 7) if (bucket.take(7, now)) sum += 7
    assert.isAtLeast(sum, 10_000)
    assert.isAtMost(sum, 10_100)
  })

  it("takes back what was not used, up to its burst", () => {
    const bucket = new TokenBucket({ count: 1, per: 1000 }, 10, 0)
    assert.isTrue(bucket.take(10, 0))
    bucket.giveBack(4)
    assert.isFalse(bucket.take(5, 0))
    assert.isTrue(bucket.take(4, 0))
    bucket.giveBack(40)
    assert.isTrue(bucket.isFull(0))
    assert.isFalse(bucket.take(11, 0))
  })

  it("is not stopped by a clock that is set back", () => {
    const bucket = new TokenBucket({ count: 10, per: 1000 }, 10, 1_000_000)
    assert.isTrue(bucket.take(10, 1_000_000))
    assert.strictEqual(bucket.wait(10, 0), 1000)
    assert.isTrue(bucket.take(10, 1000))
  })

  it("goes on at another rate", () => {
    const bucket = new TokenBucket({ count: 10, per: 1000 }, 10, 0)
    bucket.change({ count: 100, per: 60_000 }, 5, 0)
    assert.isTrue(bucket.take(5, 0))
    assert.strictEqual(bucket.wait(5, 0), 3000)
  })
})
