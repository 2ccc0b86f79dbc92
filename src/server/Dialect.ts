/** What the protocols of the port have in common: a client asks for something, and is told yes or no. */
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import type { Authenticator } from "../policy/Authenticator.ts"
import type * as Address from "../protocol/Address.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { MessageReader } from "./MessageReader.ts"
import type { Refusal } from "./Refusal.ts"
import type { RelayError } from "./Relay.ts"
import type * as Route from "./Route.ts"
import type { Phase, SessionState } from "./SessionState.ts"

/** All that may be spoken. */
export const protocols = ["socks5", "socks4", "http"] as const

export type Protocol = typeof protocols[number]

/** What a client can ask for: commands of RFC 1928 §4, and the two of Tor. */
export interface Wish {
  readonly command: "connect" | "bind" | "associate" | "resolve" | "resolve-ptr"
  readonly address: Address.Address
}

/** How a log names what was asked for. */
export type Command = Wish["command"] | Forwarding["command"]

/** What can be asked for in each. */
export const commandsOf: Readonly<Record<Protocol, ReadonlyArray<Command>>> = {
  socks5: ["connect", "bind", "associate", "resolve", "resolve-ptr"],
  socks4: ["connect", "bind"],
  http: ["connect", "forward"]
}

/** What a client asks for without a tunnel: requests with a destination each (HTTP). */
export interface Forwarding {
  readonly command: "forward"
  /** Serves them until the client has no more, or wishes for a tunnel. */
  readonly serve: (
    services: Route.Services
  ) => Effect.Effect<Wish | undefined, Refusal | RelayError | ConnectionError | Cause.Done>
}

/** How a client is told no. */
export interface Rejection {
  /** The message for it; `undefined` where there is none that it would understand. */
  readonly message: Uint8Array | undefined
  /** The reply code that it amounts to (RFC 1928 §6), if the client had asked for something. */
  readonly reply: number | undefined
}

/** Whoever speaks something else would not understand an answer. */
export const silence: Rejection = { reply: undefined, message: undefined }

/** One protocol, as a session needs it. */
export interface Dialect {
  readonly protocol: Protocol
  /** Logs the client in where the authenticator asks for it, and reads what it wants. */
  readonly request: (
    session: SessionState,
    reader: MessageReader,
    authenticator: Authenticator["Service"]
  ) => Effect.Effect<Wish | Forwarding, Refusal | ConnectionError | Cause.Done>
  /** The message of success; `address` is the one that the target sees or is to connect to, or that it came from. */
  readonly granted: (address: Address.Address) => Uint8Array
  /** How to say no, in the terms of the message that the client waits for. */
  readonly rejection: (error: Refusal) => Rejection
  /** The same when something of ours broke. */
  readonly broken: (phase: Phase) => Rejection
}
