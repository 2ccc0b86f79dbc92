/** The log on stderr. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type { Writable } from "node:stream"
import * as LogFormat from "../config/LogFormat.ts"
import * as LogOutput from "./LogOutput.ts"

export interface Options {
  /** Default: `pretty` on a terminal, else `logfmt`. */
  readonly format: LogFormat.LogFormat | undefined
  readonly level: LogLevel.LogLevel
}

/** A logger that writes to a stream, for the scope. */
export const toStream = Effect.fnUntraced(function*(lines: Logger.Logger<unknown, string>, stream: Writable) {
  const runSync = Effect.runSyncWith(yield* Effect.context<never>())
  const write = yield* LogOutput.make(stream, (dropped) =>
    runSync(
      Effect.logWarning("log lines dropped: their reader was too slow").pipe(
        Effect.annotateLogs({ dropped }),
        Effect.provide(Logger.layer([logger]))
      )
    ))
  const logger: Logger.Logger<unknown, void> = Logger.map(lines, write)
  return logger
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
