/** The log on stderr: lines are collected for a moment and written together. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type { Writable } from "node:stream"
import * as LogFormat from "../config/LogFormat.ts"

export interface Options {
  /** Default: `pretty` on a terminal, else `logfmt`. */
  readonly format: LogFormat.LogFormat | undefined
  readonly level: LogLevel.LogLevel
}

/** Milliseconds for which lines are collected. A write each costs a busy proxy more than all of its formatting. */
const batchDelay = 20

/** What may be collected before it is written, in UTF-16 units. */
const batchLimit = 64 * 1024

/** A logger that writes to a stream; closing the scope, or the end of the process, writes the rest. */
export const toStream = (lines: Logger.Logger<unknown, string>, stream: Writable) =>
  Effect.gen(function*() {
    let pending = ""
    const flush = () => {
      const text = pending
      pending = ""
      if (text !== "") stream.write(text)
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        // A log that nobody reads any more must not end the proxy.
        stream.on("error", constVoid)
        // Standard streams are written synchronously, so this loses nothing even after process.exit().
        process.on("exit", flush)
      }),
      () =>
        Effect.sync(() => {
          flush()
          process.off("exit", flush)
        })
    )
    return Logger.map(lines, (line) => {
      if (pending === "") setTimeout(flush, batchDelay).unref()
      pending += `${line}\n`
      if (pending.length >= batchLimit) flush()
    })
  })

/** Replaces the default logger. */
export const layer = ({ format, level }: Options): Layer.Layer<never> => {
  const terminal = process.stderr.isTTY
  const lines = LogFormat.make(format ?? (terminal ? "pretty" : "logfmt"), {
    colors: terminal && (process.env.NO_COLOR ?? "") === ""
  })
  return Layer.merge(
    Logger.layer([toStream(lines, process.stderr)]),
    Layer.succeed(References.MinimumLogLevel, level)
  )
}
