/** The processes that the bench starts. None outlives the scope that it was started in. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as ChildProcess from "node:child_process"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { type BenchError, failed } from "./BenchError.ts"
import type { Answer, Order, Stats } from "./Message.ts"

/** A process that takes orders. */
export interface Process {
  readonly tell: (order: Order) => Effect.Effect<void>
  /** Waits for the next answer of a kind. Fails when the process ends instead. */
  readonly hear: <Tag extends Exclude<Answer["_tag"], "Stats">>(
    tag: Tag
  ) => Effect.Effect<Extract<Answer, { readonly _tag: Tag }>, BenchError>
  /** Fails when the process ends. */
  readonly lost: Effect.Effect<never, BenchError>
  /** The latest that it said of how far it has come. */
  readonly stats: () => Stats
}

/** Before a job, and at the start of each. */
const noStats: Stats = { open: 0, opened: 0, units: 0, bytes: 0, failures: 0 }

// The program is one file, which would load the command line too; a generator is to start fast and to stay small. The
// package's own name leads there from the sources, from the bundle and from the built modules.
const program = (): string =>
  Path.join(Path.dirname(createRequire(import.meta.url).resolve("sluice/package.json")), "dist/bench/Worker.js")

const start = (lost: (why: string) => void): ChildProcess.ChildProcess => {
  const child = ChildProcess.fork(program(), { stdio: ["ignore", "ignore", "inherit", "ipc"] })
  child.on("error", (error) => lost(`did not start: ${error.message}`))
  child.on("exit", (code, signal) => lost(`ended early (${signal ?? `exit code ${code}`})`))
  return child
}

const stop = (child: ChildProcess.ChildProcess): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    // It has nothing to save.
    child.kill("SIGKILL")
  })

/** Starts a process for the scope. */
export const spawn = Effect.gen(function*() {
  const queue = yield* Queue.unbounded<Answer, BenchError>()
  const end = yield* Deferred.make<never, BenchError>()
  const lost = (why: string): void => {
    const error = failed(`a process of the bench ${why}`)
    Queue.failCauseUnsafe(queue, Cause.fail(error))
    Deferred.doneUnsafe(end, Effect.fail(error))
  }
  const child = yield* Effect.acquireRelease(Effect.sync(() => start(lost)), stop)
  let stats = noStats
  child.on("message", (message) => {
    // Node types a message as unknown; Worker.ts sends nothing but answers.
    const answer = message as Answer
    if (answer._tag === "Stats") stats = answer.stats
    else Queue.offerUnsafe(queue, answer)
  })
  const process: Process = {
    tell: (order) =>
      Effect.sync(() => {
        if (order._tag === "Load") stats = noStats
        // Its end is reported by `hear`.
        if (child.connected) child.send(order, () => {})
      }),
    hear: Effect.fnUntraced(function*<Tag extends Answer["_tag"]>(tag: Tag) {
      const is = (answer: Answer): answer is Extract<Answer, { readonly _tag: Tag }> => answer._tag === tag
      // What an order that was given up had for an answer is passed over.
      for (;;) {
        const answer = yield* Queue.take(queue)
        if (is(answer)) return answer
      }
    }),
    lost: Deferred.await(end),
    stats: () => stats
  }
  return process
})
