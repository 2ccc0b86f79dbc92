/** Whole protocol messages from a connection, and what came behind the last one. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Codec } from "../protocol/Codec.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"

const nothing = new Uint8Array(0)

/** Bytes that a client may send ahead before reading on for it stops. */
const maxAhead = 65_536

export class MessageReader {
  private readonly connection: Connection
  private bytes: Uint8Array = nothing

  constructor(connection: Connection) {
    this.connection = connection
  }

  /** What comes next, one byte at least, which stays where it is. Good until something is read. */
  get next(): Effect.Effect<Uint8Array, ConnectionError | Cause.Done> {
    return Effect.suspend(() =>
      this.bytes.length > 0
        ? Effect.succeed(this.bytes)
        // A view of the transport's, good until the next pull: reading it copies what it leaves.
        : Effect.map(this.connection.pull, ([chunk]) => this.bytes = chunk)
    )
  }

  /**
   * The next message, however its bytes are split. Holds one incomplete message
   * and one read at most, so a client can't make it grow.
   */
  read<A>(codec: Codec<A>): Effect.Effect<A, ProtocolError | ConnectionError | Cause.Done> {
    return Effect.suspend(() => this.bytes.length === 0 ? this.pullAndDecode(codec) : this.decode(codec, this.bytes))
  }

  private pullAndDecode<A>(codec: Codec<A>): Effect.Effect<A, ProtocolError | ConnectionError | Cause.Done> {
    return Effect.flatMap(
      this.connection.pull,
      ([chunk]) => this.decode(codec, this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk]))
    )
  }

  private decode<A>(
    codec: Codec<A>,
    bytes: Uint8Array
  ): Effect.Effect<A, ProtocolError | ConnectionError | Cause.Done> {
    const decoded = codec.decode(bytes)
    switch (decoded._tag) {
      case "Done":
        this.keep(bytes, decoded.size)
        return Effect.succeed(decoded.value)
      case "Failed":
        return Effect.fail(decoded.error)
      case "More":
        this.keep(bytes, 0)
        return this.pullAndDecode(codec)
    }
  }

  /** What will be needed beyond the next pull: a copy, since the view is the transport's. */
  private keep(bytes: Uint8Array, from: number): void {
    this.bytes = from === bytes.length ? nothing : new Uint8Array(bytes.subarray(from))
  }

  /**
   * Reads on behind the last message, so that a client that leaves is noticed while nothing is expected of it. What it
   * sends is kept; from 64 KiB on only a failing connection is noticed. Never succeeds.
   */
  get ahead(): Effect.Effect<never, ConnectionError | Cause.Done> {
    return Effect.forever(
      Effect.suspend(() =>
        this.bytes.length >= maxAhead ? Effect.never : Effect.map(this.connection.pull, ([chunk]) => {
          this.bytes = Buffer.concat([this.bytes, chunk])
        })
      )
    )
  }

  /** Gives back what somebody else has read behind the last message. */
  unread(bytes: Uint8Array): void {
    this.bytes = bytes
  }

  /** The bytes behind the last message: the client did not wait for our answer. Gives them up. */
  takeRest(): Uint8Array {
    const rest = this.bytes
    this.bytes = nothing
    return rest
  }
}
