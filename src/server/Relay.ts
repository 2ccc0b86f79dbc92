/** Bytes both ways between two connections. */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constTrue, constVoid } from "effect/Function"
import type * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection, ConnectionError, Send } from "../transport/Connection.ts"

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

type Pulled = Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, ConnectionError>

/**
 * What a connection sends, as a Stream that is run by its pull. `Stream.toPull` with the scope at hand: looking it up
 * costs more than the rest of setting a stream up.
 */
const incoming = (scope: Scope.Scope, from: Connection): Effect.Effect<Pulled> =>
  Channel.toPullScoped(Stream.toChannel(Stream.fromPull(Effect.succeed(from.pull))), scope)

/**
 * One direction, as one loop. Each chunk has gone out before the next is asked for, which is the back-pressure, and
 * lets the transport use its buffer again. What can go out at once goes while the loop waits.
 */
const pump = (from: Connection, pull: Pulled, to: Connection, direction: Direction, observer: Observer) => {
  const delivered = () => observer.delivered()
  const send: Send = (bytes) => {
    observer.moved(direction, bytes.length)
    const rest = to.send(bytes)
    if (rest !== undefined) return Effect.map(rest, delivered)
    observer.delivered()
    return undefined
  }
  from.onward = send
  const forward = Effect.flatMap(pull, ([bytes]) => send(bytes) ?? Effect.void)
  return Effect.whileLoop({ while: constTrue, body: () => forward, step: constVoid })
}

/**
 * Relays until both directions have ended, or one has failed; `early` goes first. Then both connections are the
 * caller's to close.
 *
 * The streams are set up before the race, so that what they are made of can go while their pulls wait: it would be a
 * tenth of an idle connection's memory.
 */
export const relay = (
  client: Connection,
  target: Connection,
  early: Early,
  observer: Observer
): Effect.Effect<void, RelayError, Scope.Scope> =>
  Effect.flatMap(
    Effect.scope,
    (scope) =>
      Effect.flatMap(incoming(scope, client), (fromClient) =>
        Effect.flatMap(incoming(scope, target), (fromTarget) =>
          race(client, target, fromClient, fromTarget, early, observer)))
  )

/**
 * The end of one direction is passed on as a half-close. The two are raced for their first failure: it resets both
 * connections, which ends the other direction too, and tells both peers that what they got was cut rather than
 * finished. Interruption stops both.
 *
 * The race is written out, since one direction can run in the caller's own
 * fiber: that leaves each idle connection with two fibers instead of three.
 */
const race = (
  client: Connection,
  target: Connection,
  fromClient: Pulled,
  fromTarget: Pulled,
  early: Early,
  observer: Observer
): Effect.Effect<void, RelayError> => {
  let failure: RelayError | undefined
  let halfClosed = false
  /** How a direction ends: with the stream, or with both connections. */
  const finish = (
    to: Connection,
    cause: Cause.Cause<ConnectionError | Cause.Done>
  ): Effect.Effect<void, RelayError> => {
    const found = Cause.findError(cause)
    if (Result.isFailure(found)) return Effect.failCause(found.failure)
    const error = found.success
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
  let up: Fiber.Fiber<void, RelayError> | undefined
  return Effect.onExit(
    Effect.withFiber((fiber) => {
      const upward = sendEarly(target, early, observer, pump(client, fromClient, target, "up", observer))
      const running = Effect.runForkWith(fiber.context)(Effect.catchCause(upward, (cause) => finish(target, cause)))
      up = running
      const downward = pump(target, fromTarget, client, "down", observer)
      return Effect.flatMap(
        Effect.catchCause(downward, (cause) => finish(client, cause)),
        () => Fiber.join(running)
      )
    }),
    (exit) => {
      client.onward = target.onward = undefined
      return Exit.isSuccess(exit) || up === undefined ? Effect.void : Fiber.interrupt(up)
    }
  )
}

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
