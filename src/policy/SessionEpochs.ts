/**
 * How long a session of a user is the same one.
 *
 * All choices that stick to a session are made by hashing its tag. So a session that may go elsewhere gets another tag:
 * `7f3~kf2q`, and after a pause `7f3~kf2r`: the number is that of the stretch of time, as long as a session sticks, in
 * which it began. So processes that hear of it in the same stretch agree, and so does one that was started again.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Recent } from "./Recent.ts"

export interface SessionEpochs {
  /** The tag under which a user's session is known, which stays the same for `stickFor` after each use. */
  readonly tag: (user: string, session: string, stickFor: Duration.Input) => Effect.Effect<string>
}

interface Epoch {
  readonly began: number
  readonly until: number
}

/** In this process. Of more than `capacity` sessions, the one that was not used longest is forgotten. */
export const make = (capacity = 65_536): SessionEpochs => {
  const epochs = new Recent<Epoch>(capacity)
  return {
    tag: (user, session, stickFor) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const millis = Duration.toMillis(Duration.fromInputUnsafe(stickFor))
        const key = `${user}+${session}`
        const known = epochs.get(key)
        const began = known !== undefined && now < known.until ? known.began : Math.floor(now / Math.max(1, millis))
        epochs.set(key, { began, until: now + millis })
        return `${session}~${began.toString(36)}`
      })
  }
}
