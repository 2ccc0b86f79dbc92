/** `sluice serve`: runs the proxy until it is told to stop. */
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Settings from "../config/Settings.ts"
import type { UsersFileError } from "../policy/UsersFile.ts"
import { SocksServer } from "../server/SocksServer.ts"
import type { ListenError } from "../transport/Transport.ts"
import { type CommandError, unusable } from "./CommandError.ts"
import * as Flags from "./Flags.ts"
import * as InheritedSockets from "./InheritedSockets.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as Log from "./Log.ts"
import * as Print from "./Print.ts"
import * as Proxy from "./Proxy.ts"
import * as ServiceManager from "./ServiceManager.ts"
import * as Signals from "./Signals.ts"
import * as WorkerNumber from "./WorkerNumber.ts"

/** In this process alone. */
const run = Effect.fnUntraced(function*({ protocols }: Settings.Settings) {
  // Before anybody can know that the server is there.
  const termination = yield* Signals.termination
  yield* Signals.ignored
  const manager = yield* ServiceManager.make()
  const server = yield* SocksServer
  yield* Print.listening(server.listening, protocols)
  yield* manager.ready
  const signal = yield* termination
  yield* Effect.logInfo("stopping: waiting for connections to end").pipe(Effect.annotateLogs({ signal }))
  yield* Effect.all([server.drain, manager.stopping], { concurrency: 2 })
  return yield* server.refused
})

// Who serves in one process pays for neither.
const importSupervisor = Effect.promise(() => import("./Supervisor.ts"))
const importWorker = Effect.promise(() => import("./Worker.ts"))

/** Why it can't serve. */
type Failure = CommandError | ListenError | UsersFileError

export const serve = Command.make(
  "serve",
  Flags.flags,
  // Untraced: a span that lasts as long as the proxy would only be in the way of whoever traces connections.
  Effect.fnUntraced(function*(input) {
    const { isGiven, settings: given, sourceOf } = yield* Flags.effective(input)
    const worker = WorkerNumber.own()
    const inherited = worker === undefined ? yield* Effect.fromResult(InheritedSockets.take()) : undefined
    const settings = inherited === undefined || isGiven("listen") ? given : { ...given, listen: inherited }
    const listenSource = settings === given ? sourceOf("listen") : "LISTEN_FDS"
    const twice = ListenFailure.twice(settings.listen, listenSource)
    if (twice !== undefined) return yield* twice
    const danger = ListenFailure.openProxy({
      listen: settings.listen,
      hasUsers: Proxy.hasUsers(settings),
      meant: settings.openProxy,
      source: listenSource
    })
    if (danger !== undefined) return yield* danger

    const several = settings.workers > 1
    const runUntilStopped = (): Effect.Effect<number, Failure, Scope.Scope> =>
      several
        ? Effect.flatMap(importSupervisor, (Supervisor) => Supervisor.run(settings))
        : Effect.provide(run(settings), Proxy.layer(settings))
    const serving = worker === undefined
      ? Effect.scoped(runUntilStopped()).pipe(
        // Once all has been closed, and logged.
        Effect.flatMap((refused) => Effect.annotateLogs(Effect.logInfo("stopped"), refused === 0 ? {} : { refused }))
      )
      : Effect.scoped(Effect.flatMap(importWorker, (Worker) => Worker.run(settings)))
    const unused = settings === given && inherited !== undefined
      ? Effect.logWarning("the sockets that systemd has opened are not used: other addresses are given")
      : Effect.void
    yield* Effect.andThen(unused, serving).pipe(
      Effect.catchTags({
        ListenError: (error) => Effect.fail(ListenFailure.refused(error, listenSource)),
        UsersFileError: (error) => Effect.fail(unusable(`${sourceOf("users")}: ${error.message}`))
      }),
      Effect.catchTag("CommandError", (error) =>
        // In a worker, complaining is left to its supervisor.
        worker === undefined ? Effect.fail(error) : Effect.flatMap(importWorker, (Worker) => Worker.fail(error))),
      // A fault of the program is reported in one line; who wants to know where asks for debug events.
      Effect.tapCause((cause) => Cause.hasDies(cause) ? Effect.logDebug("internal error", cause) : Effect.void),
      Effect.provide(Log.layer({
        format: settings.logFormat,
        level: settings.logLevel,
        worker: worker ?? (several ? WorkerNumber.supervisor : undefined)
      }))
    )
  })
).pipe(
  Command.withDescription("Run the proxy until SIGTERM or SIGINT; a flag wins over its environment variable"),
  Command.withShortDescription("Run the proxy")
)
