/** Whole protocol messages from a connection, and what came behind the last one. */
import * as Effect from "effect/Effect"
import type { Codec } from "../protocol/Codec.ts"
import type { Connection } from "../transport/Connection.ts"

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
  readonly read = Effect.fnUntraced({ self: this }, function*<A>(this: MessageReader, codec: Codec<A>) {
    while (true) {
      const decoded = codec.decode(this.bytes)
      if (decoded._tag === "Done") {
        this.bytes = this.bytes.subarray(decoded.size)
        return decoded.value
      }
      if (decoded._tag === "Failed") return yield* decoded.error
      const [chunk] = yield* this.connection.pull
      this.bytes = this.bytes.length === 0 ? chunk.slice() : Buffer.concat([this.bytes, chunk])
    }
  })

  /** The bytes behind the last message: the client did not wait for our answer. Gives them up. */
  takeRest(): Uint8Array {
    const rest = this.bytes
    this.bytes = nothing
    return rest
  }
}
