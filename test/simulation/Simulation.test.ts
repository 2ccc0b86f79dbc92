import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { describeRoute } from "./HandshakePlan.ts"
import { check } from "./Invariants.ts"
import { type Observed, run } from "./World.ts"

/** Schedules: 300, or `SLUICE_SIMULATION_RUNS`. */
const runs = Number(process.env["SLUICE_SIMULATION_RUNS"] ?? 300)

/** Runs this one alone. */
const only = process.env["SLUICE_SIMULATION_SEED"]

const describePlan = ({ clients, events, ...plan }: Observed["plan"]): string =>
  [
    JSON.stringify(plan),
    ...clients.map(({ at, handshake, route, side }, i) =>
      `client ${i} at ${at} ms, ${handshake.fault}${handshake.optimistic ? ", optimistic" : ""}: ${
        describeRoute(route)
      }; ` +
      `${side.payload.length} bytes, then ${side.finish}`
    ),
    ...events.map(({ after, what }) => `${what} after ${after} ms`)
  ].join("\n")

/** Runs a schedule, and fails with all that is needed to run it again. */
const verify = Effect.fnUntraced(function*(seed: number) {
  // A few milliseconds of virtual hours. One that hangs can't be interrupted either: it is left behind.
  const running = yield* Effect.forkDetach(run(seed))
  const observed = yield* Effect.timeoutOrElse(Fiber.join(running), {
    duration: "30 seconds",
    orElse: () => Effect.die(new Error(`SLUICE_SIMULATION_SEED=${seed}: hangs`))
  })
  yield* Effect.try({
    try: () => check(observed),
    catch: (cause) => {
      const message = cause instanceof Error ? cause.message : String(cause)
      const story = [describePlan(observed.plan), ...observed.trace.slice(-60)].join("\n")
      return new Error(`SLUICE_SIMULATION_SEED=${seed}: ${message}\n${story}`, { cause })
    }
  })
})

describe("Simulation", () => {
  it.live(
    only === undefined ? `holds in ${runs} random schedules` : `holds in the schedule of seed ${only}`,
    () =>
      Effect.gen(function*() {
        const first = yield* Random.nextIntBetween(0, 2 ** 31)
        const seeds = only === undefined ? Array.from({ length: runs }, (_, i) => first + i) : [Number(only)]
        for (const seed of seeds) yield* verify(seed)
        assert.isAbove(seeds.length, 0)
      }),
    600_000
  )

  it.live("runs the same schedule again for the same seed", () =>
    Effect.gen(function*() {
      for (let seed = 1; seed <= 10; seed++) {
        const [once, again] = [yield* run(seed), yield* run(seed)]
        assert.deepStrictEqual(again.trace, once.trace)
        assert.deepStrictEqual(again.records, once.records)
      }
    }))
})
