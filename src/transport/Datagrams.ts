/** UDP sockets: whole datagrams in and out. `NodeDatagrams` is the layer that ships. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type { ListenError } from "./Transport.ts"

/** Who gets what a socket receives. Called from the event loop: must return at once, and never throw. */
export interface Receiver {
  /** One datagram, whole; `bytes` are the receiver's to keep. `host` is an IP address, IPv6 perhaps with a zone. */
  received(bytes: Uint8Array, host: string, port: number): void
  /** A datagram that `send` had taken could not be sent; `code` is the operating system's name for why (`EMSGSIZE`). */
  failed(code: string): void
}

/** A bound UDP socket of one address family. */
export interface DatagramSocket {
  /** The bound address; the port is the real one when 0 was asked for. */
  readonly local: NetAddress.InetAddress
  /**
   * Sends the parts as one datagram, which must not change any more. `host` is an IP address of the socket's family.
   * Never waits: `false` when the datagram is dropped, since too much waits to be sent already, the socket is closed, or
   * `port` is 0.
   */
  readonly send: (parts: ReadonlyArray<Uint8Array>, host: string, port: number) => boolean
}

/** Whole datagrams in and out. */
export class Datagrams extends Context.Service<Datagrams, {
  /** Binds a socket; the scope closes it. A port of 0 takes any free one, and `::` takes IPv6 alone. */
  readonly bind: (
    address: NetAddress.InetAddress,
    receiver: Receiver
  ) => Effect.Effect<DatagramSocket, ListenError, Scope.Scope>
}>()("sluice/transport/Datagrams") {}
