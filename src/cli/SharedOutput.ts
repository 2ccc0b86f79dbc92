/** A stream to which other processes write as well. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { Writable } from "node:stream"
import * as LogOutput from "./LogOutput.ts"

/** What a pipe takes whole or not at all, in bytes: Linux' PIPE_BUF (pipe(7)). */
const atomic = 4096

const newline = 10

/** Where the next piece ends: behind as many whole lines as are written at once. A longer line is a piece by itself. */
const endOfPiece = (bytes: Buffer, start: number): number => {
  if (bytes.length - start <= atomic) return bytes.length
  const last = bytes.lastIndexOf(newline, start + atomic - 1)
  const end = last >= start ? last : bytes.indexOf(newline, start)
  return end === -1 ? bytes.length : end + 1
}

/**
 * Whole lines to a stream, never in the middle of somebody else's: each write is one that a pipe does not divide, and
 * waits for the one before, since a stream would join those that wait. Closing the scope waits for the rest, for a
 * second at most.
 */
export const make = (stream: Writable) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      // A log that nobody reads any more must not end the proxy.
      stream.on("error", constVoid)
      return new Writable({
        write: (bytes: Buffer, _encoding, done) => {
          let start = 0
          const next = () => {
            if (start >= bytes.length) return done()
            const end = endOfPiece(bytes, start)
            const piece = bytes.subarray(start, end)
            start = end
            stream.write(piece, next)
          }
          next()
        }
      })
    }),
    LogOutput.flushed
  )
