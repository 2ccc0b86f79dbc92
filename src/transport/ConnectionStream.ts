/** A `Connection` as a stream that owns it, for what takes nothing else: TLS, and the agents of `node:http`. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Connection } from "./Connection.ts"
import { ConnectionDuplex } from "./ConnectionDuplex.ts"
import { NodeConnection } from "./NodeConnection.ts"

/**
 * Destroying it closes the connection. It has those methods of a `net.Socket` that Node's HTTP client calls on whatever
 * an agent gives to it.
 */
export class ConnectionStream extends ConnectionDuplex {
  private readonly owned: Connection
  private idleTimer: NodeJS.Timeout | undefined = undefined
  /** Milliseconds, as a `net.Socket` tells them. */
  timeout = 0

  constructor(connection: Connection) {
    let active: () => void = constVoid
    super(connection, Effect.runFork, { received: () => active(), sent: () => active() })
    active = () => this.active()
    this.owned = connection
    connection.watcher = {
      failed: () => {
        const { failure } = connection
        // One that is merely closed has nothing to add to what was read: that may still be on its way to the reader.
        if (failure !== undefined && failure.reason !== "Closed") this.destroy(failure)
      }
    }
  }

  /** This side's port. */
  get localPort(): number | undefined {
    return this.owned.local?.port
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.idleTimer)
    this.owned.watcher = undefined
    Effect.runCallback(this.owned.close, { onExit: () => callback(error) })
  }

  /** Emits `timeout` after that many milliseconds without traffic; 0 = never. */
  setTimeout(milliseconds: number, listener?: () => void): this {
    this.timeout = milliseconds
    if (listener !== undefined) this.once("timeout", listener)
    this.active()
    return this
  }

  private active(): void {
    clearTimeout(this.idleTimer)
    if (this.timeout > 0 && !this.destroyed) {
      this.idleTimer = setTimeout(() => this.emit("timeout"), this.timeout).unref()
    }
  }

  /** The transport has set it already. */
  setNoDelay(): this {
    return this
  }

  /** The transport has set it already. */
  setKeepAlive(): this {
    return this
  }

  ref(): this {
    if (this.owned instanceof NodeConnection) this.owned.socket.ref()
    return this
  }

  /** Lets the process end while it is open. */
  unref(): this {
    if (this.owned instanceof NodeConnection) this.owned.socket.unref()
    return this
  }
}
