/** `sluice config`: what can stand in a configuration file. */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Print from "./Print.ts"

const schema = Command.make("schema", {}, () =>
  Effect.gen(function*() {
    const { jsonSchema } = yield* Effect.promise(() => import("../config/Config.ts"))
    yield* Print.print(JSON.stringify(jsonSchema(), undefined, 2))
  })).pipe(
    Command.withDescription("Print the JSON Schema of configuration files, from which editors complete and check them"),
    Command.withShortDescription("Print the JSON Schema")
  )

const example = Command.make("example", {}, () =>
  Effect.gen(function*() {
    const Example = yield* Effect.promise(() => import("../config/Example.ts"))
    yield* Print.print(Example.example())
  })).pipe(
    Command.withDescription("Print a configuration file with every option, commented out, and its default"),
    Command.withShortDescription("Print a file with every option")
  )

export const config = Command.make("config").pipe(
  Command.withDescription("What can stand in a configuration file"),
  Command.withShortDescription("Show what can be configured"),
  Command.withSubcommands([example, schema])
)
