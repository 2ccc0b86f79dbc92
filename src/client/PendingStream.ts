/// <reference types="node" preserve="true" />
/** A stream that exists before its connection does: Node's agents count what they are given at once, and destroy it. */
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as NetAddress from "effect/net/NetAddress"
import type { Connection, ConnectionError, Send, Watcher } from "../transport/Connection.ts"
import { ConnectionStream } from "../transport/ConnectionStream.ts"
import { NodeConnection } from "../transport/NodeConnection.ts"
import { closed } from "../transport/SocketError.ts"

type Chunk = Arr.NonEmptyReadonlyArray<Uint8Array>

/** What is asked of it waits until it is opened, or closed. */
class Pending implements Connection {
  private readonly ready = Deferred.makeUnsafe<Connection, ConnectionError>()
  private waiting: Watcher | undefined = undefined
  inner: Connection | undefined = undefined
  onward: Send | undefined = undefined

  open(connection: Connection): void {
    this.inner = connection
    connection.watcher = this.waiting
    Deferred.doneUnsafe(this.ready, Exit.succeed(connection))
  }

  get local(): NetAddress.InetAddress | undefined {
    return this.inner?.local
  }

  get remote(): NetAddress.InetAddress | undefined {
    return this.inner?.remote
  }

  get failure(): ConnectionError | undefined {
    return this.inner?.failure
  }

  get unsent(): number {
    return this.inner?.unsent ?? 0
  }

  get watcher(): Watcher | undefined {
    return this.inner === undefined ? this.waiting : this.inner.watcher
  }

  set watcher(watcher: Watcher | undefined) {
    this.waiting = watcher
    if (this.inner !== undefined) this.inner.watcher = watcher
  }

  readonly pull: Effect.Effect<Chunk, ConnectionError | Cause.Done> = Effect.suspend(() =>
    this.inner === undefined ? Effect.flatMap(Deferred.await(this.ready), ({ pull }) => pull) : this.inner.pull
  )

  write(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return this.inner === undefined
      ? Effect.flatMap(Deferred.await(this.ready), (connection) => connection.write(bytes))
      : this.inner.write(bytes)
  }

  send(bytes: Uint8Array): Effect.Effect<void, ConnectionError> | undefined {
    return this.inner === undefined ? this.write(bytes) : this.inner.send(bytes)
  }

  readonly end: Effect.Effect<void> = Effect.suspend(() =>
    Effect.ignore(Effect.flatMap(Deferred.await(this.ready), ({ end }) => end))
  )

  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    if (this.inner !== undefined) return this.inner.close
    Deferred.doneUnsafe(this.ready, Exit.fail(closed))
    return Effect.void
  })

  readonly reset: Effect.Effect<void> = Effect.suspend(() => this.inner === undefined ? this.close : this.inner.reset)
}

/** Give it its connection by `open`; destroyed before that, whoever opens it has to close what comes. */
export class PendingStream extends ConnectionStream {
  private readonly pending: Pending
  private keepsAlive = true

  constructor() {
    const pending = new Pending()
    super(pending)
    this.pending = pending
  }

  open(connection: Connection): void {
    this.pending.open(connection)
    if (!this.keepsAlive) this.unref()
  }

  override ref(): this {
    this.keepsAlive = true
    if (this.pending.inner instanceof NodeConnection) this.pending.inner.socket.ref()
    return this
  }

  override unref(): this {
    this.keepsAlive = false
    if (this.pending.inner instanceof NodeConnection) this.pending.inner.socket.unref()
    return this
  }
}
