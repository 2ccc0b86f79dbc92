/** The client's side of the handshake: greeting, login, request (RFC 1928 §3–4, RFC 1929). */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Authenticator } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import { ProtocolError, UnknownCommand } from "../protocol/ProtocolError.ts"
import * as Request from "../protocol/Request.ts"
import type { MessageReader } from "./MessageReader.ts"
import { NoAcceptableMethod } from "./Rejection.ts"
import type { SessionState } from "./SessionState.ts"

/** Agrees on a method, and logs the client in where the authenticator asks for it. */
export const login = Effect.fnUntraced(function*(
  session: SessionState,
  reader: MessageReader,
  authenticator: Authenticator["Service"]
) {
  const { methods } = yield* reader.read(Greeting.codec)
  if (!authenticator.required && methods.includes(MethodSelection.noAuthentication)) {
    return yield* session.client.write(MethodSelection.codec.encode({ method: MethodSelection.noAuthentication }))
  }
  if (!methods.includes(MethodSelection.usernamePassword)) {
    return yield* new NoAcceptableMethod({
      wanted: authenticator.required ? "user name and password" : "no authentication"
    })
  }
  yield* session.client.write(MethodSelection.codec.encode({ method: MethodSelection.usernamePassword }))
  const { password, username } = yield* reader.read(PasswordRequest.codec)
  // Named in the log even when the login fails: an operator wants to see whose door is tried.
  session.user = username
  session.user = yield* authenticator.authenticate({ username, password, client: session.remote })
  yield* session.client.write(PasswordReply.codec.encode({ status: PasswordReply.success }))
})

/** Reads the request; any command but CONNECT is refused with 07, once all of it has been read. */
export const request = Effect.fnUntraced(function*(session: SessionState, reader: MessageReader) {
  const { address, command } = yield* reader.read(Request.codec)
  if (command === Request.connect) return address
  // For the log.
  session.destination = Result.getOrUndefined(Address.toHostPort(address))
  return yield* new ProtocolError({ frame: Request.codec.name, reason: new UnknownCommand({ command }) })
})
