/** A connection of which some bytes were read too early: they come first. */
import * as Effect from "effect/Effect"
import type { Connection } from "./Connection.ts"
import { WrappedConnection } from "./WrappedConnection.ts"

class Prefixed extends WrappedConnection {
  private rest: Uint8Array | undefined

  constructor(inner: Connection, rest: Uint8Array) {
    super(inner)
    this.rest = rest
  }

  readonly pull: WrappedConnection["pull"] = Effect.suspend(() => {
    const { rest } = this
    if (rest === undefined) return this.inner.pull
    this.rest = undefined
    return Effect.succeed([rest])
  })
}

/** `rest` is the connection's from now on; where it is empty, this is the connection itself. */
export const prefixed = (connection: Connection, rest: Uint8Array): Connection =>
  rest.length === 0 ? connection : new Prefixed(connection, rest)
