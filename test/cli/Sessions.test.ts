/** Sessions that stick to where they go out from, in the program itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import { AU, probe } from "../support/RawClient.ts"
import { noting } from "../support/Targets.ts"

/** So many addresses that two sessions hardly ever have the same one. */
const text = (hash: string, workers: number) =>
  `listen: 127.0.0.1:0
workers: ${workers}
egress: [127.1.0.0/16]
egressBy: session
users: [{ name: ann, password: "${hash}" }]
userOptions: { session: { kind: session, stickFor: 3s } }
`

describe("a session", () => {
  for (const workers of [1, 2]) {
    it.live(`sticks as long as it is used, whichever of ${workers} workers it comes to, and not longer`, () =>
      Effect.gen(function*() {
        const origin = yield* noting
        const { from } = origin
        const folder = yield* Certificates.directory
        const path = join(folder, "sluice.yaml")
        writeFileSync(path, text(yield* PasswordHash.hash(Redacted.make("sesame")), workers))
        const proxy = yield* Cli.serve({ args: ["--config", path], inherits: 1 })
        const visits = (session: string, count: number) =>
          Effect.forEach(
            Array.from({ length: count }),
            () => probe(proxy.port, origin.port, AU(`ann+session-${session}`, "sesame"))
          )
        // Not so often that all workers have to hear of it at once, nor so seldom that it would be over.
        for (let i = 0; i < 5; i++) {
          assert.deepStrictEqual(yield* visits("a", 1), [true])
          yield* Effect.sleep("1 second")
        }
        assert.deepStrictEqual(yield* visits("a", 8), Array.from({ length: 8 }, () => true))
        assert.strictEqual(from.length, 13)
        assert.strictEqual(new Set(from).size, 1)
        yield* visits("b", 1)
        assert.notStrictEqual(from.at(-1), from[0])
        yield* Effect.sleep("3100 millis")
        yield* visits("a", 4)
        assert.notStrictEqual(from.at(-1), from[0])
        assert.strictEqual(new Set(from).size, 3)
      }))
  }
})
