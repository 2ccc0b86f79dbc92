/** `sluice check`: what is wrong with a configuration file. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { escape } from "../config/Escape.ts"
import { CommandError } from "./CommandError.ts"
import * as Print from "./Print.ts"

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`

export const check = Command.make(
  "check",
  {
    file: Argument.String("FILE").pipe(Argument.withDescription("The configuration file, as --config takes it"))
  },
  Effect.fn("check")(function*({ file }) {
    const { load } = yield* Effect.promise(() => import("../config/ConfigFile.ts"))
    const loaded = yield* Effect.mapError(
      load(file),
      ({ lines: [message, ...more] }) => new CommandError({ exitCode: 1, message, more })
    )
    const { inspect } = yield* Effect.promise(() => import("./Inspection.ts"))
    const { problems: [message, ...more], warnings } = yield* inspect(loaded)
    for (const warning of warnings) yield* Print.print(`warning: ${warning}`)
    if (message !== undefined) return yield* new CommandError({ exitCode: 1, message, more })
    const { rules, tests } = loaded.config
    yield* Print.print(`${escape(file)} is fine: ${count(rules.length, "rule")}, ${count(tests.length, "test")} passed`)
  })
).pipe(
  Command.withDescription(
    "Look at a configuration file before it is live: at all that it says and names, and run its tests. Exits with 1 " +
      "when something is wrong; warnings are no reason"
  ),
  Command.withShortDescription("Check a configuration file")
)
