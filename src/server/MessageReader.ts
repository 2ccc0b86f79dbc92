/** Whole protocol messages from a connection, and what came behind the last one. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Codec } from "../protocol/Codec.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"

const nothing = new Uint8Array(0)

export class MessageReader {
  private readonly connection: Connection
  private bytes: Uint8Array = nothing

  constructor(connection: Connection) {
    this.connection = connection
  }

  /**
   * The next message, however its bytes are split. Holds one incomplete message
   * and one read at most, so a client can't make it grow.
   */
  read<A>(codec: Codec<A>): Effect.Effect<A, ProtocolError | ConnectionError | Cause.Done> {
    return Effect.suspend(() => this.next(codec))
  }

  private next<A>(codec: Codec<A>): Effect.Effect<A, ProtocolError | ConnectionError | Cause.Done> {
    const decoded = codec.decode(this.bytes)
    switch (decoded._tag) {
      case "Done":
        this.bytes = this.bytes.subarray(decoded.size)
        return Effect.succeed(decoded.value)
      case "Failed":
        return Effect.fail(decoded.error)
      case "More":
        return Effect.flatMap(this.connection.pull, ([chunk]) => {
          // A copy in either case: the view is the transport's. `slice` on a Buffer would copy nothing.
          this.bytes = this.bytes.length === 0 ? new Uint8Array(chunk) : Buffer.concat([this.bytes, chunk])
          return this.next(codec)
        })
    }
  }

  /** The bytes behind the last message: the client did not wait for our answer. Gives them up. */
  takeRest(): Uint8Array {
    const rest = this.bytes.length === 0 ? nothing : this.bytes
    this.bytes = nothing
    return rest
  }
}
