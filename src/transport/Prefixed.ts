/** A connection of which some bytes were read too early: they come first. */
import type * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import type { Connection, ConnectionError, Send, Watcher } from "./Connection.ts"

type Chunk = Arr.NonEmptyReadonlyArray<Uint8Array>

class Prefixed implements Connection {
  private readonly inner: Connection
  private rest: Uint8Array | undefined

  constructor(inner: Connection, rest: Uint8Array) {
    this.inner = inner
    this.rest = rest
  }

  get local(): NetAddress.InetAddress | undefined {
    return this.inner.local
  }

  get remote(): NetAddress.InetAddress | undefined {
    return this.inner.remote
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

  readonly pull: Effect.Effect<Chunk, ConnectionError | Cause.Done> = Effect.suspend(() => {
    const { rest } = this
    if (rest === undefined) return this.inner.pull
    this.rest = undefined
    return Effect.succeed([rest])
  })

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

/** `rest` is the connection's from now on; where it is empty, this is the connection itself. */
export const prefixed = (connection: Connection, rest: Uint8Array): Connection =>
  rest.length === 0 ? connection : new Prefixed(connection, rest)
