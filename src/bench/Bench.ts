/** A run from its first process to its report. */
import * as Effect from "effect/Effect"
import * as Approach from "./Approach.ts"
import { type BenchError, failed, unusable } from "./BenchError.ts"
import * as Capacity from "./Capacity.ts"
import * as Crew from "./Crew.ts"
import * as Failure from "./Failure.ts"
import type { Outcome } from "./Message.ts"
import * as Observer from "./Observer.ts"
import * as Plan from "./Plan.ts"
import * as Proc from "./Proc.ts"
import * as ProxyUrl from "./ProxyUrl.ts"
import type * as Report from "./Report.ts"
import * as Summary from "./Summary.ts"

/** How the one who started the run takes part in it. */
export interface Watch {
  /** Completes when the run is to end early. */
  readonly until: Effect.Effect<unknown>
  readonly show: (status: Observer.Status) => Effect.Effect<void>
  /** A line for the operator that is no error. */
  readonly note: (line: string) => Effect.Effect<void>
}

const now = Effect.sync(() => performance.now())

/** Looks at the proxy a few times a second, and some hundred times in a long run. */
const intervalOf = ({ duration }: Plan.Plan): number => Math.max(250, duration / 400)

/** What the garbage collector may take to be done with the warm-up. */
const settleMillis = 1_000

/** Connections that warm the proxy up before idle ones are opened: at a time, and a second. */
const warmConnections = 64
const warmRate = 1_000

const checkProcess = Effect.fnUntraced(function*({ connections, pid }: Plan.Plan, watch: Watch) {
  if (pid === undefined) return
  if (process.platform !== "linux") {
    return yield* unusable("--pid: reads /proc, which only Linux has; leave it out to measure all else")
  }
  if (Proc.startedAt(pid) === undefined) {
    return yield* unusable(`--pid: no process ${pid}; give the proxy's, or leave it out`)
  }
  if (Proc.pssKiB(pid) === undefined) {
    yield* watch.note(`--pid: the memory of ${pid} can't be read; run as the same user or as root to have it`)
  }
  const shortage = Capacity.shortage(connections, Proc.tree(pid).map(Proc.openFilesLimit))
  if (shortage !== undefined) yield* watch.note(shortage)
})

const readings = (moments: ReadonlyArray<Report.Moment>): ReadonlyArray<number> =>
  moments.flatMap(({ pssKiB }) => pssKiB ?? [])

/** A signal to the whole group may end a process that has only begun, and be noticed here after that. */
const signalMillis = 100

/** Work of which nothing is to be reported. When it is ended early, that is the only thing to say. */
const unlessEndedFirst = ({ until }: Watch) => {
  const ended = Effect.andThen(until, Effect.fail(failed("ended before anything was measured")))
  return <A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<A, E | BenchError, R> =>
    Effect.raceFirst(
      ended,
      Effect.catch(work, (error) => Effect.andThen(Effect.sleep(signalMillis), Effect.fail(error)))
    )
}

/** Finds the proxy, starts the crew and tries the way. */
const prepare = Effect.fnUntraced(function*(plan: Plan.Plan, count: Capacity.Processes) {
  const proxy = yield* Approach.find(plan)
  const crew = yield* Crew.make(plan, proxy, count)
  yield* Approach.probe(plan, proxy, crew.targets("rate")[0] ?? "")
  return crew
})

const measure = Effect.fnUntraced(function*(plan: Plan.Plan, watch: Watch, count: Capacity.Processes) {
  const { connections, duration, mode, pid, rate, warmUp } = plan
  const preparing = unlessEndedFirst(watch)
  const crew = yield* preparing(prepare(plan, count))
  const beforehand = <A, E>(work: Effect.Effect<A, E>) => preparing(Effect.raceFirst(work, crew.lost))
  /** Whether it was to be ended early. */
  const unlessEnded = <E>(work: Effect.Effect<unknown, E>): Effect.Effect<boolean, E | BenchError> =>
    Effect.raceAllFirst([Effect.as(watch.until, true), Effect.as(work, false), crew.lost])
  const cpu = Effect.sync(() => pid === undefined ? 0 : Proc.cpuSeconds(pid))
  const startedAt = pid === undefined ? undefined : Proc.startedAt(pid)

  // A heap that never served anyone grows with the first connections, whatever is done with them: no price of theirs.
  // But one that is full of what many have left behind would take in the next ones for nothing: so not too many.
  const warmed: Array<Outcome> = []
  if (mode === "idle" && warmUp > 0) {
    yield* beforehand(crew.load({ mode: "rate", connections: Math.min(connections, warmConnections), rate: warmRate }))
    yield* crew.go
    yield* beforehand(Effect.sleep(warmUp))
    warmed.push(...yield* beforehand(crew.stop))
    yield* beforehand(Effect.sleep(settleMillis))
  }

  const pssBefore = pid === undefined ? undefined : Proc.pssKiB(pid)
  const observer = yield* Observer.make({
    stats: crew.stats,
    pid,
    interval: intervalOf(plan),
    show: watch.show
  })
  let from = yield* now
  let cpuFrom = yield* cpu
  const load = crew.load({ mode, connections, ...rate !== undefined && { rate } })
  // Opening idle connections is what is measured, and part of the way to all else.
  let endedEarly = mode === "idle" ? yield* unlessEnded(load) : yield* Effect.as(beforehand(load), false)
  const openedAt = yield* now
  const cpuOpened = yield* cpu
  yield* crew.go
  if (mode !== "idle") {
    observer.enter("warming up")
    yield* beforehand(Effect.sleep(warmUp))
    yield* crew.mark
    from = yield* now
    cpuFrom = yield* cpu
  }
  observer.enter("measuring")
  const held = observer.moments.length
  endedEarly = endedEarly || (yield* unlessEnded(Effect.sleep(duration)))
  yield* observer.look
  const stopped = yield* now
  const window: Summary.Window = mode === "idle"
    ? { from, cpuFrom, to: openedAt, cpuTo: cpuOpened }
    : { from, cpuFrom, to: stopped, cpuTo: yield* cpu }
  const isLost = pid !== undefined && Proc.startedAt(pid) !== startedAt
  observer.enter("ending")
  const moments = observer.moments.slice()
  const outcomes = yield* crew.stop

  const seconds = Summary.secondsOf(window)
  const work = outcomes.reduce((sum, { bytes, units }) => sum + (mode === "bulk" ? bytes : units), 0)
  const cost = Summary.cost(plan, window, work, {
    isLost,
    before: pssBefore,
    peak: Math.max(...readings(moments)),
    held: Math.min(...readings(moments.slice(held)))
  })
  const report: Report.Report = {
    proxy: ProxyUrl.format(plan.proxy),
    mode,
    connections,
    opened: outcomes.reduce((sum, { opened }) => sum + opened, 0),
    ...plan.rate !== undefined && { askedPerSecond: plan.rate },
    seconds,
    endedEarly,
    work,
    workPerSecond: seconds > 0 ? work / seconds : 0,
    contentsChecked: Plan.isChecked(plan),
    errors: Failure.sum([...warmed, ...outcomes].map(({ errors }) => errors)),
    latency: Summary.latencies(mode, outcomes),
    ...cost !== undefined && { cost },
    generators: {
      processes: outcomes.length,
      busiestCores: Math.max(...outcomes.map(({ cpuSeconds }) => cpuSeconds / ((stopped - from) / 1_000)))
    },
    machine: Summary.machine(),
    timeline: moments
  }
  return report
})

/** Runs a plan. What it starts has ended when it is done, however it ends. */
export const run = Effect.fn("Bench.run")(function*(plan: Plan.Plan, watch: Watch) {
  yield* checkProcess(plan, watch)
  const capacity = Capacity.processes({ ...plan, openFiles: Proc.openFilesLimit("self") })
  const count = yield* Effect.mapError(Effect.fromResult(capacity), unusable)
  return yield* Effect.scoped(measure(plan, watch, count))
})
