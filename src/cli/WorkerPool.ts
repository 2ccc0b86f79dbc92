/** Several workers that are kept running: one that crashes is replaced, and all of them can be, one after the other. */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as FiberSet from "effect/FiberSet"
import * as Num from "effect/Number"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Cluster } from "node:cluster"
import * as ListenAddress from "../transport/ListenAddress.ts"
import { type CommandError, failed } from "./CommandError.ts"
import type { Snapshot } from "./Snapshot.ts"
import { type Ending, type Orders, type Task, WorkerProcess } from "./WorkerProcess.ts"

export interface Options {
  readonly workers: number
  readonly task: Task
  /** Looks after a worker from its start until it has ended. */
  readonly attend?: ((worker: WorkerProcess) => Effect.Effect<void, never, Scope.Scope>) | undefined
  /** How long a worker lets its connections go on once it is told to stop. */
  readonly drainTimeout: Duration.Duration
}

/** Makes an effect interruptible again. */
type Restore = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** A worker ended, and nobody had asked it to. */
class Crashed extends Data.TaggedError("Crashed")<{
  /** Milliseconds for which it served. */
  readonly lived: number
}> {}

/** The place of a worker. */
interface Slot {
  /** For the next who is started here. */
  orders: Orders
  /** Who serves; `undefined` between a crash and the next. */
  current: WorkerProcess | undefined
  /** Watches the current one, and starts the next. */
  readonly keeper: FiberHandle.FiberHandle
}

/** Milliseconds after which a worker counts as sound: the next crash is its first again. */
const sound = 10_000

/** The pause after a crash of one that was not, or did not even start: 100 ms, doubled up to 10 s. */
const backOff = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("10 seconds")])

/** What a worker may take to end, beyond the time that its connections have. */
const grace = Duration.seconds(5)

const fieldsOf = (worker: WorkerProcess, { code, signal }: Ending) => ({
  worker: worker.number,
  pid: worker.pid,
  ...signal === null ? { code } : { signal },
  sessions: worker.sessions
})

/** Lets a worker follow others that have changed; whoever takes the place of one that can't has the new configuration. */
const follow = (worker: WorkerProcess) =>
  Effect.catch(
    worker.commit,
    ({ message }) =>
      Effect.annotateLogs(Effect.logError("worker did not change its configuration, and is replaced"), {
        worker: worker.number,
        reason: message
      }).pipe(Effect.andThen(Effect.sync(() => worker.kill())), Effect.as(0))
  )

/**
 * Lets one worker change its configuration alone: what only shows when it is done, such as an address that can't be had,
 * must not divide them. Fails when all is as it was.
 */
const lead = Effect.fnUntraced(function*(ready: ReadonlyArray<WorkerProcess>) {
  for (const [index, worker] of ready.entries()) {
    const ended = yield* worker.commit
    if (ended !== undefined) return { ended, others: ready.slice(index + 1) }
  }
  return yield* failed("no worker lived to take the configuration; try again")
})

/** Lets go of the sockets that a place's workers don't listen on any more. */
const closeUnwanted = ({ orders: { serve, sockets } }: Slot): void => {
  const wanted = new Set(serve.listen.map(ListenAddress.socketOf))
  for (const [address, socket] of sockets) {
    if (wanted.has(address)) continue
    socket.close()
    sockets.delete(address)
  }
}

/** Lets go of a place's listening sockets, so that clients come to those that remain, or to none. */
const closeSockets = ({ orders: { sockets } }: Slot): void => {
  for (const socket of sockets.values()) socket.close()
  sockets.clear()
}

/** Starts all of them, and waits until they listen. They end at once when the scope closes. */
export const make = Effect.fnUntraced(function*(cluster: Cluster, options: Options) {
  const { attend, drainTimeout, task, workers } = options
  const running = new Set<WorkerProcess>()
  const endings = yield* FiberSet.make()
  const farewells = yield* FiberSet.make()
  let started = 0
  let refused = 0

  const endAll = () => running.forEach((worker) => worker.kill())
  yield* Effect.acquireRelease(
    // For the ways out that pass by the release.
    Effect.sync(() => process.on("exit", endAll)),
    () =>
      Effect.sync(endAll).pipe(
        Effect.andThen(Effect.forEach([...running], (worker) => worker.end, { discard: true })),
        Effect.andThen(Effect.sync(() => process.off("exit", endAll)))
      )
  )

  /** Starts a worker, and waits until it listens; ends it when that fails, or is interrupted. */
  const start = Effect.fnUntraced(function*({ orders }: Slot, restore: Restore) {
    const worker = yield* Effect.try({
      try: () => new WorkerProcess(cluster, ++started, orders),
      catch: (error) => failed(`can't start a worker: ${error instanceof Error ? error.message : "unknown"}`)
    })
    running.add(worker)
    const gone = Effect.map(worker.end, () => {
      running.delete(worker)
      refused += worker.refused
    })
    const attended = attend === undefined ? gone : Effect.scoped(Effect.andThen(attend(worker), gone))
    yield* FiberSet.run(endings, attended, { startImmediately: true })
    yield* Effect.onError(restore(worker.listening), () => Effect.sync(() => worker.kill()))
    yield* Effect.annotateLogs(Effect.logInfo("worker listens"), { worker: worker.number, pid: worker.pid })
    return worker
  })

  /** Lets a worker's connections end, and waits until it is gone. */
  const farewell = Effect.fnUntraced(function*(worker: WorkerProcess) {
    worker.drain()
    const inTime = yield* Effect.timeoutOption(worker.end, Duration.sum(drainTimeout, grace))
    if (Option.isNone(inTime)) worker.kill()
    const ending = yield* worker.end
    yield* (ending.code === 0
      ? Effect.logInfo("worker stopped")
      : Effect.logError("worker crashed, its sessions are lost")).pipe(
        Effect.annotateLogs(ending.code === 0 ? { worker: worker.number } : fieldsOf(worker, ending))
      )
  })

  /** Starts one by the orders of the place, as they are once it listens. */
  const launch = (slot: Slot): Effect.Effect<WorkerProcess, CommandError> =>
    Effect.flatMap(
      Effect.uninterruptibleMask((restore) => start(slot, restore)),
      (worker) =>
        worker.orders === slot.orders
          ? Effect.succeed(worker)
          : Effect.andThen(FiberSet.run(farewells, farewell(worker)), launch(slot))
    )

  /** Lets a worker serve until it crashes. */
  const watch = Effect.fnUntraced(function*(slot: Slot, worker: WorkerProcess) {
    const [duration, ending] = yield* Effect.timed(worker.end)
    if (slot.current === worker) slot.current = undefined
    yield* Effect.annotateLogs(Effect.logError("worker crashed, its sessions are lost"), fieldsOf(worker, ending))
    return yield* new Crashed({ lived: Duration.toMillis(duration) })
  })

  /** Fills an empty place, again and again. */
  const refill = (slot: Slot): Effect.Effect<never> =>
    launch(slot).pipe(
      Effect.tapError(({ message }) => Effect.logError("worker does not start", { reason: message })),
      Effect.flatMap((worker) => {
        slot.current = worker
        return watch(slot, worker)
      }),
      Effect.retry({
        schedule: backOff,
        while: (error) => {
          if (error._tag === "Crashed" && error.lived >= sound) return false
          // Clients that come during the pause go to other workers.
          closeSockets(slot)
          return true
        }
      }),
      Effect.ignore,
      Effect.forever
    )

  const keep = (slot: Slot, worker: WorkerProcess) =>
    Effect.suspend(() => {
      slot.current = worker
      return FiberHandle.run(slot.keeper, Effect.andThen(Effect.ignore(watch(slot, worker)), refill(slot)))
    })

  const dismiss = (slot: Slot): Effect.Effect<unknown> =>
    slot.current === undefined ? Effect.void : FiberSet.run(farewells, farewell(slot.current))

  /** The new one listens before the old one stops. */
  const replace = (slot: Slot) =>
    Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
      // Where one has crashed, a new one is on its way.
      if (slot.current === undefined) return
      const successor = yield* restore(launch(slot))
      yield* dismiss(slot)
      yield* keep(slot, successor)
    }))

  const slots = yield* Effect.forEach(
    Array.from({ length: workers }),
    Effect.fnUntraced(function*() {
      const keeper = yield* FiberHandle.make()
      const slot: Slot = { orders: { ...task, sockets: new Map() }, current: undefined, keeper }
      return slot
    })
  )
  const first = yield* Effect.forEach(slots, launch, { concurrency: "unbounded" })
  yield* Effect.forEach(slots, (slot, index) => {
    const worker = first[index]
    return worker === undefined ? Effect.void : keep(slot, worker)
  }, { discard: true })

  return {
    /** Replaces them one after the other, without refusing a client; stops at the first that can't be. */
    restart: Effect.fnUntraced(function*(files: Snapshot) {
      yield* Effect.forEach(slots, (slot) => {
        const before = slot.orders
        slot.orders = { ...before, files }
        return Effect.onError(replace(slot), () => Effect.sync(() => void (slot.orders = before)))
      }, { discard: true })
    }),
    /**
     * Lets all of them take another configuration, and listen where that says, or none. Tells how many connections that
     * ended. Those that have died meanwhile have no say in it: who takes their place has the new one.
     */
    reload: (next: Task) =>
      Effect.ensuring(
        Effect.gen(function*() {
          const asked = slots.flatMap(({ current }) => current ?? [])
          const abortAll = Effect.sync(() => asked.forEach((worker) => worker.abort()))
          const prepare = Effect.filter(asked, (worker) => worker.prepare(next), { concurrency: "unbounded" })
          // Where all have crashed, those on their way find the new orders.
          const { ended, others } = asked.length === 0
            ? { ended: 0, others: [] }
            : yield* Effect.onError(Effect.flatMap(prepare, lead), () => abortAll)
          // For those who start meanwhile, too.
          for (const slot of slots) slot.orders = { ...next, sockets: slot.orders.sockets }
          const more = yield* Effect.forEach(others, follow, { concurrency: "unbounded" })
          // One that has begun to listen since the others were asked.
          const late = slots.filter(({ current }) => current !== undefined && !asked.includes(current))
          yield* Effect.forEach(
            late,
            (slot) => Effect.catch(replace(slot), () => Effect.sync(() => slot.current?.kill()))
          )
          return Num.sumAll([ended, ...more].map((count = 0) => count))
        }),
        Effect.sync(() => slots.forEach(closeUnwanted))
      ),
    /** Stops them all, and waits until they are gone. Returns how many clients were turned away. */
    drain: Effect.gen(function*() {
      yield* Effect.forEach(slots, ({ keeper }) => FiberHandle.clear(keeper), { discard: true })
      slots.forEach(closeSockets)
      yield* Effect.forEach(slots, dismiss, { discard: true })
      yield* FiberSet.awaitEmpty(farewells)
      return refused
    })
  }
})
