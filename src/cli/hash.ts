/** `sluice hash`: turns a password into a line of the users file. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Prompt from "effect/cli/Prompt"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Terminal from "effect/Terminal"
import { text } from "node:stream/consumers"
import { unusable } from "./CommandError.ts"

const ask = (message: string) => Prompt.run(Prompt.Hidden({ message }))

const fromTerminal = Effect.gen(function*() {
  const password = yield* ask("Password")
  const again = yield* ask("Once more")
  if (Redacted.value(password) !== Redacted.value(again)) {
    return yield* unusable("password: the two differ; start again")
  }
  return password
}).pipe(
  // Standard output is for the hash alone, which may well go into a file.
  Effect.updateService(Terminal.Terminal, (terminal) =>
    Terminal.make({
      ...terminal,
      display: (text) =>
        Effect.sync(() => {
          process.stderr.write(text)
        })
    })),
  // Ctrl-C.
  Effect.catchTag("QuitError", () => Effect.interrupt)
)

const fromPipe = Effect.gen(function*() {
  const input = yield* Effect.tryPromise({
    try: () => text(process.stdin),
    catch: () => unusable("standard input: can't be read; write the password to it")
  })
  const password = input.replace(/\r?\n$/, "")
  if (/[\r\n]/.test(password)) {
    return yield* unusable("standard input: has more than one line; write one password to it")
  }
  return Redacted.make(password)
})

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

    // Only on demand: else it is a variable that was not set.
    const password = withoutPassword
      ? Redacted.make("")
      : process.stdin.isTTY
      ? yield* fromTerminal
      : yield* fromPipe
    const length = Buffer.byteLength(Redacted.value(password))
    if (length === 0 && !withoutPassword) return yield* unusable("password: is empty; write one to standard input")
    // RFC 1929 §2 gives the password one byte of length.
    if (length > 255) return yield* unusable("password: is longer than 255 bytes; choose a shorter one")

    const hashed = yield* PasswordHash.hash(password)
    yield* Console.log(Option.isSome(name) ? `${name.value}:${hashed}` : hashed)
  })
).pipe(
  Command.withDescription("Hash a password, read from standard input or asked for, for the users file"),
  Command.withShortDescription("Hash a password for the users file")
)
