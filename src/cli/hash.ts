/** `sluice hash`: turns a password into a line of the users file. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { unusable } from "./CommandError.ts"
import * as NewPassword from "./NewPassword.ts"

export const hash = Command.make(
  "hash",
  {
    name: Argument.String("NAME").pipe(
      Argument.withDescription("The user's name, to get NAME:HASH. Never the password: that is asked for"),
      Argument.optional
    ),
    withoutPassword: Flag.Boolean("without-password").pipe(
      Flag.withDescription("Ask for none: whoever gives this name needs no password, in SOCKS4 too"),
      Flag.withDefault(false)
    )
  },
  Effect.fn("hash")(function*({ name, withoutPassword }) {
    const UsersFile = yield* Effect.promise(() => import("../policy/UsersFile.ts"))
    const PasswordHash = yield* Effect.promise(() => import("../policy/PasswordHash.ts"))
    const problem = Option.isSome(name) ? UsersFile.problemOfName(name.value) : undefined
    // What was given may be a password by mistake, so it is not repeated.
    if (problem !== undefined) return yield* unusable(`NAME: ${problem}; give the name that the user logs in with`)

    const password = yield* NewPassword.take({ without: withoutPassword })
    const hashed = yield* PasswordHash.hash(password)
    yield* Console.log(Option.isSome(name) ? `${name.value}:${hashed}` : hashed)
  })
).pipe(
  Command.withDescription("Hash a password, read from standard input or asked for, for the users file"),
  Command.withShortDescription("Hash a password for the users file")
)
