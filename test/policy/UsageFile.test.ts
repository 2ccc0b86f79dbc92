import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as NetAddress from "effect/net/NetAddress"
import * as TestClock from "effect/testing/TestClock"
import { existsSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { LimitSet } from "../../src/policy/Limit.ts"
import type { Who } from "../../src/policy/LimitStore.ts"
import * as MemoryLimits from "../../src/policy/MemoryLimits.ts"

const ann: Who = { user: "ann", client: NetAddress.ipFromStringUnsafe("192.0.2.1") }

const set: LimitSet = { user: { bytesPerDay: 1000, bytesPerMonth: 1500 } }

const noon = Date.UTC(2026, 10, 25, 12)

const file = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "sluice-usage-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
).pipe(Effect.map((folder) => join(folder, "usage.json")))

/** What is logged while it runs. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => void lines.push(String(message)))
  return Effect.map(Effect.provide(effect, Logger.layer([logger])), (value) => [value, lines] as const)
}

/** One run of a server, in which so many bytes are used. Gives the words with which one is refused at the start. */
const run = (stateFile: string, bytes: number, limits = set) =>
  Effect.scoped(Effect.gen(function*() {
    const store = yield* MemoryLimits.make(limits, { stateFile })
    const result = yield* Effect.result(store.admit(ann, () => {}))
    if (result._tag === "Failure") return result.failure.message
    result.success.used(bytes)
    return undefined
  }))

describe("UsageFile", () => {
  it.effect("keeps what was used over a restart", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const path = yield* file
      assert.isUndefined(yield* run(path, 400))
      assert.isUndefined(yield* run(path, 599))
      assert.isUndefined(yield* run(path, 1))
      const words = "quota: user ann has used up 1kB a day, more from 2026-11-26 (UTC)"
      assert.strictEqual(yield* run(path, 0), words)
      assert.strictEqual(yield* run(path, 0), words)
      // Only the owner may know what others do.
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.isFalse(existsSync(`${path}.tmp`))
      yield* TestClock.setTime(noon + 86_400_000)
      assert.isUndefined(yield* run(path, 500))
      assert.strictEqual(
        yield* run(path, 0),
        "quota: user ann has used up 1.5kB a month, more from 2026-12-01 (UTC)"
      )
      yield* TestClock.setTime(Date.UTC(2026, 11, 1))
      assert.isUndefined(yield* run(path, 0))
    }))

  it.effect("keeps what holds for nobody at the moment", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const path = yield* file
      yield* run(path, 1000)
      yield* run(path, 1000, { client: { bytesPerDay: 5000 } })
      assert.match((yield* run(path, 0)) ?? "", /^quota: user ann/)
    }))

  it.live("is written every few seconds", () =>
    Effect.gen(function*() {
      const path = yield* file
      yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* MemoryLimits.make(set, { stateFile: path })
        const lease = yield* store.admit(ann, () => {})
        lease.used(7)
        assert.isFalse(existsSync(path))
        for (let i = 0; i < 80 && !existsSync(path); i++) yield* Effect.sleep(100)
        const { used: [used], version } = JSON.parse(readFileSync(path, "utf8"))
        assert.strictEqual(version, 1)
        assert.include(used, { kind: "user", name: "ann", day: 7, month: 7 })
      }))
    }), 10_000)

  it.effect("puts a damaged file aside", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const path = yield* file
      for (
        const text of ["", "{", "{\"version\":2,\"used\":[]}", "{\"version\":1,\"used\":[{\"kind\":\"user\"}]}"]
      ) {
        writeFileSync(path, text)
        const [refused, lines] = yield* logged(run(path, 1000))
        assert.isUndefined(refused)
        assert.deepStrictEqual(lines, [
          `the usage file is damaged and was renamed to ${path}.damaged; usage is counted from 0`
        ])
        assert.strictEqual(readFileSync(`${path}.damaged`, "utf8"), text)
        assert.match((yield* run(path, 0)) ?? "", /^quota: user ann/)
      }
    }))

  it.effect("leaves somebody else's file alone", () =>
    Effect.gen(function*() {
      const path = yield* file
      for (const text of ["[]", "listen: 127.0.0.1:1080\n", "{\"a\":1}"]) {
        writeFileSync(path, text)
        const [refused, lines] = yield* logged(run(path, 1000))
        assert.isUndefined(refused)
        assert.deepStrictEqual(lines, [
          "there is another file where usage was to be kept; a restart will forget what was used"
        ])
        assert.strictEqual(readFileSync(path, "utf8"), text)
        assert.isFalse(existsSync(`${path}.damaged`))
      }
    }))

  it.effect("can be another one, and counts nothing twice", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(noon)
      const [first, second] = [yield* file, yield* file]
      yield* Effect.scoped(Effect.gen(function*() {
        const store = yield* MemoryLimits.make(set, { stateFile: first })
        const lease = yield* store.admit(ann, () => {})
        lease.used(600)
        yield* store.keepIn(second)
        assert.include(readFileSync(first, "utf8"), "600")
        lease.used(100)
        // It is there already, with less.
        yield* store.keepIn(first)
        assert.include(readFileSync(second, "utf8"), "700")
        yield* store.keepIn(undefined)
        yield* store.keepIn(second)
      }))
      assert.isUndefined(yield* run(second, 299))
      assert.isUndefined(yield* run(second, 1))
      assert.match((yield* run(second, 0)) ?? "", /^quota: user ann/)
    }))

  it.effect("is tried when it becomes the one", () =>
    Effect.gen(function*() {
      const path = yield* file
      const [, lines] = yield* logged(Effect.scoped(Effect.gen(function*() {
        const store = yield* MemoryLimits.make(set)
        yield* store.keepIn(join(path, "no-folder"))
      })))
      assert.deepStrictEqual(lines, ["can't write the usage file; a restart will forget what was used"])
    }))

  it.effect("is no reason not to run", () =>
    Effect.gen(function*() {
      const path = yield* file
      mkdirSync(path)
      const [refused, lines] = yield* logged(run(path, 10))
      assert.isUndefined(refused)
      assert.deepStrictEqual(lines, ["the usage file is no regular file; a restart will forget what was used"])
      assert.isTrue(statSync(path).isDirectory())
    }))

  it.effect("is found behind a link, which stays", () =>
    Effect.gen(function*() {
      const path = yield* file
      symlinkSync("real.json", path)
      writeFileSync(join(path, "..", "real.json"), JSON.stringify({ version: 1, used: [] }))
      yield* run(path, 10)
      assert.isTrue(lstatSync(path).isSymbolicLink())
      assert.include(readFileSync(path, "utf8"), "ann")
    }))
})
