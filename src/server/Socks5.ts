/** SOCKS5 as a server speaks it: greeting, login, request, reply (RFC 1928 §3–6, RFC 1929). */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { AuthenticationFailed, Authenticator } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import { type Dialect, type Rejection, silence, type Wish } from "./Dialect.ts"
import type { MessageReader } from "./MessageReader.ts"
import { NoAcceptableMethod, replyCode } from "./Refusal.ts"
import type { SessionState } from "./SessionState.ts"

type LoginError = NoAcceptableMethod | AuthenticationFailed | ProtocolError | ConnectionError | Cause.Done

/** Agrees on a method, and logs the client in where the authenticator asks for it. */
const login = (
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

// Always the same: each connection would encode them anew.
const open = MethodSelection.codec.encode({ method: MethodSelection.noAuthentication })
const loginWanted = MethodSelection.codec.encode({ method: MethodSelection.usernamePassword })
const loggedIn = PasswordReply.codec.encode({ status: PasswordReply.success })

const authenticate = Effect.fnUntraced(function*(
  session: SessionState,
  reader: MessageReader,
  authenticator: Authenticator["Service"]
) {
  yield* session.client.write(loginWanted)
  const { password, username } = yield* reader.read(PasswordRequest.codec)
  // Named in the log even when the login fails: an operator wants to see whose door is tried.
  session.user = username
  session.admit(yield* authenticator.authenticate({ username, password, client: session.remote }))
  yield* session.client.write(loggedIn)
})

/** Reads the request; a command that is not served is refused with 07, once all of it has been read. */
const wish = (
  session: SessionState,
  reader: MessageReader
): Effect.Effect<Wish, ProtocolError | ConnectionError | Cause.Done> =>
  Effect.flatMap(reader.read(Request.codec), ({ address, command }): Effect.Effect<Wish, ProtocolError> => {
    if (command === Request.connect) return Effect.succeed({ command: "connect", address })
    if (command === Request.bind) return Effect.succeed({ command: "bind", address })
    if (command === Request.udpAssociate) return Effect.succeed({ command: "associate", address })
    if (command === Request.resolve) return Effect.succeed({ command: "resolve", address })
    if (command === Request.resolvePtr) return Effect.succeed({ command: "resolve-ptr", address })
    // For the log.
    session.destination = Result.getOrUndefined(Address.toHostPort(address))
    return Effect.fail(Request.notServed(command))
  })

/** The request can't be served. A failure reply has an address too, of zeros. */
const requestRejection = (reply: number): Rejection => ({
  reply,
  message: Reply.codec.encode({ code: reply, address: Address.unspecified })
})

/** FF: nothing that the client offers will do (RFC 1928 §3). */
const methodRejection: Rejection = {
  reply: undefined,
  message: MethodSelection.codec.encode({ method: MethodSelection.noneAcceptable })
}

/** The login was refused, or was none (RFC 1929 §2). */
const loginRejection: Rejection = {
  reply: undefined,
  message: PasswordReply.codec.encode({ status: PasswordReply.failure })
}

export const dialect: Dialect = {
  protocol: "socks5",
  request: (session, reader, authenticator) =>
    Effect.flatMap(login(session, reader, authenticator), () => wish(session, reader)),
  granted: (address) => Reply.codec.encode({ code: Reply.succeeded, address }),
  rejection: (error) => {
    switch (error._tag) {
      case "NoAcceptableMethod":
        return methodRejection
      case "AuthenticationFailed":
        return loginRejection
      case "ProtocolError":
        if (error.frame === Greeting.codec.name) return silence
        return error.frame === PasswordRequest.codec.name ? loginRejection : requestRejection(replyCode(error))
      default:
        return requestRejection(replyCode(error))
    }
  },
  // In the handshake that is the login: nothing else of it asks anybody.
  broken: (phase) => phase === "handshake" ? loginRejection : requestRejection(Reply.generalFailure)
}
