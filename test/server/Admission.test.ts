import { assert, describe, it } from "@effect/vitest"
import * as Admission from "../../src/server/Admission.ts"

const admission = (options: { readonly maxConnections: number; readonly openFiles: number }) => {
  const state = { running: 0, now: 0 }
  const warnings: Array<string> = []
  const made = Admission.make({
    openFiles: options.openFiles,
    maxConnections: () => options.maxConnections,
    running: () => state.running,
    now: () => state.now,
    warn: (message) => warnings.push(message)
  })
  return { ...made, state, warnings }
}

describe("Admission", () => {
  it("admits up to the limit of connections, and counts those beyond it", () => {
    const { admit, refused, state, warnings } = admission({ maxConnections: 2, openFiles: 1000 })
    assert.isTrue(admit(20))
    state.running = 1
    assert.isTrue(admit(22))
    state.running = 2
    assert.deepStrictEqual([admit(24), admit(24)], [false, false])
    assert.strictEqual(refused(), 2)
    state.running = 1
    assert.isTrue(admit(24))
    assert.deepStrictEqual(warnings, ["turned 1 client away so far: 2 connections are open; see --max-connections"])
  })

  it("keeps some descriptors for targets: an eighth of few, 64 of many", () => {
    for (const [openFiles, last] of [[64, 55], [1024, 959], [20_000, 19_935]] as const) {
      const { admit, refused, warnings } = admission({ maxConnections: 1_000_000, openFiles })
      assert.isTrue(admit(last))
      assert.isTrue(admit(), "a transport without descriptors")
      assert.isFalse(admit(last + 1))
      assert.strictEqual(refused(), 1)
      assert.deepStrictEqual(warnings, [
        `turned 1 client away so far: ${openFiles} open files are the limit; raise it (ulimit -n), or lower --max-connections`
      ])
    }
  })

  it("warns once in 10 seconds, with the number of all", () => {
    const { admit, failed, state, warnings } = admission({ maxConnections: 1, openFiles: 1000 })
    state.running = 1
    for (let i = 0; i < 500; i++) admit(20)
    state.now = 9_999
    failed("ENOBUFS")
    assert.strictEqual(warnings.length, 1)
    state.now = 10_000
    admit(20)
    assert.match(warnings[1] ?? "", /^turned 501 clients away so far/)
    state.now = 20_000
    failed("ENOBUFS")
    assert.strictEqual(warnings[2], "can't accept clients: ENOBUFS")
  })
})
