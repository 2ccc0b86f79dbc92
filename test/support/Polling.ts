/** Waiting for what nobody announces. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** Whether a condition comes true within a limit; default: 1 second. It is looked at every 10 ms. */
export const within = (condition: Effect.Effect<boolean>, limit: Duration.Input = "1 second"): Effect.Effect<boolean> =>
  condition.pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced(10) }),
    Effect.timeoutOrElse({ duration: limit, orElse: () => condition })
  )

/** Whether a value stops to change, for 300 ms, within 10 seconds. */
export const comesToRest = (value: () => number | string): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    let before: number | string | undefined
    const same = Effect.sync(() => {
      const now = value()
      const same = now === before
      before = now
      return same
    })
    return within(Effect.delay(same, 300), "10 seconds")
  })
