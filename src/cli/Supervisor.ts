/**
 * `serve` with several workers: processes that share the ports.
 *
 * Where Node can share a port (`reusePort`), each worker has a listening socket of its own, and the system spreads the
 * clients. Closing such a socket resets the clients that wait in it: so this process keeps a copy of each, and a worker
 * that takes another's place goes on with its socket. Elsewhere this process accepts, and `node:cluster` deals the
 * clients out.
 */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as FiberHandle from "effect/FiberHandle"
import type { Cluster } from "node:cluster"
import type * as Settings from "../config/Settings.ts"
import { isSamePlace, listenOn, stays } from "../server/Listeners.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import type { Accept } from "../transport/Transport.ts"
import { type CommandError, failed } from "./CommandError.ts"
import * as Counters from "./Counters.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as Print from "./Print.ts"
import * as Reloading from "./Reloading.ts"
import * as ServiceManager from "./ServiceManager.ts"
import * as Signals from "./Signals.ts"
import * as Snapshot from "./Snapshot.ts"
import type { Wanted } from "./Wanted.ts"
import * as WorkerPool from "./WorkerPool.ts"
import type { Task } from "./WorkerProcess.ts"

/** It came with Node 23.1; of the systems that have it, Linux spreads clients evenly. */
const canSharePorts = (): boolean => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return process.platform === "linux" && (major > 23 || (major === 23 && minor >= 1))
}

type Addresses = ReadonlyArray<ListenAddress.ListenAddress>

/** What is being served at first. */
interface Serving {
  readonly wanted: Wanted
  /** Where it listens, with the ports that were given for 0. */
  readonly bound: Addresses
  readonly files: Snapshot.Snapshot
}

type Keeper = Effect.Success<ReturnType<typeof Counters.keep>>

type Pool = Effect.Success<ReturnType<typeof WorkerPool.make>>

const nobody: Accept = { admit: () => false, accept: () => {}, failed: () => {} }

/**
 * Listens for a moment, and lets go. It finds ports for 0, and an address that can't be had: among sockets that share
 * a port the system would not tell whether somebody else's is there.
 */
const tryOut = (listen: ReadonlyArray<ListenAddress.ListenAddress>) => {
  const transport = NodeTransport.make()
  return Effect.scoped(Effect.forEach(listen, (address) =>
    address._tag === "Descriptor"
      // To let go of it would be to lose it.
      ? Effect.succeed(address)
      : Effect.map(listenOn(transport, address, listen, nobody), (listener) => listener.address)))
}

/** The descriptors of a worker before those that it inherits: standard streams, and the channel to this process. */
const ownDescriptors = ["inherit", "inherit", "inherit", "ipc"] as const

/**
 * Inherited sockets are passed on, so that they outlive every worker. `node:cluster` would close them after the last.
 * Returns what they are to a worker.
 */
const bequeath = (cluster: Cluster, listen: ReadonlyArray<ListenAddress.ListenAddress>) => {
  const stdio: Array<typeof ownDescriptors[number] | number> = [...ownDescriptors]
  const toWorker = listen.map((address) =>
    address._tag === "Descriptor" ? { ...address, fd: stdio.push(address.fd) - 1 } : address
  )
  cluster.setupPrimary({ stdio })
  return toWorker
}

/** Workers inherit when they start. */
const inheritedTooLate = (address: ListenAddress.ListenAddress, { listenSource }: Wanted) =>
  failed(`${listenSource}: workers take ${ListenAddress.format(address)} at the start only; restart, or give listen`)

/** What a supervisor has to do with. */
interface Staff {
  readonly pool: Pool
  readonly counters: Keeper | undefined
  readonly manager: ServiceManager.ServiceManager
  /** What is told to workers who listen at some addresses. */
  readonly taskFor: (bound: Addresses, settings: Settings.Settings, files: Snapshot.Snapshot) => Task
  /** Serves by these files from now on. */
  readonly keep: (files: Snapshot.Snapshot) => Effect.Effect<unknown>
  readonly asked: Effect.Effect<void>
  readonly read: Effect.Effect<Wanted, CommandError>
}

/** The configuration as it is now for all workers, who switch where they are. */
const reloading = Effect.fnUntraced(function*(staff: Staff, { bound: first, files: held, wanted }: Serving) {
  const { asked, counters, keep, manager, pool, read, taskFor } = staff
  let [bound, files, inForce] = [first, held, wanted.settings]
  const apply = Effect.fnUntraced(function*(next: Wanted) {
    const { loaded, settings } = next
    const fresh = yield* Snapshot.take(next, files)
    // One that stays keeps the port that it was given for 0.
    const known = (address: ListenAddress.ListenAddress) =>
      stays(address, inForce.listen, settings.listen)
        ? bound[inForce.listen.findIndex((one) => Equal.equals(one, address))]
        : undefined
    const added = settings.listen.filter((address) => known(address) === undefined)
    const lost = added.find(({ _tag }) => _tag === "Descriptor")
    if (lost !== undefined) return yield* inheritedTooLate(lost, next)
    const kept = new Set(settings.listen.map(known))
    const blocking = bound.filter((address) => !kept.has(address) && added.some((other) => isSamePlace(address, other)))
    const stayOn = (addresses: Addresses) => pool.reload(taskFor(addresses, inForce, files))
    const change = Effect.gen(function*() {
      // All have to let go of a place before it can be tried out.
      if (blocking.length > 0) yield* stayOn(bound.filter((address) => !blocking.includes(address)))
      const found = yield* Effect.mapError(tryOut(added), (error) => ListenFailure.refused(error, next.listenSource))
      const all = settings.listen.flatMap((address) => known(address) ?? found[added.indexOf(address)] ?? [])
      return { all, ended: yield* pool.reload(taskFor(all, settings, fresh)) }
    })
    const { all, ended } = yield* Effect.tapError(
      change,
      () => blocking.length === 0 ? Effect.void : Effect.ignore(stayOn(bound))
    )
    if (loaded !== undefined) yield* counters?.replace(loaded.config) ?? Effect.void
    yield* keep(fresh)
    inForce = settings
    bound = all
    files = fresh
    return ended === 0 ? {} : { ended }
  })
  return yield* Reloading.run({ first: wanted, asked, read, apply, manager })
})

/** Without a configuration file: workers that start anew read their files anew. */
const restarting = ({ asked, keep, manager, pool }: Staff, { files: held, wanted }: Serving) => {
  let files = held
  const renew = Effect.gen(function*() {
    const fresh = yield* Snapshot.take(wanted, files)
    yield* pool.restart(fresh)
    yield* keep(fresh)
    files = fresh
  })
  return asked.pipe(
    Effect.andThen(Effect.logInfo("restarting the workers, one after the other")),
    Effect.andThen(manager.reloading),
    Effect.andThen(renew),
    Effect.andThen(Effect.logInfo("restarted")),
    Effect.catch(({ message }) =>
      Effect.logError("restart given up; who is not replaced goes on", { reason: message })
    ),
    // Whatever came of it.
    Effect.andThen(manager.ready),
    Effect.forever
  )
}

/** Runs until a signal ends it. Returns how many clients were turned away. */
export const run = Effect.fnUntraced(function*(wanted: Wanted, read: Effect.Effect<Wanted, CommandError>) {
  const { settings } = wanted
  const { default: cluster } = yield* Effect.promise(() => import("node:cluster"))
  if (!cluster.isPrimary) {
    return yield* failed(
      "--workers: another cluster runs this process as its worker; leave the number to that, or to us"
    )
  }
  cluster.schedulingPolicy = cluster.SCHED_RR
  const termination = yield* Signals.termination
  const asked = yield* Signals.hangup
  const manager = yield* ServiceManager.make()
  const bound = yield* tryOut(settings.listen)
  const files = yield* Snapshot.take(wanted)

  const taskFor: Staff["taskFor"] = (addresses, { maxConnections }, files) => ({
    serve: {
      _tag: "Serve",
      listen: bequeath(cluster, addresses),
      reusePort: canSharePorts(),
      ...maxConnections !== undefined && { maxConnections: Math.ceil(maxConnections / settings.workers) }
    },
    files
  })
  const counted = yield* Counters.countedOf(wanted)
  const counters = counted === undefined ? undefined : yield* Counters.keep(counted)
  const pool = yield* WorkerPool.make(cluster, {
    attend: counters?.attend,
    workers: settings.workers,
    drainTimeout: settings.drainTimeout,
    task: taskFor(bound, settings, files)
  })
  const watcher = yield* FiberHandle.make()
  const keep = (files: Snapshot.Snapshot) => FiberHandle.run(watcher, files.watch)
  yield* keep(files)
  yield* Print.listening(bound, settings.protocols)
  yield* manager.ready
  const follow = wanted.loaded === undefined ? restarting : reloading
  const following = follow({ pool, counters, manager, taskFor, keep, asked, read }, { wanted, bound, files })
  const signal = yield* Effect.raceFirst(termination, following)
  yield* Effect.annotateLogs(Effect.logInfo("stopping: waiting for connections to end"), { signal })
  const [refused] = yield* Effect.all([pool.drain, manager.stopping], { concurrency: 2 })
  return refused
})
