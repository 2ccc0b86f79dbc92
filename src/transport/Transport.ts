/**
 * Where connections come from: listening and dialling one address. The Node
 * layer is `NodeTransport`; `MemoryTransport` runs whole sessions without a
 * socket, under `TestClock`.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type { Connection } from "./Connection.ts"
import * as ListenAddress from "./ListenAddress.ts"

/** Listening failed; `code` is the operating system's name for it (`EADDRINUSE`). */
export class ListenError extends Data.TaggedError("ListenError")<{
  readonly address: ListenAddress.ListenAddress
  readonly code: string
  /** What is wrong with a file that a TLS address names; `code` is `ECERT` then. */
  readonly problem?: string
}> {
  override get message(): string {
    return `can't listen on ${ListenAddress.format(this.address)}: ${this.problem ?? this.code}`
  }
}

/**
 * Dialling one address failed.
 *
 * `Refused`, `HostUnreachable`, `NetworkUnreachable`, `TimedOut` and `Prohibited`
 * (by this machine's firewall or routes) are those that SOCKS can tell apart; all else is `Unknown`, with the system's `code`.
 */
export class DialError extends Data.TaggedError("DialError")<{
  readonly reason: "Refused" | "HostUnreachable" | "NetworkUnreachable" | "TimedOut" | "Prohibited" | "Unknown"
  readonly address: NetAddress.InetAddress
  readonly code: string
}> {
  override get message(): string {
    return `can't connect to ${NetAddress.formatInet(this.address)}: ${this.code}`
  }
}

/** The `DialError` of an attempt that took too long. */
export const timedOut = (address: NetAddress.InetAddress): DialError =>
  new DialError({ reason: "TimedOut", address, code: "ETIMEDOUT" })

/** What a listener does with its clients. All three are called from the accept loop and must return at once. */
export interface Accept {
  /**
   * Whether there is room for one more client; asked before anything is built for it. A refused one is closed.
   * `descriptor` is the number of its file descriptor, where it has one.
   */
  readonly admit: (descriptor?: number) => boolean
  /** Takes the connection over, to the point of closing it. */
  readonly accept: (connection: Connection) => void
  /** Accepting failed (`EMFILE`); the listener goes on by itself. */
  readonly failed: (code: string) => void
}

/** A bound, listening socket. */
export interface Listener<A extends ListenAddress.ListenAddress = NetAddress.InetAddress> {
  /** The bound address; the port is the real one when 0 was asked for. */
  readonly address: A
  /** Stops listening: new clients are refused by the operating system, accepted ones go on. Idempotent. */
  readonly stop: Effect.Effect<void>
}

/** Bytes in and out. */
export class Transport extends Context.Service<Transport, {
  /**
   * Binds and listens; the scope stops it. `::` takes IPv4 clients too, unless `ipv6Only` leaves them to a
   * listener of their own. Processes that share their ports do not share that of an `exclusive` listener.
   */
  readonly listen: (
    address: NetAddress.InetAddress,
    accept: Accept,
    options?: { readonly ipv6Only?: boolean; readonly exclusive?: boolean }
  ) => Effect.Effect<Listener, ListenError, Scope.Scope>
  /**
   * The same for what is more, or other, than a TCP address. Optional: over a transport without it, listening there fails
   * with `ENOTSUP`. The certificates of a TLS address are looked at first; `ECERT` tells that they won't do. There, what
   * a client of `clearFirst` says before TLS can be read in clear, until its `beginTls` is called.
   */
  readonly listenOn?: (
    address: Exclude<ListenAddress.ListenAddress, NetAddress.InetAddress>,
    accept: Accept,
    options?: {
      readonly ipv6Only?: boolean
      readonly clearFirst?: (remote: NetAddress.InetAddress | undefined) => boolean
    }
  ) => Effect.Effect<Listener<ListenAddress.ListenAddress>, ListenError, Scope.Scope>
  /**
   * Connects to one address, or fails with `TimedOut` when that takes longer than
   * `timeout`; the scope closes the connection. Interruption abandons the attempt.
   * With `source` it comes from that address of this machine, of the same family;
   * else from the one that the system's routes choose.
   */
  readonly connect: (
    address: NetAddress.InetAddress,
    timeout?: Duration.Duration,
    source?: NetAddress.IpAddress
  ) => Effect.Effect<Connection, DialError, Scope.Scope>
}>()("sluice/transport/Transport") {}
