/** A password that somebody chooses: asked for twice without being shown, or read from a pipe. */
import * as Prompt from "effect/cli/Prompt"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Terminal from "effect/Terminal"
import { isUtf8 } from "node:buffer"
import { buffer } from "node:stream/consumers"
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
  // Standard output is for the result alone, which may well go into a file.
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
  const bytes = yield* Effect.tryPromise({
    try: () => buffer(process.stdin),
    catch: () => unusable("standard input: can't be read; write the password to it")
  })
  // Clients send passwords as UTF-8, and what else is read would be another one.
  if (!isUtf8(bytes)) return yield* unusable("standard input: is not UTF-8 text; write the password as UTF-8")
  const input = bytes.toString()
  const password = input.replace(/\r?\n$/, "")
  if (/[\r\n]/.test(password)) {
    return yield* unusable("standard input: has more than one line; write one password to it")
  }
  return Redacted.make(password)
})

/** A password that a client can send. With `without`, the empty one, and nobody is asked. */
export const take = Effect.fn("NewPassword.take")(function*({ without }: { readonly without: boolean }) {
  // Only on demand: else it is a variable that was not set.
  if (without) return Redacted.make("")
  const password = process.stdin.isTTY ? yield* fromTerminal : yield* fromPipe
  const length = Buffer.byteLength(Redacted.value(password))
  if (length === 0) return yield* unusable("password: is empty; write one to standard input")
  // RFC 1929 §2 gives the password one byte of length.
  if (length > 255) return yield* unusable("password: is longer than 255 bytes; choose a shorter one")
  return password
})
