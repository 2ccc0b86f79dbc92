/** Runs a command line to its end: one line on stderr for what went wrong, and an exit code. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { createRequire } from "node:module"
import * as os from "node:os"
import { escape } from "../config/Escape.ts"
import { CommandError } from "./CommandError.ts"
import * as LogOutput from "./LogOutput.ts"
import { sluice } from "./root.ts"
import * as Usage from "./Usage.ts"

/** What a command may end with. */
type Failure = CommandError | CliError.CliError

/** How a command line ended. */
export interface Ending {
  readonly code: number
  /** The second half of `sluice: …`. */
  readonly complaint?: string
  /** The same for what else is wrong. */
  readonly more?: ReadonlyArray<string>
}

const endingOf = (exit: Exit.Exit<unknown, Failure>): Ending => {
  if (Exit.isSuccess(exit)) return { code: 0 }
  if (Cause.hasInterruptsOnly(exit.cause)) return { code: 128 + os.constants.signals.SIGINT }
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (error === undefined) {
    const defect = Cause.squash(exit.cause)
    return { code: 1, complaint: `internal error: ${defect instanceof Error ? defect.message : "unknown"}` }
  }
  if (error instanceof CommandError) {
    const { exitCode, message, more = [] } = error
    return { code: exitCode, complaint: message, ...more.length > 0 && { more } }
  }
  if (error._tag !== "ShowHelp") return { code: 2, complaint: Usage.explain(error, ["sluice"]) }
  const [first] = error.errors
  return first === undefined ? { code: 0 } : { code: 2, complaint: Usage.explain(first, error.commandPath) }
}

const readVersion = (): string => {
  // The same place from src/cli and from dist/cli.
  const { version }: { readonly version: string } = createRequire(import.meta.url)("sluice/package.json")
  return version
}

const layer = Layer.mergeAll(
  NodeServices.layer,
  Usage.layerPresenter,
  // The log level is a setting like the others, with its variable.
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
)

/** Runs a command line to its end, which is never a failure. */
export const run = (args: ReadonlyArray<string>): Effect.Effect<Ending> =>
  Command.runWith(sluice, { version: readVersion() })(args).pipe(
    Effect.provide(layer),
    Effect.exit,
    Effect.map(endingOf)
  )

/** Runs the process's command line, and ends the process. */
export const main = (): void => {
  // An empty variable is as good as none, but for some settings: those see it.
  const environment = ConfigProvider.fromEnv({ preserveEmptyStrings: true })
  const program = Effect.provideService(run(process.argv.slice(2)), ConfigProvider.ConfigProvider, environment)
  Effect.runFork(program).addObserver((exit) => {
    const { code, complaint, more = [] } = Exit.isSuccess(exit) ? exit.value : endingOf(exit)
    const lines = complaint === undefined ? [] : [complaint, ...more]
    for (const line of lines) process.stderr.write(`sluice: ${escape(line)}\n`)
    // What a pipe has not taken yet is lost at the exit.
    Effect.runFork(Effect.all([process.stdout, process.stderr].map(LogOutput.flushed), { concurrency: "unbounded" }))
      .addObserver(() => process.exit(code))
  })
}
