/** The whole life of a connection: handshake, authorise, dial, relay. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type { AccessPolicy } from "../policy/AccessPolicy.ts"
import type { Authenticator } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { Resolver } from "../transport/Resolver.ts"
import type { ConnectionLog } from "./ConnectionLog.ts"
import { type Dialect, type Rejection, silence } from "./Dialect.ts"
import { MessageReader } from "./MessageReader.ts"
import type { Refusal, UnknownProtocol } from "./Refusal.ts"
import { relay, type RelayError } from "./Relay.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"
import type { Sniffer } from "./Sniffer.ts"

/** The decisions that a session leaves to others. */
export interface Services {
  readonly authenticator: Authenticator["Service"]
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly dialer: Dialer["Service"]
  readonly log: ConnectionLog["Service"]
  readonly sniff: Sniffer
}

/** Serves a client from accept to end. Never fails; interrupting it closes both its sockets. */
export const make = (services: Services) => {
  const serve = Effect.fnUntraced(function*(session: SessionState) {
    // It left while it waited to be accepted. Nobody knows who it was, so there is nothing to serve it by.
    if (session.remote === undefined) return void (session.reason = "client left before it was served")
    const reader = new MessageReader(session.client)
    const dialect = session.dialect = yield* services.sniff(reader)
    const { address } = yield* dialect.request(session, reader, services.authenticator)
    session.enter("dial")
    const target = session.target = yield* Route.dial(services, session, address)
    yield* grant(session, dialect, target)
    session.enter("relay")
    yield* relay(session.client, target, reader, session)
    session.reason ??= "done"
  })

  // The scope closes the target.
  return (session: SessionState): Effect.Effect<void> =>
    Effect.onExit(
      Effect.scoped(Effect.catchCause(serve(session), (cause) => fail(session, cause))),
      (exit) => end(session, services.log, exit)
    )
}

/** Tells the client that it is connected, and from where. */
const grant = (session: SessionState, dialect: Dialect, target: Connection): Effect.Effect<void, ConnectionError> => {
  session.reply = Reply.succeeded
  const address = Address.fromInetAddress(target.local)
  // A client that is gone: for the target, too, that is a cut and not an end.
  return Effect.tapError(
    session.client.write(dialect.granted(address)),
    () => target.reset
  )
}

type Failure = Refusal | UnknownProtocol | RelayError | ConnectionError | Cause.Done

/** Notes why, and tells the client where it would understand. */
const fail = (session: SessionState, cause: Cause.Cause<Failure>): Effect.Effect<void> => {
  const found = Cause.findError(cause)
  if (Result.isFailure(found)) return broken(session, found.failure)
  const error = found.success
  session.reason ??= error._tag === "Done"
    ? `client left during the ${session.phase}`
    : error._tag === "ConnectionError"
    ? `client ${error.message}`
    : error.message
  switch (error._tag) {
    case "Done":
    case "ConnectionError":
    case "RelayError":
      return Effect.void
    case "UnknownProtocol":
      session.looksLike = error.looks
      return reject(session, silence)
    default:
      return reject(session, session.dialect?.rejection(error) ?? silence)
  }
}

/** A service of somebody's own broke, or this code did: the client learns that it is not to blame, the log why. */
const broken = (session: SessionState, cause: Cause.Cause<never>): Effect.Effect<void> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause)
  session.reason ??= "internal error"
  return Effect.andThen(
    Effect.logError("session died", cause),
    session.target === undefined
      ? reject(session, session.dialect?.broken(session.phase) ?? silence)
      : Effect.andThen(session.client.reset, session.target.reset)
  )
}

/**
 * Sends the refusal, half-closes, and reads on until the client closes too or
 * its time is over: closing with bytes unread would send a reset, which can
 * overtake the reply that it follows.
 */
const reject = Effect.fnUntraced(function*(session: SessionState, { message, reply }: Rejection) {
  session.reply = reply
  session.enter("closing")
  if (message !== undefined) yield* session.client.write(message)
  yield* session.client.end
  yield* Effect.forever(session.client.pull)
}, (effect) => Effect.ignore(effect))

/** Closes the client's connection, and leaves one record, whatever happened. */
const end = (session: SessionState, log: ConnectionLog["Service"], exit: Exit.Exit<void>): Effect.Effect<void> => {
  session.leave()
  const reason = session.reason ?? (Exit.isSuccess(exit) ? "done" : "interrupted")
  return Effect.catchCause(
    Effect.flatMap(session.client.close, () => log.ended(session.record(reason))),
    (cause) => Effect.logError("connection log died", cause)
  )
}
