/** How a session says no: what it sends, and what it logs. */
import * as Data from "effect/Data"
import type { AccessDenied } from "../policy/AccessPolicy.ts"
import type { AuthenticationFailed } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { DialError } from "../transport/Transport.ts"
import type { Phase } from "./SessionState.ts"

/** The client offers no method that will do. */
export class NoAcceptableMethod extends Data.TaggedError("NoAcceptableMethod")<{
  readonly wanted: string
}> {
  override get message(): string {
    return `no acceptable method: the client does not offer ${this.wanted}`
  }
}

/** What can go wrong between the client's request and the relay. */
export type RequestError = ProtocolError | AccessDenied | ResolveError | DialError

/** Everything for which a client is refused. */
export type Refusal = RequestError | AuthenticationFailed | NoAcceptableMethod

export interface Rejection {
  /** The message for the client; `undefined` where there is none that it would understand. */
  readonly message: Uint8Array | undefined
  /** The reply code in it (RFC 1928 §6), if it is a reply. */
  readonly reply: number | undefined
}

const dialCodes: Readonly<Record<DialError["reason"], number>> = {
  Refused: Reply.connectionRefused,
  HostUnreachable: Reply.hostUnreachable,
  NetworkUnreachable: Reply.networkUnreachable,
  // 06 is about an IP packet's time to live, not about time.
  TimedOut: Reply.hostUnreachable,
  Prohibited: Reply.notAllowed,
  Unknown: Reply.generalFailure
}

const protocolCodes: Readonly<Record<ProtocolError["reason"]["_tag"], number>> = {
  UnknownCommand: Reply.commandNotSupported,
  UnknownAddressType: Reply.addressTypeNotSupported,
  // No name server could know it.
  BadDomain: Reply.hostUnreachable,
  VersionMismatch: Reply.generalFailure,
  ReservedNotZero: Reply.generalFailure,
  BadText: Reply.generalFailure
}

/** The reply code for each failure of a request (RFC 1928 §6). */
export const replyCode = (error: RequestError): number => {
  switch (error._tag) {
    case "AccessDenied":
      return Reply.notAllowed
    case "ResolveError":
      return Reply.hostUnreachable
    case "DialError":
      return dialCodes[error.reason]
    case "ProtocolError":
      return protocolCodes[error.reason._tag]
  }
}

/** The request can't be served. A failure reply has an address too, of zeros. */
const requestRejection = (reply: number): Rejection => ({
  reply,
  message: Reply.codec.encode({ code: reply, address: Address.unspecified })
})

/** Whoever sends something else than a greeting would not understand an answer. */
const silence: Rejection = { reply: undefined, message: undefined }

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

/** What broke is ours. In the handshake that is the login: nothing else of it asks anybody. */
export const internal = (phase: Phase): Rejection =>
  phase === "handshake" ? loginRejection : requestRejection(Reply.generalFailure)

/** How to say no to a client, in the terms of the message that it waits for. */
export const make = (error: Refusal): Rejection => {
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
}
