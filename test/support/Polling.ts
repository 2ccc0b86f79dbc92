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
