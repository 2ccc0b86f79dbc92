/**
 * Logins that were found right a moment ago, so that the next ones need no hashing.
 *
 * What is remembered is a keyed hash of the login, under a key of this process: never the password, and nothing that
 * another process could make use of. What it was compared with is a part of it, so that nothing outlives its change.
 * Failures are forgotten at once.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { hash, randomBytes } from "node:crypto"
import { Recent } from "./Recent.ts"

export interface Options {
  /** Default: 1 minute. 0 = nothing is remembered. */
  readonly timeToLive?: Duration.Input | undefined
  /** Logins that are remembered; of more, those that were asked for longest ago are forgotten. Default: 10,000. */
  readonly capacity?: number | undefined
}

/** A login that was right. */
export interface Verified<A> {
  readonly value: A
  /** Milliseconds for which it may be remembered at most. */
  readonly timeToLive?: number | undefined
}

export interface VerifiedLogins<A> {
  /** What a login is remembered under. */
  readonly keyOf: (login: ReadonlyArray<string>) => string
  /** What is known of a login at a time in milliseconds. */
  readonly recall: (key: string, now: number) => A | undefined
  /**
   * What `verify` finds, which is remembered: `undefined` when it is wrong. Those who ask for the same login at the same
   * time share one verification, which is interrupted when nobody waits for it any more.
   */
  readonly find: <E>(
    key: string,
    verify: Effect.Effect<Verified<A> | undefined, E>
  ) => Effect.Effect<A | undefined, E>
  readonly size: () => number
}

interface Remembered<A> {
  readonly value: A
  readonly until: number
}

interface Running {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  waiting: number
}

/**
 * A hash behind a key. HMAC's second hash keeps those who see a hash from making that of a longer text: nobody sees these.
 * `createHmac` takes twenty times as long in a process that is busy with other things, a tenth of a whole connection.
 */
const makeKeyedHash = (): (text: string) => string => {
  // 64 characters, a block of SHA-256.
  const key = randomBytes(32).toString("hex")
  return (text) => hash("sha256", key + text, "base64")
}

export const make = <A>({ capacity = 10_000, timeToLive = "1 minute" }: Options = {}): VerifiedLogins<A> => {
  const keyedHash = makeKeyedHash()
  const longest = Duration.toMillis(Duration.fromInputUnsafe(timeToLive))
  const remembered = new Recent<Remembered<A>>(capacity)
  const running = new Map<string, Running>()

  const remember = (key: string, { timeToLive = longest, value }: Verified<A>, now: number): void => {
    const millis = Math.min(longest, timeToLive)
    if (millis <= 0 || capacity <= 0) return
    remembered.set(key, { value, until: now + millis })
  }

  const leave = (key: string, run: Running): Effect.Effect<void> =>
    Effect.suspend(() => {
      run.waiting--
      if (run.waiting > 0) return Effect.void
      if (running.get(key) === run) running.delete(key)
      // It may be in the middle of what can't be interrupted: nobody waits for that.
      run.fiber.interruptUnsafe()
      return Effect.void
    })

  return {
    keyOf: (login) => {
      let text = ""
      // Each part with its length, so that no two logins are the same text.
      for (const part of login) text += `${part.length}:${part}`
      return keyedHash(text)
    },
    recall: (key, now) => {
      const known = remembered.get(key)
      if (known === undefined) return undefined
      if (now >= known.until) {
        remembered.delete(key)
        return undefined
      }
      // The order is of use only where something will have to be forgotten soon.
      if (remembered.size * 2 > capacity) remembered.set(key, known)
      return known.value
    },
    find: <E>(key: string, verify: Effect.Effect<Verified<A> | undefined, E>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          let run = running.get(key)
          if (run === undefined) {
            const fiber = yield* Effect.forkDetach(
              Effect.interruptible(Effect.flatMap(verify, (verified) =>
                Effect.map(Clock.currentTimeMillis, (now) => {
                  if (verified !== undefined) remember(key, verified, now)
                  return verified?.value
                })))
            )
            const started: Running = { fiber, waiting: 0 }
            run = started
            running.set(key, started)
            fiber.addObserver(() => {
              if (running.get(key) === started) running.delete(key)
            })
          }
          run.waiting++
          // The same login has the same kind of verification: what fails there fails as it would here.
          const fiber = run.fiber as Fiber.Fiber<A | undefined, E>
          return yield* Effect.ensuring(restore(Fiber.join(fiber)), leave(key, run))
        })
      ),
    size: () => remembered.size
  }
}
