/** Bytes both ways between two connections. */
import * as Channel from "effect/Channel"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
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

const send = (to: Connection, bytes: Uint8Array, observer: Observer): Effect.Effect<void, ConnectionError> =>
  Effect.map(to.write(bytes), () => observer.delivered())

/**
 * One direction: a Stream of what `from` sends, pulled into `to` by one loop.
 * Its end is passed on as a half-close. Each chunk has gone out before the next
 * is asked for, which is the back-pressure, and lets the transport use its
 * buffer again.
 */
const pump = (scope: Scope.Scope, from: Connection, to: Connection, direction: Direction, observer: Observer) =>
  Effect.flatMap(
    // `Stream.toPull` with the scope at hand: looking it up costs more than the rest of setting a stream up.
    Channel.toPullScoped(Stream.toChannel(Stream.fromPull(Effect.succeed(from.pull))), scope),
    (pull) =>
      Effect.forever(
        Effect.flatMap(pull, ([bytes]) => {
          observer.moved(direction, bytes.length)
          return send(to, bytes, observer)
        }),
        { disableYield: true }
      )
  ).pipe(Pull.catchDone(() => {
    observer.halfClosed()
    return to.end
  }))

/**
 * Relays until both directions have ended, or one has failed; `early` goes first.
 *
 * The two directions are raced for their first failure: it resets both
 * connections, which ends the other direction too, and tells both peers that
 * what they got was cut rather than finished. Interruption stops both.
 *
 * The race is written out, since one direction can run in the caller's own
 * fiber: that leaves each idle connection with two fibers instead of three.
 */
export const relay = Effect.fnUntraced(function*(
  client: Connection,
  target: Connection,
  early: Early,
  observer: Observer
): Effect.fn.Return<void, RelayError, Scope.Scope> {
  const scope = yield* Effect.scope
  let first: RelayError | undefined
  const cut = (error: ConnectionError) =>
    Effect.suspend(() => {
      first ??= new RelayError({ side: client.failure === undefined ? "target" : "client", error })
      return Effect.andThen(Effect.andThen(client.reset, target.reset), Effect.fail(first))
    })
  // In the session's scope, which interrupts it before it closes the sockets that were opened earlier.
  const up = yield* Effect.forkIn(
    Effect.catch(Effect.andThen(sendEarly(target, early, observer), pump(scope, client, target, "up", observer)), cut),
    scope,
    { startImmediately: true }
  )
  yield* Effect.catch(pump(scope, target, client, "down", observer), cut)
  yield* Fiber.join(up)
})

const sendEarly = (target: Connection, early: Early, observer: Observer): Effect.Effect<void, ConnectionError> =>
  Effect.suspend(() => {
    const bytes = early.takeRest()
    if (bytes.length === 0) return Effect.void
    observer.moved("up", bytes.length)
    return send(target, bytes, observer)
  })
