/** What the command line parser complains about, in one line that never quotes what may be a secret. */
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { notOneOf } from "../config/Fields.ts"
import * as Settings from "../config/Settings.ts"

const help = (command: ReadonlyArray<string> | undefined): string => `see ${(command ?? ["sluice"]).join(" ")} --help`

const suggest = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : `did you mean ${suggestions.join(" or ")}? `

const invalidValue = ({ expected, kind, option, value }: CliError.InvalidValue): string => {
  const field = kind === "flag" ? `--${option}` : option
  const setting = Settings.all.find(({ flag }) => flag === option)
  const occurrences = /^\d+ occurrences$/.exec(value)
  if (occurrences !== null) return `${field}: given ${value.replace("occurrences", "times")}; give it once`
  if (value === "") {
    return `${field}: the value is missing; write ${field} ${setting?.metavar ?? "VALUE"}`
  }
  const choices = setting?.kind === "switch" ? ["true", "false"] : setting?.choices
  if (choices !== undefined) return `${field}: ${notOneOf(value, choices)}`
  if (/^"[^"]+"( \| "[^"]+")*$/.test(expected)) {
    return `${field}: ${notOneOf(value, expected.replaceAll("\"", "").split(" | "))}`
  }
  return `${field}: ${expected.replace(/^Expected:? /, "wanted ")}`
}

/** The complaint as the second half of `sluice: …`. */
export const explain = (error: CliError.NonShowHelpErrors, command: ReadonlyArray<string>): string => {
  switch (error._tag) {
    case "UnrecognizedOption":
      // Behind a colon stands a password: `--userann:secret`.
      return `${error.option.replace(/:.*/s, "")}: no such flag; ${suggest(error.suggestions)}${
        help(error.command ?? command)
      }`
    case "UnknownSubcommand":
      return `no such command; ${suggest(error.suggestions)}${help(error.parent)}`
    case "InvalidValue":
      return invalidValue(error)
    case "UnexpectedArgument":
      return `${error.arguments.length} too many arguments; quote a value that has spaces, or ${help(command)}`
    case "MissingOption":
      return `--${error.option}: is missing; ${help(command)}`
    case "MissingArgument":
      return `${error.argument}: is missing; ${help(command)}`
    default:
      return error.message
  }
}

/** Help and version on stdout, as they were asked for; complaints are left to the caller. */
export const layerPresenter: Layer.Layer<never> = CliOutput.layerPresenter({
  present: Effect.fnUntraced(function*(event) {
    switch (event._tag) {
      case "Help":
        return yield* Console.log(CliOutput.defaultFormatter().formatHelpDoc(event.helpDoc))
      case "Version":
        return yield* Console.log(`${event.name} ${event.version}`)
      case "InvalidInvocation":
        return
    }
  })
})
