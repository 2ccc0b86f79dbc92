/** The log on stderr. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import type { Writable } from "node:stream"
import * as LogFormat from "../config/LogFormat.ts"
import * as LogOutput from "./LogOutput.ts"
import * as SharedOutput from "./SharedOutput.ts"

export interface Options {
  /** Default: `pretty` on a terminal, else `logfmt`. */
  readonly format: LogFormat.LogFormat | undefined
  readonly level: LogLevel.LogLevel
  /** Given when several processes write to the same log: the number of this one, which each of its lines carries. */
  readonly worker?: number | undefined
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
export const layer = ({ format, level, worker }: Options): Layer.Layer<never> => {
  const terminal = process.stderr.isTTY
  const lines = LogFormat.make(format ?? (terminal ? "pretty" : "logfmt"), {
    colors: terminal && (process.env.NO_COLOR ?? "") === ""
  })
  const logger = worker === undefined
    ? toStream(lines, process.stderr)
    : Effect.flatMap(SharedOutput.make(process.stderr), (shared) => toStream(lines, shared))
  return Layer.mergeAll(
    Logger.layer([logger]),
    Layer.succeed(References.MinimumLogLevel, level),
    worker === undefined ? Layer.empty : Layer.succeed(References.CurrentLogAnnotations, { worker })
  )
}
