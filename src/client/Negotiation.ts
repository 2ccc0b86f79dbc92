/**
 * What a client and a proxy say before the bytes of the connection: bytes in, bytes out, no socket. SOCKS5 (RFC 1928,
 * RFC 1929), SOCKS4 and 4a, and HTTP's CONNECT (RFC 9110 §9.3.6), each by the codecs of the protocol room.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { type Address, unspecified } from "../protocol/Address.ts"
import type { Codec } from "../protocol/Codec.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as HttpConnectReply from "../protocol/HttpConnectReply.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import * as Socks4Reply from "../protocol/Socks4Reply.ts"
import * as Socks4Request from "../protocol/Socks4Request.ts"
import * as Text from "../protocol/Text.ts"
import {
  BadAnswer,
  LoginRefused,
  MethodRefused,
  type NegotiationError,
  ReplyError,
  StatusError,
  Unsendable
} from "./ProxyError.ts"
import * as ProxyUrl from "./ProxyUrl.ts"

/** What the client waits for. */
export type Stage = "method" | "login" | "answer"

/** More bytes are needed. */
export interface Wait {
  readonly _tag: "Wait"
}

/** `taken` bytes were understood; say this and wait for the next stage. */
export interface Say {
  readonly _tag: "Say"
  readonly taken: number
  readonly bytes: Uint8Array
  readonly stage: Stage
}

/** `taken` bytes were understood, and what follows is the target's. */
export interface Open {
  readonly _tag: "Open"
  readonly taken: number
  /** BND.ADDR and BND.PORT, where the protocol is SOCKS5. */
  readonly bound?: Address
}

export interface Failed {
  readonly _tag: "Failed"
  readonly error: NegotiationError
}

export type Step = Wait | Say | Open | Failed

/** One side of a handshake, without state: the caller keeps the stage. */
export interface Negotiation {
  /** What asks for a target, made once for all connections to it; SOCKS4 can't ask for every one. */
  readonly request: (target: Host.HostPort) => Result.Result<Uint8Array, Unsendable>
  /** What asks for UDP ASSOCIATE, from an address that is not known yet; SOCKS5 alone has it. */
  readonly associate?: Uint8Array
  /** What the client says as soon as it is connected. */
  readonly first: (request: Uint8Array) => Omit<Say, "_tag" | "taken">
  /** What follows from all bytes that have come since the last step. */
  readonly next: (stage: Stage, bytes: Uint8Array, request: Uint8Array) => Step
}

type Proxy = Pick<ProxyUrl.ProxyUrl, "credentials"> & {
  readonly protocol: ProxyUrl.Protocol
  /** As errors name it. */
  readonly name: string
}

const wait: Wait = { _tag: "Wait" }
const fail = (error: NegotiationError): Failed => ({ _tag: "Failed", error })
const say = (taken: number, bytes: Uint8Array, stage: Stage): Say => ({ _tag: "Say", taken, bytes, stage })

const read = <A>(
  proxy: string,
  codec: Codec<A>,
  bytes: Uint8Array,
  use: (message: A, taken: number) => Step
): Step => {
  const decoded = codec.decode(bytes)
  if (decoded._tag === "Done") return use(decoded.value, decoded.size)
  return decoded._tag === "More" ? wait : fail(new BadAnswer({ proxy, why: decoded.error.message }))
}

/** A destination as it is sent: a name as a name. */
export const toAddress = ({ host, port }: Host.HostPort): Address => {
  if (!NetAddress.isIpAddress(host)) return { _tag: "Domain", name: Host.formatHost(host), port }
  return NetAddress.isIpv4Address(host) ? { _tag: "Ipv4", ip: host, port } : { _tag: "Ipv6", ip: host, port }
}

const socks5 = ({ credentials, name: proxy }: Proxy): Negotiation => {
  const { noAuthentication, usernamePassword } = MethodSelection
  const methods = credentials === undefined ? [noAuthentication] : [noAuthentication, usernamePassword]
  const greeting = Greeting.codec.encode(Greeting.Greeting.make({ methods }))
  const login = credentials === undefined
    ? undefined
    : PasswordRequest.codec.encode(
      PasswordRequest.PasswordRequest.make({ username: credentials.user, password: credentials.password })
    )
  return {
    request: (target) =>
      Result.succeed(
        Request.codec.encode(Request.Request.make({ command: Request.connect, address: toAddress(target) }))
      ),
    associate: Request.codec.encode(Request.Request.make({ command: Request.udpAssociate, address: unspecified })),
    first: () => ({ bytes: greeting, stage: "method" }),
    next: (stage, bytes, request) => {
      switch (stage) {
        case "method":
          return read(proxy, MethodSelection.codec, bytes, ({ method }, taken) => {
            if (method === noAuthentication) return say(taken, request, "answer")
            if (method === usernamePassword && login !== undefined) return say(taken, login, "login")
            return fail(new MethodRefused({ proxy, login: login !== undefined }))
          })
        case "login":
          return read(
            proxy,
            PasswordReply.codec,
            bytes,
            ({ status }, taken) =>
              status === PasswordReply.success ? say(taken, request, "answer") : fail(new LoginRefused({ proxy }))
          )
        case "answer":
          return read(
            proxy,
            Reply.codec,
            bytes,
            ({ address: bound, code }, taken) =>
              code === Reply.succeeded
                ? { _tag: "Open", taken, bound }
                : fail(new ReplyError({ proxy, protocol: "socks5", code }))
          )
      }
    }
  }
}

const socks4 = ({ credentials, name: proxy, protocol }: Proxy): Negotiation => {
  const userId = credentials?.user ?? ""
  const { connect: command } = Socks4Request
  return {
    request: (target) => {
      const address = toAddress(target)
      const unsendable = Result.fail(new Unsendable({ proxy, destination: Host.formatHostPort(target) }))
      if (address._tag === "Ipv6" || (address._tag === "Domain" && protocol === "socks4")) return unsendable
      // An address of 0.0.0.x would announce a name.
      const request = Result.try(() =>
        Socks4Request.Socks4Request.make({
          command,
          address: address._tag === "Domain" ? { ...address, marker: 1 } : address,
          userId
        })
      )
      return Result.isFailure(request) ? unsendable : Result.succeed(Socks4Request.codec.encode(request.success))
    },
    first: (request) => ({ bytes: request, stage: "answer" }),
    next: (_stage, bytes) =>
      read(
        proxy,
        Socks4Reply.codec,
        bytes,
        ({ code }, taken) =>
          code === Socks4Reply.granted
            ? { _tag: "Open", taken }
            : fail(new ReplyError({ proxy, protocol: "socks4", code }))
      )
  }
}

const basic = ({ password, user }: ProxyUrl.Credentials): string => Base64.encode(`${user}:${Redacted.value(password)}`)

/** Bytes of all heads together, so that a proxy can't go on for ever without an answer. */
const longestAnswer = HttpConnectReply.codec.maxLength * 2

/** The final answer; those before it (1xx, RFC 9110 §15.2) are passed over, but 101, which nobody has asked for. */
const httpAnswer = (proxy: string, bytes: Uint8Array, at: number): Step =>
  read(proxy, HttpConnectReply.codec, bytes.subarray(at), ({ status }, size) => {
    const taken = at + size
    if (status >= 200 && status < 300) return { _tag: "Open", taken }
    if (status >= 200 || status === 101) return fail(new StatusError({ proxy, status }))
    return taken > longestAnswer
      ? fail(new BadAnswer({ proxy, why: "no final answer" }))
      : httpAnswer(proxy, bytes, taken)
  })

const http = ({ credentials, name: proxy }: Proxy): Negotiation => {
  const login = credentials === undefined ? "" : `Proxy-Authorization: Basic ${basic(credentials)}\r\n`
  return {
    request: (to) => {
      const target = Host.formatHostPort(to)
      return Result.succeed(Text.encode(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${login}\r\n`))
    },
    first: (request) => ({ bytes: request, stage: "answer" }),
    next: (_stage, bytes) => httpAnswer(proxy, bytes, 0)
  }
}

/** The handshake that a proxy wants. */
export const make = (url: ProxyUrl.ProxyUrl): Negotiation => {
  const proxy: Proxy = { ...url, name: ProxyUrl.format(url) }
  switch (url.protocol) {
    case "socks5":
    case "socks5h":
      return socks5(proxy)
    case "socks4":
    case "socks4a":
      return socks4(proxy)
    case "http":
    case "https":
      return http(proxy)
  }
}
