/** Why bytes are not the message that they should be: one error, with a reason that can be told apart. */
import * as Data from "effect/Data"

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, "0")}`

/** What speaks when the first byte is not SOCKS5's: the usual cause is a port configured as something else. */
const speaker = (firstByte: number): string => {
  if (firstByte === 0x04) return ", looks like SOCKS4"
  if (firstByte === 0x16) return ", looks like TLS"
  return firstByte >= 0x41 && firstByte <= 0x5a ? ", looks like HTTP" : ""
}

/** The version byte is not the one of this message: 5 in RFC 1928, 1 in the sub-negotiation of RFC 1929. */
export class VersionMismatch extends Data.TaggedClass("VersionMismatch")<{
  readonly expected: number
  readonly actual: number
}> {
  get message(): string {
    return `version ${hex(this.actual)} instead of ${hex(this.expected)}${speaker(this.actual)}`
  }
}

/** A reserved byte (RSV) is not 0, as RFC 1928 wants it. */
export class ReservedNotZero extends Data.TaggedClass("ReservedNotZero")<{
  readonly actual: number
}> {
  get message(): string {
    return `reserved byte is ${hex(this.actual)}`
  }
}

/** The command byte is none that is served: reply 07. No codec fails with it, since the request is well formed. */
export class UnknownCommand extends Data.TaggedClass("UnknownCommand")<{
  readonly command: number
}> {
  get message(): string {
    return `unknown command ${hex(this.command)}`
  }
}

/** ATYP is none of 01, 03 and 04, so that not even the length of the address is known: reply 08. */
export class UnknownAddressType extends Data.TaggedClass("UnknownAddressType")<{
  readonly type: number
}> {
  get message(): string {
    return `unknown address type ${hex(this.type)}`
  }
}

/**
 * A domain is not legal on the wire, or is no host name. `name` is safe in a
 * log line: every byte that is not printable ASCII reads `\xNN`. On the wire it
 * ends at the offending byte.
 */
export class BadDomain extends Data.TaggedClass("BadDomain")<{
  readonly name: string
  readonly why: string
}> {
  get message(): string {
    return `bad domain "${this.name}": ${this.why}`
  }
}

/**
 * A field of the password sub-negotiation, or the USERID of SOCKS4, is not UTF-8 or has no end. Its bytes are left out:
 * they may be a secret.
 */
export class BadText extends Data.TaggedClass("BadText")<{
  readonly field: "username" | "password"
  readonly why: string
}> {
  get message(): string {
    return `bad ${this.field}: ${this.why}`
  }
}

/** What stands before a connection is no PROXY header, or is not whole. */
export class BadProxyHeader extends Data.TaggedClass("BadProxyHeader")<{
  readonly why: string
}> {
  get message(): string {
    return this.why
  }
}

/** The head of an HTTP message is not what RFC 9112 has there, or too long. Its text is left out. */
export class BadHead extends Data.TaggedClass("BadHead")<{
  readonly why: string
}> {
  get message(): string {
    return this.why
  }
}

/** An HTTP request that is not served, and the status that says so. The client's text is left out. */
export class BadRequest extends Data.TaggedClass("BadRequest")<{
  readonly status: 400 | 413 | 431 | 501 | 505
  readonly why: string
}> {
  get message(): string {
    return this.why
  }
}

export type ProtocolErrorReason =
  | VersionMismatch
  | ReservedNotZero
  | UnknownCommand
  | UnknownAddressType
  | BadDomain
  | BadText
  | BadHead
  | BadRequest
  | BadProxyHeader

/** The bytes cannot be, or become, the message named by `frame` (`request`, `password request`, …). */
export class ProtocolError extends Data.TaggedError("ProtocolError")<{
  readonly frame: string
  readonly reason: ProtocolErrorReason
}> {
  override get message(): string {
    return `${this.frame}: ${this.reason.message}`
  }
}

/** An HTTP request that won't do, and the status that says so. */
export const badRequest = (status: BadRequest["status"], why: string): ProtocolError =>
  new ProtocolError({ frame: "HTTP request", reason: new BadRequest({ status, why }) })
