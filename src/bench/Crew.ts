/** All processes of a run: generators that work in step, and the targets that they reach through the proxy. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import type { BenchError } from "./BenchError.ts"
import * as Capacity from "./Capacity.ts"
import * as Fleet from "./Fleet.ts"
import type { Job, Mode } from "./Load.ts"
import type { Order, Outcome, Proxy, Stats } from "./Message.ts"
import * as Plan from "./Plan.ts"

export interface Crew {
  /** Where a kind of load goes, as `HOST:PORT`; one at least. */
  readonly targets: (mode: Mode) => ReadonlyArray<string>
  /** Shares a job out; ends when all has been opened that has to be before the work. */
  readonly load: (wanted: Pick<Job, "mode" | "connections" | "rate">) => Effect.Effect<void, BenchError>
  readonly go: Effect.Effect<void>
  /** Begins the measured window. */
  readonly mark: Effect.Effect<void, BenchError>
  /** Ends the job; what each generator did in it. */
  readonly stop: Effect.Effect<ReadonlyArray<Outcome>, BenchError>
  readonly stats: () => ReadonlyArray<Stats>
  /** Fails when one of the processes ends. */
  readonly lost: Effect.Effect<never, BenchError>
}

const together = { concurrency: "unbounded" } as const

const spawn = (count: number) => Effect.all(Array.from({ length: count }, () => Fleet.spawn), together)

const startTargets = Effect.fnUntraced(function*(count: number) {
  const processes = yield* spawn(count)
  const serving = yield* Effect.forEach(
    processes,
    (process) => Effect.andThen(process.tell({ _tag: "Serve" }), process.hear("Serving")),
    together
  )
  return { processes, ports: serving.map(({ ports }) => ports) }
})

/** Starts the processes for the scope. */
export const make = Effect.fn("Crew.make")(function*(plan: Plan.Plan, proxy: Proxy, count: Capacity.Processes) {
  const { connections, target, timeout } = plan
  // Generators take a moment to load, which the targets' start is not to wait for.
  const fleet = yield* spawn(Math.min(count.generators, connections))
  const { ports, processes } = yield* startTargets(target === undefined ? count.targets : 0)
  const targets = (mode: Mode): ReadonlyArray<string> => {
    if (target !== undefined) return [Host.formatHostPort(target)]
    return ports.flatMap(({ echo, source }) => mode === "bulk" ? [source] : echo).map((port) => `127.0.0.1:${port}`)
  }
  const each = <A, E>(act: (process: Fleet.Process, index: number) => Effect.Effect<A, E>) =>
    Effect.forEach(fleet, act, together)
  const order = (order: Order) => Effect.asVoid(each((process) => process.tell(order)))

  const crew: Crew = {
    targets,
    load: (wanted) => {
      const parts = Capacity.share(wanted.connections, fleet.length)
      return Effect.asVoid(each((process, index) => {
        const job: Job = {
          mode: wanted.mode,
          connections: parts[index] ?? 0,
          patience: timeout,
          checked: Plan.isChecked(plan),
          ...wanted.rate !== undefined && { rate: wanted.rate / fleet.length }
        }
        const begin = process.tell({ _tag: "Load", job, proxy, targets: targets(wanted.mode) })
        return Effect.andThen(begin, process.hear("Ready"))
      }))
    },
    go: order({ _tag: "Go" }),
    mark: Effect.andThen(
      order({ _tag: "Mark" }),
      Effect.asVoid(each((process) => process.hear("Marked")))
    ),
    stop: Effect.andThen(
      order({ _tag: "Stop" }),
      each((process) => Effect.map(process.hear("Done"), ({ outcome }) => outcome))
    ),
    stats: () => fleet.map((process) => process.stats()),
    lost: Effect.raceAllFirst([...fleet, ...processes].map((process) => process.lost))
  }
  return crew
})
