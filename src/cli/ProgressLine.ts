/** What is said on stderr while a bench runs: a line that is written anew on a terminal, and else nothing but notes. */
import * as Effect from "effect/Effect"
import type { Watch } from "../bench/Bench.ts"
import type { Plan } from "../bench/Plan.ts"
import { escape } from "../config/Escape.ts"

const wipe = "\r\u001b[2K"

const write = (text: string) => Effect.sync(() => void process.stderr.write(text))

/** Leaves no progress behind when the scope closes. */
export const make = Effect.fnUntraced(function*(plan: Plan) {
  const { isTTY } = process.stderr
  const { line } = yield* Effect.promise(() => import("../bench/Progress.ts"))
  if (isTTY) yield* Effect.addFinalizer(() => write(wipe))
  const watch: Omit<Watch, "until"> = {
    show: (status) =>
      isTTY
        // A line that wraps could not be written anew. Some terminals don't know how wide they are.
        ? write(wipe + line(plan, status).slice(0, (process.stderr.columns || 80) - 1))
        : Effect.void,
    note: (text) => write(`${isTTY ? wipe : ""}sluice: ${escape(text)}\n`)
  }
  return watch
})
