/** `sluice serve`: runs the proxy until it is told to stop. */
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { UsersFileError } from "../policy/UsersFile.ts"
import { SocksServer } from "../server/SocksServer.ts"
import type { ListenError } from "../transport/Transport.ts"
import type { CommandError } from "./CommandError.ts"
import * as Flags from "./Flags.ts"
import * as InheritedSockets from "./InheritedSockets.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as Log from "./Log.ts"
import * as Print from "./Print.ts"
import * as Proxy from "./Proxy.ts"
import * as ServiceManager from "./ServiceManager.ts"
import * as Signals from "./Signals.ts"
import * as Wanted from "./Wanted.ts"
import * as WorkerNumber from "./WorkerNumber.ts"

type Read = Effect.Effect<Wanted.Wanted, CommandError>

/** Goes on until a signal ends it, by what a configuration file says at each time. */
const untilTold = Effect.fnUntraced(
  function*(first: Wanted.Wanted, read: Read, manager: ServiceManager.ServiceManager) {
    const reload = yield* Proxy.Reload
    const { run } = yield* importReloading
    const apply = Effect.fnUntraced(function*(wanted: Wanted.Wanted) {
      const prepared = yield* Effect.mapError(reload.prepare(wanted), KnownUsers.fault(wanted))
      const ended = yield* Effect.mapError(
        prepared.commit,
        (error) => ListenFailure.refused(error, wanted.listenSource)
      )
      return ended === 0 ? {} : { ended }
    })
    return yield* run({ first, asked: yield* Signals.hangup, read, apply, manager })
  }
)

/** In this process alone. */
const run = Effect.fnUntraced(function*(wanted: Wanted.Wanted, read: Read) {
  // Before anybody can know that the server is there.
  const termination = yield* Signals.termination
  if (wanted.loaded === undefined) yield* Signals.ignored
  const manager = yield* ServiceManager.make()
  const server = yield* SocksServer
  yield* Print.listening(server.listening, wanted.settings.protocols)
  yield* manager.ready
  const signal = yield* wanted.loaded === undefined
    ? termination
    : Effect.raceFirst(termination, untilTold(wanted, read, manager))
  yield* Effect.logInfo("stopping: waiting for connections to end").pipe(Effect.annotateLogs({ signal }))
  yield* Effect.all([server.drain, manager.stopping], { concurrency: 2 })
  return yield* server.refused
})

// Who serves in one process pays for neither.
const importSupervisor = Effect.promise(() => import("./Supervisor.ts"))
const importReloading = Effect.promise(() => import("./Reloading.ts"))
const importWorker = Effect.promise(() => import("./Worker.ts"))

/** Why it can't serve. */
type Failure = CommandError | ListenError | UsersFileError

export const serve = Command.make(
  "serve",
  Flags.flags,
  // Untraced: a span that lasts as long as the proxy would only be in the way of whoever traces connections.
  Effect.fnUntraced(function*(input) {
    const worker = WorkerNumber.own()
    if (worker !== undefined) {
      return yield* Effect.flatMap(importWorker, (Worker) => Worker.run(worker, Wanted.read(input, { isWorker: true })))
    }
    const inherited = yield* Effect.fromResult(InheritedSockets.take())
    const read = Wanted.read(input, { inherited })
    const wanted = yield* read
    const { logFormat: format, logLevel: level, workers } = wanted.settings
    const runUntilStopped = (): Effect.Effect<number, Failure, Scope.Scope> =>
      workers > 1
        ? Effect.flatMap(importSupervisor, (Supervisor) => Supervisor.run(wanted, read))
        : Effect.provide(run(wanted, read), Proxy.layer(wanted))
    const unused = wanted.listenSource !== "LISTEN_FDS" && inherited !== undefined
      ? Effect.logWarning("the sockets that systemd has opened are not used: other addresses are given")
      : Effect.void
    yield* Effect.andThen(unused, Effect.scoped(runUntilStopped())).pipe(
      // Once all has been closed, and logged.
      Effect.flatMap((refused) => Effect.annotateLogs(Effect.logInfo("stopped"), refused === 0 ? {} : { refused })),
      Effect.catchTags(Wanted.complaints(wanted)),
      // A fault of the program is reported in one line; who wants to know where asks for debug events.
      Effect.tapCause((cause) => Cause.hasDies(cause) ? Effect.logDebug("internal error", cause) : Effect.void),
      Effect.provide(Log.layer({ format, level, worker: workers > 1 ? WorkerNumber.supervisor : undefined }))
    )
  })
).pipe(
  Command.withDescription("Run the proxy until SIGTERM or SIGINT; a flag wins over its environment variable"),
  Command.withShortDescription("Run the proxy")
)
