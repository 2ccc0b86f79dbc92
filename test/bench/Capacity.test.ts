import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Capacity from "../../src/bench/Capacity.ts"

describe("Capacity", () => {
  it("takes as few processes as have room, on both sides", () => {
    const few = Capacity.processes({ connections: 10_000, openFiles: 20_000 })
    assert.deepStrictEqual(few, Result.succeed({ generators: 1, targets: 1 }))
    const more = Capacity.processes({ connections: 10_000, openFiles: 1_064 })
    assert.deepStrictEqual(more, Result.succeed({ generators: 10, targets: 10 }))
    const any = Capacity.processes({ connections: 1_000_000, openFiles: Infinity })
    assert.deepStrictEqual(any, Result.succeed({ generators: 1, targets: 1 }))
  })

  it("takes as many generators as are wanted", () => {
    const wanted = Capacity.processes({ connections: 100, generators: 3, openFiles: 1_024 })
    assert.deepStrictEqual(wanted, Result.succeed({ generators: 3, targets: 1 }))
  })

  it("says what would do, in one line", () => {
    const little = Capacity.processes({ connections: 100_000, openFiles: 1_064 })
    assert.deepStrictEqual(
      little,
      Result.fail(
        "--connections: 100000 need 100 generator processes, and as many targets, under an open-files limit of 1064, " +
          "but 32 are the most; give --connections 32000 or fewer, or raise the limit (ulimit -n 3189)"
      )
    )
    const raised = Capacity.processes({ connections: 100_000, openFiles: 3_189 })
    assert.deepStrictEqual(raised, Result.succeed({ generators: 32, targets: 32 }))
    const one = Capacity.processes({ connections: 2_000, generators: 1, openFiles: 1_064 })
    assert.include(Result.isFailure(one) ? one.failure : "", "or fewer, --generators 2, or raise the limit")
  })

  it("warns when the proxy has no room, at two descriptors a connection", () => {
    assert.isUndefined(Capacity.shortage(10_000, [20_000]))
    assert.include(Capacity.shortage(10_001, [20_000]) ?? "", "room for 10000 of 10001 connections")
    assert.isUndefined(Capacity.shortage(10_001, [20_000, 20_000]))
  })

  it("shares evenly, and loses nothing", () => {
    for (const [whole, parts] of [[10, 3], [2, 5], [7, 7], [0, 2]] as const) {
      const shares = Capacity.share(whole, parts)
      assert.lengthOf(shares, parts)
      assert.strictEqual(shares.reduce((sum, one) => sum + one, 0), whole)
      assert.isAtMost(Math.max(...shares) - Math.min(...shares), 1)
    }
  })
})
