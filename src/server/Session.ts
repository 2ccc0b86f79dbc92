/** The whole life of a connection: handshake, authorise, dial, relay. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { UpstreamPools } from "../client/UpstreamPools.ts"
import { AccessDenied, AccessPolicy } from "../policy/AccessPolicy.ts"
import type { Authenticator } from "../policy/Authenticator.ts"
import type { LimitExceeded, LimitStore } from "../policy/LimitStore.ts"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { Resolver } from "../transport/Resolver.ts"
import type { Associate } from "./Association.ts"
import type { Bind } from "./Bind.ts"
import type { ConnectionLog } from "./ConnectionLog.ts"
import { type Dialect, type Forwarding, type Rejection, silence, type Wish } from "./Dialect.ts"
import type { Introduction } from "./Introduction.ts"
import * as Lookup from "./Lookup.ts"
import { MessageReader } from "./MessageReader.ts"
import type { Refusal, UnknownProtocol } from "./Refusal.ts"
import { relay, type RelayError } from "./Relay.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"
import { shaped } from "./Shaper.ts"
import type { Sniffer } from "./Sniffer.ts"

/** The decisions that a session leaves to others. */
export interface Services extends Route.Services {
  readonly authenticator: Authenticator["Service"]
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly dialer: Dialer["Service"]
  readonly pools: UpstreamPools["Service"]
  readonly log: ConnectionLog["Service"]
  /** How much of what a client may use. Default: as much as there is. */
  readonly limits?: LimitStore["Service"] | undefined
  readonly introduction: Introduction
  readonly sniff: Sniffer
  readonly associate: Associate
  readonly bind: Bind
}

/** Serves a client from accept to end. Never fails; interrupting it closes both its sockets. */
export const make = (services: Services) => {
  const serve = Effect.fnUntraced(function*(session: SessionState) {
    // It left while it waited to be accepted. Nobody knows who it was, so there is nothing to serve it by.
    if (session.remote === undefined) {
      // As those do who only look whether the port is open, every second perhaps.
      session.looksLike = "nobody"
      return void (session.reason = "client left before it was served")
    }
    const reader = new MessageReader(session.client)
    yield* services.introduction(session, reader) ?? Effect.void
    if (services.limits !== undefined) yield* meet(services.limits, session)
    const dialect = session.dialect = yield* services.sniff(reader)
    const asked = yield* dialect.request(session, reader, authenticatorOf(session) ?? services.authenticator)
    session.command = asked.command
    yield* Effect.tapError(admit(services, session), () => noteRefused(session, asked))
    const wish = asked.command === "forward" ? yield* asked.serve(services) : asked
    if (wish === undefined) return
    const { address, command } = wish
    session.command = command
    session.enter("dial")
    if (command === "associate" || command === "bind") {
      yield* authorizeCommand(services, session)
    }
    if (command === "associate") return yield* services.associate(session, dialect)
    if (command === "resolve" || command === "resolve-ptr") {
      return yield* tell(session, dialect, yield* Lookup.answer(services, session, wish))
    }
    const target = session.target = command === "bind"
      ? shaped(yield* services.bind(session, dialect, reader, address), session.lease)
      : yield* Route.dial(services, session, address)
    if (command === "bind") yield* services.confirm(session)
    yield* grant(session, dialect, target, command === "bind" ? target.remote : target.local)
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

/** Whether it may ask for anything, as the one that it is by now. */
const admit = Effect.fnUntraced(function*(services: Services, session: SessionState) {
  yield* services.confirm(session)
  // It has been told that it needs none, and a reload has come in between.
  if (session.identity === undefined && services.authenticator.required) return yield* loginNeeded
  if (services.limits !== undefined) yield* session.lease.identify(session.who())
})

/** Where it was to go, for the log: reading a name takes ten microseconds, and who isn't refused has that done later. */
const noteRefused = (session: SessionState, asked: Wish | Forwarding): Effect.Effect<void> =>
  Effect.sync(() => {
    if (asked.command === "connect") session.destination = Result.getOrUndefined(Address.toHostPort(asked.address))
  })

/** Before anything is opened for a command that says later, or never, where it goes. */
const authorizeCommand = Effect.fnUntraced(function*({ limits, policy }: Services, session: SessionState) {
  const verdict = yield* policy.authorizeCommand?.(session.commandRequest) ?? AccessPolicy.permit
  if (limits !== undefined && verdict.limits !== undefined) yield* session.lease.identify(session.who(verdict.limits))
  session.verdict = verdict
})

const loginNeeded = Effect.fail(new AccessDenied({ rule: "a login is needed" }))

/** Counts it from now on, for as long as the scope is open, whether or not it ever says who it is. */
const meet = (
  limits: LimitStore["Service"],
  session: SessionState
): Effect.Effect<void, LimitExceeded, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      // What is cut off must not look whole.
      limits.meet(session.who().client, (error) => session.cut(error.message)),
      (lease) => lease.release,
      { interruptible: true }
    ),
    (lease) => void (session.lease = lease)
  )

/** A client that has shown by a certificate who it is has no login left to do; its name stands if it insists on one. */
const authenticatorOf = (session: SessionState): Authenticator["Service"] | undefined => {
  const name = session.client.peerName
  if (name === undefined) return undefined
  session.admit({ name })
  return { required: false, authenticate: () => Effect.succeed({ name }) }
}

/** Tells the client that it is connected, and from where; after a BIND, with whom. */
const grant = (
  session: SessionState,
  dialect: Dialect,
  target: Connection,
  told: NetAddress.InetAddress | undefined
): Effect.Effect<void, ConnectionError> => {
  session.reply = Reply.succeeded
  const address = Address.fromInetAddress(told)
  // A client that is gone: for the target, too, that is a cut and not an end.
  return Effect.tapError(
    session.client.write(dialect.granted(address)),
    () => target.reset
  )
}

/** Answers a question, and that is all there was to do. */
const tell = (session: SessionState, dialect: Dialect, address: Address.Address): Effect.Effect<void> => {
  session.reason = "looked up"
  return reject(session, { reply: Reply.succeeded, message: dialect.granted(address) })
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
  if (error._tag === "AccessDenied") session.verdict = { log: error.log }
  switch (error._tag) {
    case "Done":
    case "ConnectionError":
    case "RelayError":
      return Effect.void
    case "UnknownProtocol":
      session.looksLike = error.looks
      return reject(session, silence)
    case "LimitExceeded":
      if (session.dialect !== undefined) return reject(session, session.dialect.rejection(error))
      // Before it has said anything there is nothing that it would understand, and of a flood nothing is to be kept.
      session.unheard = true
      return Effect.void
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
  let reason = session.reason ?? (Exit.isSuccess(exit) ? "done" : "interrupted")
  // One that does not get as far as TLS is logged as sparingly as others that are not for us.
  if (session.client.insecure === true && !session.unheard) {
    session.looksLike = "no TLS"
    reason = `no TLS: ${reason}`
  }
  return Effect.catchCause(
    Effect.flatMap(session.client.close, () => log.ended(session.record(reason))),
    (cause) => Effect.logError("connection log died", cause)
  )
}
