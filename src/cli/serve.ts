/** `sluice serve`: runs the proxy until it is told to stop. */
import * as Cause from "effect/Cause"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Settings from "../config/Settings.ts"
import { Authenticator } from "../policy/Authenticator.ts"
import * as InternalNetworks from "../policy/InternalNetworks.ts"
import { ConnectionLog } from "../server/ConnectionLog.ts"
import { SocksServer } from "../server/SocksServer.ts"
import { Dialer } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { unusable } from "./CommandError.ts"
import * as Flags from "./Flags.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as Log from "./Log.ts"
import * as Signals from "./Signals.ts"

const hasUsers = ({ user, users }: Settings.Settings): boolean => user.length > 0 || users !== undefined

const authenticator = (settings: Settings.Settings) =>
  hasUsers(settings)
    // Only those who have users pay for loading argon2.
    ? Layer.unwrap(
      Effect.map(Effect.promise(() => import("../policy/Users.ts")), (Users) =>
        Users.layer({ users: settings.user, ...settings.users !== undefined && { file: settings.users } }))
    )
    : Authenticator.layerOpen

const layer = (settings: Settings.Settings) =>
  SocksServer.layer(settings).pipe(
    Layer.provide([
      authenticator(settings),
      InternalNetworks.layer(settings),
      DnsResolver.layer({ servers: settings.dns }),
      Dialer.layer(settings),
      ConnectionLog.layer
    ]),
    Layer.provide(NodeTransport.layer())
  )

const run = Effect.gen(function*() {
  // Before anybody can know that the server is there.
  const termination = yield* Signals.termination
  yield* Signals.ignored
  const server = yield* SocksServer
  for (const address of server.addresses) {
    yield* Console.log(`listening on socks5://${NetAddress.formatInet(address)}`)
  }
  const signal = yield* termination
  yield* Effect.logInfo("stopping: waiting for connections to end").pipe(Effect.annotateLogs({ signal }))
  yield* server.drain
  return yield* server.refused
})

export const serve = Command.make(
  "serve",
  Flags.flags,
  // Untraced: a span that lasts as long as the proxy would only be in the way of whoever traces connections.
  Effect.fnUntraced(function*(input) {
    const { settings, sourceOf } = yield* Flags.effective(input)
    const twice = ListenFailure.twice(settings.listen, sourceOf("listen"))
    if (twice !== undefined) return yield* twice
    const danger = ListenFailure.openProxy({
      listen: settings.listen,
      hasUsers: hasUsers(settings),
      meant: settings.openProxy,
      source: sourceOf("listen")
    })
    if (danger !== undefined) return yield* danger
    yield* run.pipe(
      Effect.provide(layer(settings)),
      Effect.scoped,
      // Once all has been closed, and logged.
      Effect.flatMap((refused) => Effect.annotateLogs(Effect.logInfo("stopped"), refused === 0 ? {} : { refused })),
      Effect.catchTags({
        ListenError: (error) => Effect.fail(ListenFailure.refused(error, sourceOf("listen"))),
        UsersFileError: (error) => Effect.fail(unusable(`${sourceOf("users")}: ${error.message}`))
      }),
      // A fault of the program is reported in one line; who wants to know where asks for debug events.
      Effect.tapCause((cause) => Cause.hasDies(cause) ? Effect.logDebug("internal error", cause) : Effect.void),
      Effect.provide(Log.layer({ format: settings.logFormat, level: settings.logLevel }))
    )
  })
).pipe(
  Command.withDescription("Run the proxy until SIGTERM or SIGINT; a flag wins over its environment variable"),
  Command.withShortDescription("Run the proxy")
)
