/** Bytes both ways between two connections. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
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
  /** Bytes on their way to the target (`up`) or to the client (`down`). */
  moved(direction: Direction, bytes: number): void
  /** One direction has reached its end of stream; the other goes on. */
  halfClosed(): void
}

/**
 * One direction: a Stream of what `from` sends, run into `to`. Its end is passed
 * on as a half-close. Each chunk has gone out before the next is asked for,
 * which is the back-pressure, and lets the transport use its buffer again.
 */
const pump = (from: Connection, to: Connection, direction: Direction, observer: Observer) =>
  Stream.fromPull(Effect.succeed(from.pull)).pipe(
    Stream.runForEachArray(([bytes]) => {
      observer.moved(direction, bytes.length)
      return to.write(bytes)
    }),
    Effect.andThen(Effect.suspend(() => {
      observer.halfClosed()
      return to.end
    }))
  )

/**
 * Relays until both directions have ended, or one has failed.
 *
 * The two directions are raced for their first failure: it resets both
 * connections, which ends the other direction too, and tells both peers that
 * what they got was cut rather than finished. Interruption stops both.
 *
 * `early` gives up what the client sent with its request.
 *
 * The race is written out, since one direction can run in the caller's own
 * fiber: that leaves each idle connection with two fibers instead of three.
 */
export const relay = Effect.fnUntraced(function*(
  client: Connection,
  target: Connection,
  early: () => Uint8Array,
  observer: Observer
): Effect.fn.Return<void, RelayError> {
  let first: RelayError | undefined
  const cut = (error: ConnectionError) =>
    Effect.suspend(() => {
      first ??= new RelayError({ side: client.failure === undefined ? "target" : "client", error })
      return Effect.andThen(Effect.andThen(client.reset, target.reset), Effect.fail(first))
    })
  const up = yield* Effect.suspend(() => {
    const pumped = pump(client, target, "up", observer)
    const bytes = early()
    if (bytes.length === 0) return pumped
    observer.moved("up", bytes.length)
    return Effect.andThen(target.write(bytes), pumped)
  }).pipe(Effect.catch(cut), Effect.forkChild({ startImmediately: true }))
  yield* Effect.catch(pump(target, client, "down", observer), cut)
  yield* Fiber.join(up)
})
