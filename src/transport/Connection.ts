/**
 * A connected, bidirectional byte stream, as the rest of Sluice sees it: one
 * pull, one write, two ways to stop. What is behind it (a kernel socket, a TLS
 * socket, a pair of queues in memory) is the transport's business.
 */
import type * as Arr from "effect/Array"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Pull from "effect/Pull"

/**
 * Why a connection stopped other than by an orderly end of stream.
 *
 * - `Reset`: the peer reset it (RST), or it vanished and keepalive noticed.
 * - `Closed`: this side closed it while an operation was waiting.
 * - `Failed`: any other operating system error; `code` is its name (`EPIPE`).
 */
export class ConnectionError extends Data.TaggedError("ConnectionError")<{
  readonly reason: "Reset" | "Closed" | "Failed"
  readonly code: string
}> {
  override get message(): string {
    return `connection ${this.reason.toLowerCase()} (${this.code})`
  }
}

/** Where bytes go on to: `undefined` when all went, or what is still to be waited for. */
export type Send = (bytes: Uint8Array) => Effect.Effect<void, ConnectionError> | undefined

/** Who wants to know at once when a connection fails, even while nobody reads or writes. */
export interface Watcher {
  failed(): void
}

/**
 * One connection. Owned by the scope in which it was accepted or dialled, which
 * closes it; `pull` and `write` may each be used by one fiber at a time.
 */
export interface Connection {
  /** This side's address; `undefined` when the socket was gone before it could be read. */
  readonly local: NetAddress.InetAddress | undefined
  /** The peer's address; `undefined` when the socket was gone before it could be read. */
  readonly remote: NetAddress.InetAddress | undefined
  /** How a log names the peer where its address says nothing: `unix:PATH`. */
  readonly label?: string | undefined
  /** Who the peer is, as it has proved by a certificate: it needs no login. */
  readonly peerName?: string | undefined
  /** Whether it waits for TLS to be agreed on: until then, nothing that is said belongs to any protocol of ours. */
  readonly insecure?: boolean
  /**
   * What comes before TLS, in clear, has been read, and `early` behind it. Fails when the connection is gone; whether TLS
   * comes about is told by what is pulled next. Missing where there is no TLS, or nothing before it.
   */
  readonly beginTls?: ((early: Uint8Array) => Effect.Effect<void, ConnectionError>) | undefined
  /** How it failed, once it has. */
  readonly failure: ConnectionError | undefined
  /** Told once when it fails; set by whoever serves the connection. A transport may notice only as it reads. */
  watcher: Watcher | undefined
  /** Bytes of a waiting write that the operating system has not taken: they are lost if it is closed now. */
  readonly unsent: number
  /**
   * The next bytes: one non-empty view, **valid only until the next pull**,
   * since transports read into buffers that they use again. Not pulling is
   * back-pressure. Ends with `Cause.Done` when the peer has sent its FIN.
   * Interrupting a pull loses nothing.
   */
  readonly pull: Pull.Pull<Arr.NonEmptyReadonlyArray<Uint8Array>, ConnectionError>
  /**
   * Sends bytes, in order. Succeeds when they have been handed to the operating
   * system whole, so that the caller may reuse them. Fails, and never waits,
   * once the connection is gone.
   */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, ConnectionError>
  /**
   * `write` for whoever is not an effect: what the operating system takes at once has gone when this returns
   * `undefined`. A transport without such a way returns `write(bytes)`.
   */
  readonly send: Send
  /**
   * The short way for bytes that find a pull waiting: they are given to this, and the pull waits on, or waits first
   * for what this returns. Whoever sets it pulls nevertheless, since a transport need not have such a way.
   */
  onward: Send | undefined
  /** Half-closes: sends FIN after what was written. Reading goes on. Idempotent. */
  readonly end: Effect.Effect<void>
  /**
   * Closes both directions now. What was written is still delivered by the operating system; when a write
   * was still waiting, it is a `reset`, since the peer must not take what it got for all. Idempotent.
   */
  readonly close: Effect.Effect<void>
  /** Closes with RST where the transport can, so that the peer does not take a cut for an end. Idempotent. */
  readonly reset: Effect.Effect<void>
}
