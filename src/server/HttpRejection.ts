/** Why a request is refused, as an HTTP response: a status, and a line for whoever reads it. */
import * as BasicCredentials from "../protocol/BasicCredentials.ts"
import type { BadRequest } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import type { Rejection } from "./Dialect.ts"
import { type Refusal, replyCode } from "./Refusal.ts"

/** Status line and content. */
type Answer = readonly [status: string, why: string]

const reasons: Readonly<Record<BadRequest["status"], string>> = {
  400: "Bad Request",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  505: "HTTP Version Not Supported"
}

const forbidden = "403 Forbidden"
const authenticationRequired = "407 Proxy Authentication Required"
const tooManyRequests = "429 Too Many Requests"
const badGateway = "502 Bad Gateway"
const serviceUnavailable = "503 Service Unavailable"
const gatewayTimeout = "504 Gateway Timeout"

const internalError: Answer = ["500 Internal Server Error", "something broke in this proxy"]

/** This machine's lack of something, which says nothing of the destination: descriptors, ports, memory. */
const exhausted = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EADDRINUSE", "EAGAIN"])

/** The answer to each refusal. What is in it is for the client: no address that a name led to, no rule. */
const answerTo = (error: Refusal): Answer => {
  switch (error._tag) {
    case "NoAcceptableMethod":
      return [authenticationRequired, "log in with a user name and password"]
    case "AuthenticationFailed":
      return [authenticationRequired, "the user name or the password is wrong"]
    case "ProtocolError": {
      const { frame, message, reason } = error
      if (frame === BasicCredentials.frame) return [authenticationRequired, message]
      const status = reason._tag === "BadRequest" ? reason.status : 400
      return [`${status} ${reasons[status]}`, reason.message]
    }
    case "AccessDenied":
      return [forbidden, "this proxy does not let you go there"]
    case "LimitExceeded":
      return [tooManyRequests, "you have reached a limit of this proxy; try again later"]
    case "ResolveError":
      return error.reason === "TimedOut"
        ? [gatewayTimeout, "looking the name up took too long"]
        : [badGateway, `the name can't be resolved (${error.code})`]
    case "DialError":
      if (error.reason === "TimedOut") return [gatewayTimeout, "connecting took too long"]
      if (exhausted.has(error.code)) {
        return [serviceUnavailable, `this proxy has nothing left to connect with (${error.code})`]
      }
      return error.reason === "Prohibited"
        ? [forbidden, "the network does not let this proxy go there"]
        : [badGateway, `can't connect (${error.code})`]
    case "UpstreamError":
      if (error.error._tag === "AnswerTimedOut") return [gatewayTimeout, "connecting took too long"]
      return error.reply === Reply.notAllowed
        ? [forbidden, "the next proxy does not let you go there"]
        : [badGateway, "the next proxy can't connect"]
    case "BadResponse":
      return [badGateway, error.message]
    default:
      return internalError
  }
}

/** A login has no reply code, as in SOCKS. */
const replyTo = (error: Refusal): number | undefined => {
  switch (error._tag) {
    case "NoAcceptableMethod":
    case "AuthenticationFailed":
      return undefined
    default:
      return error._tag === "ProtocolError" && error.frame === BasicCredentials.frame ? undefined : replyCode(error)
  }
}

/** The whole response, after which the connection is closed. */
const print = ([status, why]: Answer, reply: number | undefined, withContent: boolean): Rejection => {
  const content = new TextEncoder().encode(`${status}: ${why}\n`)
  const challenge = status === authenticationRequired ? "Proxy-Authenticate: Basic realm=\"sluice\"\r\n" : ""
  const head = new TextEncoder().encode(
    `HTTP/1.1 ${status}\r\n${challenge}Content-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${content.length}\r\nConnection: close\r\n\r\n`
  )
  return { reply, message: withContent ? Buffer.concat([head, content]) : head }
}

/** For the answer to HEAD, which has no content, `withContent` is `false`. */
export const refusal = (error: Refusal, withContent: boolean): Rejection =>
  print(answerTo(error), replyTo(error), withContent)

/** The same when something of ours broke. */
export const broken = (withContent: boolean): Rejection => print(internalError, Reply.generalFailure, withContent)
