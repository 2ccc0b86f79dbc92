/** How a session says no: what it sends, and what it logs. */
import type { AccessDenied } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { DialError } from "../transport/Transport.ts"

/** Ends a session before its relay. Not an `Error`: nobody needs its stack, and a port scan makes thousands. */
export interface Rejection {
  readonly _tag: "Rejection"
  /** For the log. */
  readonly reason: string
  /** The message for the client, where there is one that it would understand. */
  readonly message: Uint8Array | undefined
  /** The reply code in it (RFC 1928 §6). */
  readonly reply: number | undefined
}

/** What can go wrong between the client's request and the relay. */
export type RequestError = ProtocolError | AccessDenied | ResolveError | DialError

const dialCodes: Readonly<Record<DialError["reason"], number>> = {
  Refused: Reply.connectionRefused,
  HostUnreachable: Reply.hostUnreachable,
  NetworkUnreachable: Reply.networkUnreachable,
  // 06 is about an IP packet's time to live, not about time.
  TimedOut: Reply.hostUnreachable,
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
export const request = (error: RequestError): Rejection => {
  const code = replyCode(error)
  const message = Reply.codec.encode({ code, address: Address.unspecified })
  return { _tag: "Rejection", reason: error.message, message, reply: code }
}

/** The first bytes are not a greeting: whoever sent them would not understand an answer. */
export const greeting = (error: ProtocolError): Rejection => ({
  _tag: "Rejection",
  reason: error.message,
  message: undefined,
  reply: undefined
})

/** Nothing that the client offers will do: FF (RFC 1928 §3). */
export const noAcceptableMethod = (wanted: string): Rejection => ({
  _tag: "Rejection",
  reason: `no acceptable method: the client does not offer ${wanted}`,
  message: MethodSelection.codec.encode({ method: MethodSelection.noneAcceptable }),
  reply: undefined
})

/** The login was refused, or was none (RFC 1929 §2). */
export const login = (error: { readonly message: string }): Rejection => ({
  _tag: "Rejection",
  reason: error.message,
  message: PasswordReply.codec.encode({ status: PasswordReply.failure }),
  reply: undefined
})
