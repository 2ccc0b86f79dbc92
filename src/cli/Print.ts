/** A command's result on stdout. */
import * as Effect from "effect/Effect"
import { type CommandError, failed } from "./CommandError.ts"

/** Ends when all of it has been taken, by a reader that may be slow; a reader that is gone is a failure. */
export const print = (text: string): Effect.Effect<void, CommandError> =>
  Effect.callback((resume) => {
    const lost = (error: NodeJS.ErrnoException): void =>
      resume(Effect.fail(failed(`stdout: the report can't be written (${error.code ?? error.message})`)))
    // Without a listener it would end the process with a stack trace.
    process.stdout.on("error", lost)
    process.stdout.write(`${text}\n`, (error) => {
      if (error === null || error === undefined) resume(Effect.void)
      else lost(error)
    })
  })
