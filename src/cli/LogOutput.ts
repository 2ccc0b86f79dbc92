/**
 * Lines on their way to a stream. Node queues what a pipe has no room for, without a bound, and forgets the queue when
 * the process exits: a reader that stalls would cost the proxy its memory, and a slow one would never see the end.
 */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Writable } from "node:stream"

/** Milliseconds for which lines are collected. A write each costs a busy proxy more than all of its formatting. */
const batchDelay = 20

/** What may be collected before it is written, in UTF-16 units. */
const batchLimit = 64 * 1024

/** What may wait for its reader, in UTF-16 units. */
const queueLimit = 1024 * 1024

/**
 * Writes lines to a stream, several at a time; closing the scope, or the end of the process, writes the rest. When the
 * reader is too far behind, lines are dropped until it has caught up; `onDropped` is then told how many.
 */
export const make = (stream: Writable, onDropped: (count: number) => void) => {
  let pending = ""
  let dropped = 0
  let closed = false
  const flush = () => {
    const text = pending
    pending = ""
    if (text !== "") stream.write(text)
  }
  const report = () => {
    const count = dropped
    dropped = 0
    if (count > 0) onDropped(count)
  }
  const isFull = (line: string) =>
    // Only then does a "drain" follow, which ends the dropping.
    stream.writableNeedDrain &&
    (dropped > 0 || stream.writableLength + pending.length + line.length > queueLimit)

  return Effect.acquireRelease(
    Effect.sync(() => {
      // A log that nobody reads any more must not end the proxy.
      stream.on("error", constVoid)
      stream.on("drain", report)
      process.on("exit", flush)
      return (line: string) => {
        if (isFull(line)) {
          dropped++
          return
        }
        if (pending === "" && !closed) setTimeout(flush, batchDelay).unref()
        pending += `${line}\n`
        if (closed || pending.length >= batchLimit) flush()
      }
    }),
    () =>
      Effect.sync(() => {
        report()
        flush()
        // What closes after the log may still have something to say.
        closed = true
        stream.off("drain", report)
        process.off("exit", flush)
      })
  )
}

/** Waits until a stream has passed on what was written to it; for a second at most, since its reader may be stuck. */
export const flushed = (stream: Writable): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (stream.writableLength === 0) return resume(Effect.void)
    stream.on("error", constVoid)
    stream.write("", () => resume(Effect.void))
  }).pipe(Effect.timeoutOrElse({ duration: "1 second", orElse: () => Effect.void }))
