/** The end of a command that can't go on. */
import * as Data from "effect/Data"

/** What the shell gets to see: 1 when the run failed, 2 when what was given can't be used. */
export type ExitCode = 1 | 2

/** `message` is one line: the field, the value and the fix. Never a secret. */
export class CommandError extends Data.TaggedError("CommandError")<{
  readonly exitCode: ExitCode
  readonly message: string
  /** Lines for what else is wrong. */
  readonly more?: ReadonlyArray<string>
}> {}

/** Ends a command with exit code 2. */
export const unusable = (message: string): CommandError => new CommandError({ exitCode: 2, message })

/** Ends a command with exit code 1. */
export const failed = (message: string): CommandError => new CommandError({ exitCode: 1, message })
