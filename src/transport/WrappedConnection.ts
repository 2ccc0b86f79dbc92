/** A connection around another one, which does all that a subclass does not do by itself. */
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import type { Connection, ConnectionError, Send, Watcher } from "./Connection.ts"

export type Chunk = Arr.NonEmptyReadonlyArray<Uint8Array>

export abstract class WrappedConnection implements Connection {
  protected readonly inner: Connection
  /** What it is wrapped for: bytes come another way, or at another time. */
  abstract readonly pull: Effect.Effect<Chunk, ConnectionError | Cause.Done>

  constructor(inner: Connection) {
    this.inner = inner
  }

  get local(): NetAddress.InetAddress | undefined {
    return this.inner.local
  }

  get remote(): NetAddress.InetAddress | undefined {
    return this.inner.remote
  }

  get label(): string | undefined {
    return this.inner.label
  }

  get failure(): ConnectionError | undefined {
    return this.inner.failure
  }

  get unsent(): number {
    return this.inner.unsent
  }

  get watcher(): Watcher | undefined {
    return this.inner.watcher
  }

  set watcher(watcher: Watcher | undefined) {
    this.inner.watcher = watcher
  }

  get onward(): Send | undefined {
    return this.inner.onward
  }

  set onward(onward: Send | undefined) {
    this.inner.onward = onward
  }

  write(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return this.inner.write(bytes)
  }

  send(bytes: Uint8Array): Effect.Effect<void, ConnectionError> | undefined {
    return this.inner.send(bytes)
  }

  get end(): Effect.Effect<void> {
    return this.inner.end
  }

  get close(): Effect.Effect<void> {
    return this.inner.close
  }

  get reset(): Effect.Effect<void> {
    return this.inner.reset
  }
}
