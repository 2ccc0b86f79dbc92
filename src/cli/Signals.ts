/** SIGTERM and SIGINT: the first asks, the second insists. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as os from "node:os"

const signals = ["SIGTERM", "SIGINT"] as const

export type Termination = typeof signals[number]

/**
 * From here until the scope closes, the first signal completes the effect that
 * is returned, and a second one ends the process at once with 128 + its number.
 */
export const termination = Effect.gen(function*() {
  const first = yield* Deferred.make<Termination>()
  const onSignal = (signal: Termination) => {
    if (!Deferred.doneUnsafe(first, Effect.succeed(signal))) process.exit(128 + os.constants.signals[signal])
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => signals.forEach((signal) => process.on(signal, onSignal))),
    () => Effect.sync(() => signals.forEach((signal) => process.off(signal, onSignal)))
  )
  return Deferred.await(first)
})
