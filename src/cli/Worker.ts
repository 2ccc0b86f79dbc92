/** `serve` in one of several workers: does what its supervisor says, by the files that it says. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type { SendHandle } from "node:child_process"
import { Sessions } from "../server/Sessions.ts"
import { SocksServer } from "../server/SocksServer.ts"
import * as Files from "../transport/Files.ts"
import type * as NodeTransport from "../transport/NodeTransport.ts"
import * as WatchedFile from "../transport/WatchedFile.ts"
import type { CommandError } from "./CommandError.ts"
import * as Counters from "./Counters.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as Log from "./Log.ts"
import * as Proxy from "./Proxy.ts"
import * as Signals from "./Signals.ts"
import * as Wanted from "./Wanted.ts"
import * as WorkerMessage from "./WorkerMessage.ts"

type Serve = Extract<WorkerMessage.ToWorker, { readonly _tag: "Serve" }>

type ReloadOrder = Extract<WorkerMessage.ToWorker, { readonly _tag: "Prepare" | "Commit" | "Abort" }>

type Read = Effect.Effect<Wanted.Wanted, CommandError>

/** How often the supervisor learns how many sessions there are. */
const reportInterval = "100 millis"

/** Says something to the supervisor; nothing once that is gone. */
const tell = (message: WorkerMessage.FromWorker, socket?: WorkerMessage.Socket): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (process.send === undefined || !process.connected) return resume(Effect.void)
    // The types know only the objects that Node builds around a socket.
    process.send(WorkerMessage.encode.fromWorker(message), socket as SendHandle, () => resume(Effect.void))
  })

/** What the supervisor says, from here on. */
const listen = Effect.gen(function*() {
  const { default: cluster } = yield* Effect.promise(() => import("node:cluster"))
  // Else Node ends the process together with its supervisor, and its connections with it.
  if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
  const serve = Deferred.makeUnsafe<Serve>()
  const drain = Deferred.makeUnsafe<void>()
  const end = Deferred.makeUnsafe<void>()
  const reloads = yield* Queue.unbounded<ReloadOrder>()
  const sockets = new Map<string, WorkerMessage.Socket>()
  process.on("message", (message: unknown, handle: unknown) => {
    const known = Option.getOrUndefined(WorkerMessage.decode.toWorker(message))
    switch (known?._tag) {
      case "Socket":
        // Node makes an object of it before we see the message.
        return void sockets.set(known.address, handle as WorkerMessage.Socket)
      case "Serve":
        return void Deferred.doneUnsafe(serve, Effect.succeed(known))
      case "Prepare":
      case "Commit":
      case "Abort":
        return void Queue.offerUnsafe(reloads, known)
      case "Drain":
        return void Deferred.doneUnsafe(drain, Effect.void)
      case "End":
        return void Deferred.doneUnsafe(end, Effect.void)
    }
  })
  process.on("disconnect", () => {
    Deferred.doneUnsafe(drain, Effect.void)
    Deferred.doneUnsafe(end, Effect.void)
  })
  return { serve: Deferred.await(serve), drain: Deferred.await(drain), end: Deferred.await(end), reloads, sockets }
})

type Supervision = Effect.Success<typeof listen>

/** Reports the number of sessions as long as the scope is open. */
const report = Effect.gen(function*() {
  const sessions = yield* Sessions
  let told = 0
  yield* sessions.count.pipe(
    Effect.flatMap((running) => {
      if (running === told) return Effect.void
      told = running
      return tell({ _tag: "Sessions", running })
    }),
    Effect.repeat(Schedule.spaced(reportInterval)),
    Effect.forkScoped
  )
})

/** How a listener begins to listen. */
const open =
  ({ reusePort }: Serve, sockets: Map<string, WorkerMessage.Socket>): NonNullable<NodeTransport.Options["open"]> =>
  (server, options, inet) => {
    const address = NetAddress.formatInet(inet)
    const socket = sockets.get(address)
    // The next listener there, if there is one, needs another.
    sockets.delete(address)
    if (socket !== undefined) return void server.listen(socket, options.backlog)
    server.listen({ ...options, reusePort })
    if (!reusePort) return
    server.once("listening", () => {
      // `_handle` is not in the types; where it is missing, the supervisor keeps no copy.
      const { _handle } = server as { readonly _handle?: WorkerMessage.Socket }
      if (_handle !== undefined) Effect.runFork(tell({ _tag: "Socket", address }, _handle))
    })
  }

const problemOf = <A, E extends { readonly message: string }>(effect: Effect.Effect<A, E>) =>
  Effect.match(effect, { onSuccess: () => ({}), onFailure: ({ message }) => ({ problem: message }) })

/** What is this worker's part of what is wanted. */
const partOf =
  ({ listen, maxConnections }: Pick<Serve, "listen" | "maxConnections">) => (wanted: Wanted.Wanted): Wanted.Wanted => ({
    ...wanted,
    settings: { ...wanted.settings, listen, ...maxConnections !== undefined && { maxConnections } }
  })

/** What is read meanwhile comes from the files as the supervisor has them. */
const readingFrom = (files: ReadonlyArray<WorkerMessage.PinnedFile>) =>
  Effect.provideService(
    Files.Files,
    Files.pinned(new Map(files.map((file) => [file.path, "bytes" in file ? file.bytes : file.version])))
  )

/** Takes other configurations, when the supervisor has heard from all workers that they can. */
const heed = Effect.fnUntraced(function*(orders: Queue.Dequeue<ReloadOrder>, read: Read) {
  const reload = yield* Proxy.Reload
  let ready: Proxy.Prepared | undefined
  const prepare = Effect.fnUntraced(function*(order: Extract<ReloadOrder, { readonly _tag: "Prepare" }>) {
    const wanted = yield* Effect.map(read, partOf(order))
    ready = yield* Effect.mapError(reload.prepare(wanted), KnownUsers.fault(wanted))
  })
  const follow = Effect.fnUntraced(function*(order: ReloadOrder) {
    if (order._tag === "Prepare") {
      return yield* tell({ _tag: "Prepared", ...yield* problemOf(readingFrom(order.files)(prepare(order))) })
    }
    const prepared = ready
    ready = undefined
    if (order._tag === "Abort") return yield* prepared?.abort ?? Effect.void
    let ended = 0
    const commit = Effect.tap(prepared?.commit ?? Effect.succeed(0), (count) => Effect.sync(() => void (ended = count)))
    yield* tell({ _tag: "Committed", ...yield* problemOf(commit), ended })
  })
  return yield* Effect.forever(Effect.flatMap(Queue.take(orders), follow))
})

/** Serves what is wanted until it is told to stop, or nobody is left to tell. */
const serve = Effect.fnUntraced(
  function*(wanted: Wanted.Wanted, orders: Serve, read: Read, { drain, end, reloads, sockets }: Supervision) {
    const refused = yield* Effect.scoped(Effect.gen(function*() {
      const proxy = Proxy.layer(wanted, { transport: { open: open(orders, sockets) }, counters: Counters.remote })
      const services = yield* readingFrom(orders.files)(Layer.build(proxy))
      return yield* Effect.gen(function*() {
        const server = yield* SocksServer
        yield* report
        if (wanted.loaded !== undefined) yield* Effect.forkScoped(heed(reloads, read))
        yield* tell({ _tag: "Listening" })
        yield* drain
        yield* server.drain
        return yield* server.refused
      }).pipe(Effect.provide(services))
    })).pipe(Effect.provideService(WatchedFile.IsTold, true))
    yield* Effect.forkChild(tell({ _tag: "Stopped", refused }))
    // Clients that were still on their way here are sent on to other workers.
    yield* end
  }
)

/** Serves by what the supervisor orders. What it can't do it tells, and leaves it to that to complain. */
export const run = Effect.fnUntraced(
  function*(worker: number, read: Read) {
    yield* Signals.unheeded
    const supervision = yield* listen
    yield* tell({ _tag: "Started" })
    const orders = yield* Effect.raceFirst(
      Effect.asSome(supervision.serve),
      Effect.as(supervision.drain, Option.none())
    )
    if (Option.isNone(orders)) return
    const wanted = yield* Effect.map(readingFrom(orders.value.files)(read), partOf(orders.value))
    const { logFormat: format, logLevel: level } = wanted.settings
    yield* serve(wanted, orders.value, read, supervision).pipe(
      Effect.catchTags(Wanted.complaints(wanted)),
      Effect.tapCause((cause) => Cause.hasDies(cause) ? Effect.logDebug("internal error", cause) : Effect.void),
      Effect.provide(Log.layer({ format, level, worker }))
    )
  },
  Effect.scoped,
  Effect.catchTag("CommandError", ({ exitCode, message }) => tell({ _tag: "Failed", exitCode, message }))
)
