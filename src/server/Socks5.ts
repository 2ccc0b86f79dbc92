/** The client's side of the handshake: greeting, login, request (RFC 1928 §3–4, RFC 1929). */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { AuthenticationFailed, Authenticator } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import { ProtocolError, UnknownCommand } from "../protocol/ProtocolError.ts"
import * as Request from "../protocol/Request.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { MessageReader } from "./MessageReader.ts"
import { NoAcceptableMethod } from "./Rejection.ts"
import type { SessionState } from "./SessionState.ts"

type LoginError = NoAcceptableMethod | AuthenticationFailed | ProtocolError | ConnectionError | Cause.Done

/** Agrees on a method, and logs the client in where the authenticator asks for it. */
export const login = (
  session: SessionState,
  reader: MessageReader,
  authenticator: Authenticator["Service"]
): Effect.Effect<void, LoginError> =>
  Effect.flatMap(reader.read(Greeting.codec), ({ methods }): Effect.Effect<void, LoginError> => {
    if (!authenticator.required && methods.includes(MethodSelection.noAuthentication)) return session.client.write(open)
    if (methods.includes(MethodSelection.usernamePassword)) return authenticate(session, reader, authenticator)
    const wanted = authenticator.required ? "user name and password" : "no authentication"
    return Effect.fail(new NoAcceptableMethod({ wanted }))
  })

const open = MethodSelection.codec.encode({ method: MethodSelection.noAuthentication })

const authenticate = Effect.fnUntraced(function*(
  session: SessionState,
  reader: MessageReader,
  authenticator: Authenticator["Service"]
) {
  yield* session.client.write(MethodSelection.codec.encode({ method: MethodSelection.usernamePassword }))
  const { password, username } = yield* reader.read(PasswordRequest.codec)
  // Named in the log even when the login fails: an operator wants to see whose door is tried.
  session.user = username
  session.user = yield* authenticator.authenticate({ username, password, client: session.remote })
  yield* session.client.write(PasswordReply.codec.encode({ status: PasswordReply.success }))
})

/** Reads the request; any command but CONNECT is refused with 07, once all of it has been read. */
export const request = (session: SessionState, reader: MessageReader) =>
  Effect.flatMap(reader.read(Request.codec), ({ address, command }) => {
    if (command === Request.connect) return Effect.succeed(address)
    // For the log.
    session.destination = Result.getOrUndefined(Address.toHostPort(address))
    return Effect.fail(new ProtocolError({ frame: Request.codec.name, reason: new UnknownCommand({ command }) }))
  })
