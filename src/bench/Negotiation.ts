/**
 * What a client and a proxy say before the bytes of the connection: bytes in, bytes out, no socket. SOCKS5 by the codecs
 * of the protocol room (RFC 1928, RFC 1929), and HTTP's CONNECT (RFC 9110 §9.3.6).
 */
import * as Base64 from "effect/encoding/Base64"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import type { Address } from "../protocol/Address.ts"
import type { Codec } from "../protocol/Codec.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import * as Text from "../protocol/Text.ts"
import * as Failure from "./Failure.ts"
import type { Credentials, ProxyUrl } from "./ProxyUrl.ts"

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
}

export interface Failed {
  readonly _tag: "Failed"
  readonly kind: string
}

export type Step = Wait | Say | Open | Failed

/** One side of a handshake, without state: the caller keeps the stage. */
export interface Negotiation {
  /** What asks for a target, made once for all connections to it. */
  readonly request: (target: Host.HostPort) => Uint8Array
  /** What the client says as soon as it is connected. */
  readonly first: (request: Uint8Array) => Omit<Say, "_tag" | "taken">
  /** What follows from all bytes that have come since the last step. */
  readonly next: (stage: Stage, bytes: Uint8Array, request: Uint8Array) => Step
}

const wait: Wait = { _tag: "Wait" }
const fail = (kind: string): Failed => ({ _tag: "Failed", kind })
const say = (taken: number, bytes: Uint8Array, stage: Stage): Say => ({ _tag: "Say", taken, bytes, stage })

const read = <A>(codec: Codec<A>, bytes: Uint8Array, use: (message: A, taken: number) => Step): Step => {
  const decoded = codec.decode(bytes)
  if (decoded._tag === "Done") return use(decoded.value, decoded.size)
  return decoded._tag === "More" ? wait : fail(Failure.badAnswer)
}

const toAddress = ({ host, port }: Host.HostPort): Address => {
  if (!NetAddress.isIpAddress(host)) return { _tag: "Domain", name: host, port }
  return NetAddress.isIpv4Address(host) ? { _tag: "Ipv4", ip: host, port } : { _tag: "Ipv6", ip: host, port }
}

const socks5 = (credentials: Credentials | undefined): Negotiation => {
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
      Request.codec.encode(Request.Request.make({ command: Request.connect, address: toAddress(target) })),
    first: () => ({ bytes: greeting, stage: "method" }),
    next: (stage, bytes, request) => {
      switch (stage) {
        case "method":
          return read(MethodSelection.codec, bytes, ({ method }, taken) => {
            if (method === noAuthentication) return say(taken, request, "answer")
            if (method === usernamePassword && login !== undefined) return say(taken, login, "login")
            return fail(Failure.noMethod)
          })
        case "login":
          return read(
            PasswordReply.codec,
            bytes,
            ({ status }, taken) =>
              status === PasswordReply.success ? say(taken, request, "answer") : fail(Failure.loginRefused)
          )
        case "answer":
          return read(
            Reply.codec,
            bytes,
            ({ code }, taken) => code === Reply.succeeded ? { _tag: "Open", taken } : fail(Failure.ofReply(code))
          )
      }
    }
  }
}

/** A proxy whose head is longer than this is none. */
const longestHead = 16_384

const basic = ({ password, user }: Credentials): string => Base64.encode(`${user}:${Redacted.value(password)}`)

const http = (credentials: Credentials | undefined): Negotiation => {
  const login = credentials === undefined ? "" : `Proxy-Authorization: Basic ${basic(credentials)}\r\n`
  return {
    request: (to) => {
      const target = Host.formatHostPort(to)
      return Text.encode(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${login}\r\n`)
    },
    first: (request) => ({ bytes: request, stage: "answer" }),
    next: (_stage, bytes) => {
      const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, longestHead)).toString("latin1")
      const end = head.indexOf("\r\n\r\n")
      if (end < 0 && head.length < longestHead) return wait
      const status = /^HTTP\/1\.[01] (\d{3})\b/.exec(head)?.[1]
      if (end < 0 || status === undefined) return fail(Failure.badAnswer)
      return status.startsWith("2") ? { _tag: "Open", taken: end + 4 } : fail(Failure.ofStatus(status))
    }
  }
}

/** The handshake that a proxy wants. */
export const make = ({ credentials, protocol }: ProxyUrl): Negotiation =>
  protocol === "socks5" ? socks5(credentials) : http(credentials)
