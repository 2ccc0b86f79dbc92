import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { connectThrough } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const count = 2000

describe("thousands of connections", () => {
  it.live("through 2 workers at once: all established, all echo, none lost", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const proxy = yield* Cli.serve({ args: ["--workers", "2", "--log-level", "warn"] })
      const clients = yield* Effect.forEach(
        Array.from({ length: count }),
        () => connectThrough(proxy.port, target.port),
        { concurrency: 64 }
      )
      // The system connects before the target hears of it.
      assert.isTrue(yield* within(Effect.sync(() => target.open.size === count), "5 seconds"))
      for (const round of ["first", "again"]) {
        const answers = yield* Effect.forEach(clients, (client, index) => {
          const message = `${round} ${index}`
          return Effect.map(
            Effect.andThen(client.send(message), client.read(message.length)),
            (bytes) => bytes.toString() === message
          )
        }, { concurrency: 64 })
        assert.strictEqual(answers.filter((right) => right).length, count)
      }
      assert.strictEqual(target.open.size, count)
      assert.strictEqual(proxy.stderr(), "")
    }))
})
