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
    const { client } = session
    yield* Scope.addFinalizer(yield* Effect.scope, client.close)
    // It left while it waited to be accepted. Nobody knows who it was, so there is nothing to serve it by.
    if (session.remote === undefined) return void (session.reason = "client left before it was served")
    const reader = new MessageReader(client)
    yield* Handshake.login(session, reader, services.authenticator)
    const target = yield* open(session, yield* Handshake.request(session, reader))
    session.enter("relay")
    yield* relay(client, target, reader, session)
    session.reason ??= "done"
  })

  /** Dials, and says so to the client; the session's scope closes the target. */
  const open = Effect.fnUntraced(function*(session: SessionState, address: Address.Address) {
    session.enter("dial")
    const target = yield* Route.dial(services, session, address)
    session.target = target
    session.reply = Reply.succeeded
    const bound = Address.fromInetAddress(target.local)
    const reply = Reply.codec.encode({ code: Reply.succeeded, address: bound })
    // The client is gone: for the target, too, that is a cut and not an end.
    yield* Effect.tapError(session.client.write(reply), () => target.reset)
    return target
  })

  return (session: SessionState): Effect.Effect<void> =>
    Effect.onExit(
      Effect.scoped(Effect.catch(serve(session), (error) => fail(session, error))),
      (exit) => end(session, services.log, exit)
    )
}

/** Notes why, and tells the client where it would understand. */
const fail = (
  session: SessionState,
  error: Rejection.Refusal | RelayError | ConnectionError | Cause.Done
): Effect.Effect<void> => {
  switch (error._tag) {
    case "Done":
      session.reason ??= `client left during the ${session.phase}`
      return Effect.void
    case "ConnectionError":
      session.reason ??= `client ${error.message}`
      return Effect.void
    case "RelayError":
      session.reason ??= error.message
      return Effect.void
    default:
      session.reason ??= error.message
      return reject(session, Rejection.make(error))
  }
}

/**
 * Sends the refusal, half-closes, and reads on until the client closes too or
 * its time is over: closing with bytes unread would send a reset, which can
 * overtake the reply that it follows.
 */
const reject = Effect.fnUntraced(function*(session: SessionState, { message, reply }: Rejection.Rejection) {
  session.reply = reply
  session.enter("closing")
  if (message !== undefined) yield* session.client.write(message)
  yield* session.client.end
  yield* Effect.forever(session.client.pull)
}, (effect) => Effect.ignore(effect))

/** One record, whatever happened. */
const end = (session: SessionState, log: ConnectionLog["Service"], exit: Exit.Exit<void>): Effect.Effect<void> => {
  session.leave()
  const record = log.ended(session.record(session.reason ?? (Exit.isSuccess(exit) ? "done" : "interrupted")))
  return Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)
    ? record
    : Effect.andThen(Effect.logError("session died", exit.cause), record)
}
