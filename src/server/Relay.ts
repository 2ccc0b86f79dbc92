/** Bytes both ways between two connections. */
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constTrue } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection, ConnectionError } from "../transport/Connection.ts"

/** The relay was cut: one side's connection failed. */
export class RelayError extends Data.TaggedError("RelayError")<{
  readonly side: "client" | "target"
  readonly error: ConnectionError
}> {
  override get message(): string {
    return `${this.side} ${this.error.message}`
  }
}

export type Direction = "up" | "down"

/** What the relay tells while it runs. Called for every chunk: keep them cheap. */
export interface Observer {
  /** Bytes are on their way to the target (`up`) or to the client (`down`). */
  moved(direction: Direction, bytes: number): void
  /** They have gone out. */
  delivered(): void
  /** One direction has reached its end of stream; the other goes on. */
  halfClosed(): void
}

/** Where the bytes are that the client sent behind its request. */
export interface Early {
  takeRest(): Uint8Array
}

/**
 * One direction: a Stream of what `from` sends, pulled into `to` by one loop.
 * Its end is passed on as a half-close. Each chunk has gone out before the next
 * is asked for, which is the back-pressure, and lets the transport use its
 * buffer again.
 */
const pump = (scope: Scope.Scope, from: Connection, to: Connection, direction: Direction, observer: Observer) => {
  const delivered = () => observer.delivered()
  return Effect.flatMap(
    // `Stream.toPull` with the scope at hand: looking it up costs more than the rest of setting a stream up.
    Channel.toPullScoped(Stream.toChannel(Stream.fromPull(Effect.succeed(from.pull))), scope),
    (pull) => {
      const forward = Effect.flatMap(pull, ([bytes]) => {
        observer.moved(direction, bytes.length)
        return to.write(bytes)
      })
      return Effect.whileLoop({ while: constTrue, body: () => forward, step: delivered })
    }
  )
}

/**
 * Relays until both directions have ended, or one has failed; `early` goes first. Then both connections are the
 * caller's to close.
 *
 * The two directions are raced for their first failure: it resets both
 * connections, which ends the other direction too, and tells both peers that
 * what they got was cut rather than finished. Interruption stops both.
 *
 * The race is written out, since one direction can run in the caller's own
 * fiber: that leaves each idle connection with two fibers instead of three.
 */
export const relay = (
  client: Connection,
  target: Connection,
  early: Early,
  observer: Observer
): Effect.Effect<void, RelayError, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => {
    let failure: RelayError | undefined
    let halfClosed = false
    /** How a direction ends: with the stream, or with both connections. */
    const finish = (to: Connection) => (error: ConnectionError | Cause.Done): Effect.Effect<void, RelayError> => {
      if (error._tag === "Done") {
        // The close that follows the second end says as much, and costs less.
        if (halfClosed) return Effect.void
        halfClosed = true
        observer.halfClosed()
        return to.end
      }
      failure ??= new RelayError({ side: client.failure === undefined ? "target" : "client", error })
      return Effect.andThen(Effect.andThen(client.reset, target.reset), Effect.fail(failure))
    }
    const upward = Effect.catch(
      sendEarly(target, early, observer, pump(scope, client, target, "up", observer)),
      finish(target)
    )
    const downward = Effect.catch(pump(scope, target, client, "down", observer), finish(client))
    let up: Fiber.Fiber<void, RelayError> | undefined
    return Effect.onExit(
      Effect.withFiber((fiber) => {
        up = Effect.runForkWith(fiber.context)(upward)
        return Effect.andThen(downward, Fiber.join(up))
      }),
      (exit) => Exit.isSuccess(exit) || up === undefined ? Effect.void : Fiber.interrupt(up)
    )
  })

const sendEarly = <A, E>(
  target: Connection,
  early: Early,
  observer: Observer,
  rest: Effect.Effect<A, E>
): Effect.Effect<A, E | ConnectionError> => {
  const bytes = early.takeRest()
  if (bytes.length === 0) return rest
  observer.moved("up", bytes.length)
  return Effect.flatMap(target.write(bytes), () => {
    observer.delivered()
    return rest
  })
}
