/** Why a session says no, and the reply code that this amounts to in any protocol. */
import * as Data from "effect/Data"
import * as NetAddress from "effect/net/NetAddress"
import type { UpstreamError } from "../client/Upstreams.ts"
import type { AccessDenied } from "../policy/AccessPolicy.ts"
import type { AuthenticationFailed } from "../policy/Authenticator.ts"
import type { LimitExceeded } from "../policy/LimitStore.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { DialError, ListenError } from "../transport/Transport.ts"

/** The client offers no method that will do. */
export class NoAcceptableMethod extends Data.TaggedError("NoAcceptableMethod")<{
  readonly wanted: string
}> {
  override get message(): string {
    return `no acceptable method: the client does not offer ${this.wanted}`
  }
}

/** It speaks none of the protocols that are served here. */
export class UnknownProtocol extends Data.TaggedError("UnknownProtocol")<{
  /** What it looks like: `TLS`, `SSH`, … */
  readonly looks: string
}> {
  override get message(): string {
    return `not a protocol that is served here: looks like ${this.looks}`
  }
}

/** The peer of a BIND did not connect in time. */
export class NobodyCame extends Data.TaggedError("NobodyCame")<{
  /** Where it should have connected to. */
  readonly address: NetAddress.InetAddress
}> {
  override get message(): string {
    return `nobody who was expected connected to ${NetAddress.formatInet(this.address)} in time`
  }
}

/** The origin of an HTTP request answers with something else, or not at all. */
export class BadResponse extends Data.TaggedError("BadResponse")<{
  readonly why: string
}> {
  override get message(): string {
    return `no HTTP response from the destination (${this.why})`
  }
}

/** What can go wrong between the client's request and the relay. */
export type RequestError =
  | ProtocolError
  | AccessDenied
  | LimitExceeded
  | ResolveError
  | DialError
  | ListenError
  | NobodyCame
  | BadResponse
  | UpstreamError

/** Everything for which a client is refused in its own protocol. */
export type Refusal = RequestError | AuthenticationFailed | NoAcceptableMethod

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
  BadText: Reply.generalFailure,
  BadHead: Reply.generalFailure,
  BadRequest: Reply.generalFailure,
  BadProxyHeader: Reply.generalFailure
}

/** The reply code for each failure of a request (RFC 1928 §6). */
export const replyCode = (error: RequestError): number => {
  switch (error._tag) {
    case "AccessDenied":
      return error.reply ?? Reply.notAllowed
    case "LimitExceeded":
      return Reply.notAllowed
    case "ResolveError":
      return Reply.hostUnreachable
    case "DialError":
      return dialCodes[error.reason]
    case "UpstreamError":
      return error.reply
    case "ListenError":
    case "NobodyCame":
    case "BadResponse":
      return Reply.generalFailure
    case "ProtocolError":
      return protocolCodes[error.reason._tag]
  }
}
