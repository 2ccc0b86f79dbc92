/** The whole life of a connection: handshake, authorise, dial, relay. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { AccessPolicy } from "../policy/AccessPolicy.ts"
import type { Authenticator } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { Resolver } from "../transport/Resolver.ts"
import type { ConnectionLog } from "./ConnectionLog.ts"
import * as Handshake from "./Handshake.ts"
import { MessageReader } from "./MessageReader.ts"
import * as Rejection from "./Rejection.ts"
import { relay, type RelayError } from "./Relay.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"

/** The decisions that a session leaves to others. */
export interface Services {
  readonly authenticator: Authenticator["Service"]
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly dialer: Dialer["Service"]
  readonly log: ConnectionLog["Service"]
}

/** Serves a client from accept to end. Never fails; interrupting it closes both its sockets. */
export const make = (services: Services) => {
  const serve = Effect.fnUntraced(function*(session: SessionState) {
    yield* Scope.addFinalizer(yield* Effect.scope, session.client.close)
    const reader = new MessageReader(session.client)
    const target = yield* open(session, reader)
    session.enter("relay")
    yield* relay(session.client, target, () => reader.takeRest(), session)
    session.reason ??= "done"
  })

  /** Everything up to the success reply; the session's scope closes the target. */
  const open = Effect.fnUntraced(function*(session: SessionState, reader: MessageReader) {
    yield* Handshake.login(session, reader, services.authenticator)
    const address = yield* Handshake.request(reader)
    session.enter("dial")
    const target = yield* Effect.mapError(Route.dial(services, session, address), Rejection.request)
    session.reply = Reply.succeeded
    const bound = Address.fromInetAddress(target.local)
    yield* session.client.write(Reply.codec.encode({ code: Reply.succeeded, address: bound }))
    return target
  })

  return (session: SessionState): Effect.Effect<void> =>
    serve(session).pipe(
      Effect.catch((error) => fail(session, error)),
      Effect.scoped,
      Effect.onExit((exit) => end(session, services.log, exit))
    )
}

type SessionError = Rejection.Rejection | RelayError | ConnectionError | Cause.Done

/** Notes why, and tells the client where it would understand. */
const fail = (session: SessionState, error: SessionError): Effect.Effect<void> => {
  if (error._tag === "Rejection") return reject(session, error)
  session.reason ??= error._tag === "Done"
    ? `client left during the ${session.phase}`
    : error._tag === "ConnectionError"
    ? `client ${error.message}`
    : error.message
  return Effect.void
}

/**
 * Sends the refusal, half-closes, and reads on until the client closes too or
 * its time is over: closing with bytes unread would send a reset, which can
 * overtake the reply that it follows.
 */
const reject = Effect.fnUntraced(function*(session: SessionState, rejection: Rejection.Rejection) {
  session.reason ??= rejection.reason
  session.reply = rejection.reply
  session.enter("closing")
  if (rejection.message !== undefined) yield* session.client.write(rejection.message)
  yield* session.client.end
  yield* Effect.forever(session.client.pull)
}, (effect) => Effect.ignore(effect))

const end = Effect.fnUntraced(function*(
  session: SessionState,
  log: ConnectionLog["Service"],
  exit: Exit.Exit<void>
) {
  session.leave()
  if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) yield* Effect.logError("session died", exit.cause)
  yield* log.ended(session.record(session.reason ?? (Exit.isSuccess(exit) ? "done" : "interrupted")))
})
