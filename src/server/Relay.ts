/** Bytes both ways between two connections. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Connection, ConnectionError } from "../transport/Connection.ts"

/** What the relay tells while it runs. Called for every chunk: keep them cheap. */
export interface Observer {
  readonly up: (bytes: number) => void
  readonly down: (bytes: number) => void
  /** One direction has reached its end of stream; the other goes on. */
  readonly halfClosed: () => void
}

/**
 * One direction: a Stream of what `from` sends, run into `to`. Its end is passed
 * on as a half-close. Each chunk has gone out before the next is asked for,
 * which is the back-pressure, and lets the transport use its buffer again.
 */
const pump = (from: Connection, to: Connection, moved: (bytes: number) => void) =>
  Stream.fromPull(Effect.succeed(from.pull)).pipe(
    Stream.runForEachArray(([bytes]) => {
      moved(bytes.length)
      return to.write(bytes)
    }),
    Effect.andThen(to.end)
  )

/**
 * Relays until both directions have ended, or one has failed.
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
  early: Uint8Array,
  observer: Observer
): Effect.fn.Return<void, ConnectionError> {
  let first: ConnectionError | undefined
  const cut = (error: ConnectionError) => {
    first ??= error
    return Effect.andThen(Effect.andThen(client.reset, target.reset), Effect.fail(first))
  }
  const up = yield* Effect.suspend(() => {
    if (early.length === 0) return pump(client, target, observer.up)
    observer.up(early.length)
    return Effect.andThen(target.write(early), pump(client, target, observer.up))
  }).pipe(
    Effect.andThen(Effect.sync(observer.halfClosed)),
    Effect.catch(cut),
    Effect.forkChild({ startImmediately: true })
  )
  yield* Effect.catch(pump(target, client, observer.down), cut)
  observer.halfClosed()
  yield* Fiber.join(up)
})
