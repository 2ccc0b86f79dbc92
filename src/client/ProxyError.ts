/** What can go wrong with a proxy that one is the client of. Each names the proxy by its URL, without the password. */
import * as Data from "effect/Data"
import * as Reply from "../protocol/Reply.ts"

const hex = (byte: number): string => byte.toString(16).padStart(2, "0")

/** SOCKS4's codes (90 is success), in the words of its specification. */
const socks4Words: Readonly<Record<number, string>> = {
  91: "request rejected or failed",
  92: "no identd answers for the client",
  93: "identd knows the client by another name"
}

/**
 * The proxy says no to the request: it is there, and judged. `code` is REP of RFC 1928 §6, 01 to FF, or with
 * `protocol` "socks4" its CD, 91 to 93.
 */
export class ReplyError extends Data.TaggedError("ReplyError")<{
  readonly proxy: string
  readonly protocol: "socks5" | "socks4"
  readonly code: number
}> {
  override get message(): string {
    return this.protocol === "socks5"
      ? `${this.proxy}: reply ${hex(this.code)} (${Reply.describe(this.code)})`
      : `${this.proxy}: reply ${this.code} (${socks4Words[this.code] ?? "unassigned"})`
  }
}

/** An HTTP proxy answers CONNECT with another status than 2xx (RFC 9110 §9.3.6). */
export class StatusError extends Data.TaggedError("StatusError")<{
  readonly proxy: string
  readonly status: number
}> {
  override get message(): string {
    return `${this.proxy}: status ${this.status}`
  }
}

/** The proxy takes none of the methods that we can offer (RFC 1928 §3): mostly, it wants a login. */
export class MethodRefused extends Data.TaggedError("MethodRefused")<{
  readonly proxy: string
  /** Whether a user name and password were among what was offered. */
  readonly login: boolean
}> {
  override get message(): string {
    return `${this.proxy}: ${this.login ? "takes no user name and password" : "asks for a login"}`
  }
}

/** The proxy refuses the user name and password (RFC 1929 §2). */
export class LoginRefused extends Data.TaggedError("LoginRefused")<{ readonly proxy: string }> {
  override get message(): string {
    return `${this.proxy}: refuses the user name and password`
  }
}

/** What came is no answer in the protocol of the URL. */
export class BadAnswer extends Data.TaggedError("BadAnswer")<{
  readonly proxy: string
  readonly why: string
}> {
  override get message(): string {
    return `${this.proxy}: bad answer: ${this.why}`
  }
}

/**
 * The proxy can't be reached, or left in the middle of the talk. `code` is the system's (`ECONNREFUSED`), the
 * resolver's (`ENOTFOUND`), TLS's, or ours: `EEND` when it closed, `ETIMEDOUT`. In a chain, `via` is the proxy that
 * could not reach this one, and said so.
 */
export class ProxyUnreachable extends Data.TaggedError("ProxyUnreachable")<{
  readonly proxy: string
  readonly code: string
  readonly via?: string
}> {
  override get message(): string {
    return `${this.proxy}: can't be reached${this.via === undefined ? "" : ` by ${this.via}`}: ${this.code}`
  }
}

/** The proxy took the request and has not answered in time: the target may be to blame, or the proxy. */
export class AnswerTimedOut extends Data.TaggedError("AnswerTimedOut")<{ readonly proxy: string }> {
  override get message(): string {
    return `${this.proxy}: no answer to the request in time`
  }
}

/** SOCKS4 can't send what it was asked for: an IPv6 address, or with `socks4:` a name without an IPv4 address. */
export class Unsendable extends Data.TaggedError("Unsendable")<{
  readonly proxy: string
  readonly destination: string
}> {
  override get message(): string {
    return `${this.proxy}: SOCKS4 can't ask for ${this.destination}`
  }
}

/** What the talk with a proxy can fail with. */
export type NegotiationError = ReplyError | StatusError | MethodRefused | LoginRefused | BadAnswer

/** All that connecting through a proxy can fail with. */
export type ProxyError = NegotiationError | ProxyUnreachable | AnswerTimedOut | Unsendable

/**
 * Whom a failure is about:
 *
 * - `destination`: the proxy's word on where it was to connect to, which another proxy would hardly change.
 * - `request`: the proxy can't ask for such a destination, however sound it is: another proxy may.
 * - `proxy`: the proxy itself. A login that is refused is a fault of its own: it is about us, not about the target.
 * - `unknown`: it refuses without a reason, or says nothing. That may be a proxy that fails with everything, or the
 *   destination: only what another proxy says of it can tell.
 */
export type Subject = "destination" | "request" | "proxy" | "unknown"

/**
 * The statuses that are about the destination. 502 is among them: RFC 9110 §15.6.3 has it for what lies behind, and so
 * do Sluice and others where SOCKS5 has 04 or 05. 503 is not: by §15.6.4 it is the proxy that is overloaded, though
 * some say it of the destination.
 */
const destinationStatuses = new Set([403, 404, 502, 504])

export const subjectOf = (error: ProxyError): Subject => {
  switch (error._tag) {
    case "ReplyError":
      if (error.protocol === "socks4") return "unknown"
      if (error.code === Reply.addressTypeNotSupported) return "request"
      return error.code >= Reply.notAllowed && error.code <= Reply.ttlExpired ? "destination" : "unknown"
    case "StatusError":
      if (error.status === 407) return "proxy"
      return destinationStatuses.has(error.status) ? "destination" : "unknown"
    case "AnswerTimedOut":
      return "unknown"
    case "Unsendable":
      return "request"
    default:
      return "proxy"
  }
}

const statusReplies: Readonly<Record<number, number>> = {
  403: Reply.notAllowed,
  404: Reply.hostUnreachable,
  502: Reply.connectionRefused,
  503: Reply.hostUnreachable,
  504: Reply.hostUnreachable
}

/**
 * The reply of RFC 1928 §6 that it amounts to for whoever asked us. One of SOCKS5 is passed on as it is, where the RFC
 * knows it. A fault of the proxy is a general failure: it says nothing about the target.
 */
export const replyCode = (error: ProxyError): number => {
  switch (error._tag) {
    case "ReplyError":
      return error.protocol === "socks5" && error.code <= Reply.addressTypeNotSupported
        ? error.code
        : Reply.generalFailure
    case "StatusError":
      return statusReplies[error.status] ?? Reply.generalFailure
    case "AnswerTimedOut":
      return Reply.hostUnreachable
    case "Unsendable":
      return Reply.addressTypeNotSupported
    default:
      return Reply.generalFailure
  }
}
