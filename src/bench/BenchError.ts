/** Why there is no report. */
import * as Data from "effect/Data"

/** `message` is one line without secrets; `fault` tells whether what was given can't be used, or the run failed. */
export class BenchError extends Data.TaggedError("BenchError")<{
  readonly fault: "input" | "run"
  readonly message: string
}> {}

export const unusable = (message: string): BenchError => new BenchError({ fault: "input", message })

export const failed = (message: string): BenchError => new BenchError({ fault: "run", message })
