/**
 * What every message of the protocol shares: a pure decoder for bytes that
 * arrive piece by piece, and the encoder that is its exact inverse.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import { ProtocolError, type ProtocolErrorReason, VersionMismatch } from "./ProtocolError.ts"

/** At least `atLeast` more bytes (>= 1) are missing; asking for that many never reads past the message. */
export interface More {
  readonly _tag: "More"
  readonly atLeast: number
}

/** The message, and how many bytes of the input it took. The rest is the caller's. */
export interface Done<out A> {
  readonly _tag: "Done"
  readonly value: A
  readonly size: number
}

/** No further bytes can make a legal message of these. */
export interface Failed {
  readonly _tag: "Failed"
  readonly error: ProtocolError
}

export type Decoded<A> = More | Done<A> | Failed

export interface Codec<A> {
  /** For log lines: `greeting`, `request`, … */
  readonly name: string
  /** Bytes in the longest legal message. Decoding never asks for more than that. */
  readonly maxLength: number
  /**
   * Decodes a message from all bytes of it that have arrived so far. Never
   * throws, keeps nothing between calls, and the value shares no memory with
   * the input. Fails at the first byte that no legal message has there.
   */
  readonly decode: (bytes: Uint8Array) => Decoded<A>
  /** The bytes of a message whose fields satisfy its schema. */
  readonly encode: (value: A) => Uint8Array
}

export const more = (atLeast: number): More => ({ _tag: "More", atLeast })

export const done = <A>(value: A, size: number): Done<A> => ({ _tag: "Done", value, size })

export const failed = (frame: string, reason: ProtocolErrorReason): Failed => ({
  _tag: "Failed",
  error: new ProtocolError({ frame, reason })
})

/** Fails when the version byte has arrived and is another. */
export const checkVersion = (frame: string, expected: number, actual: number | undefined): Failed | undefined =>
  actual === undefined || actual === expected ? undefined : failed(frame, new VersionMismatch({ expected, actual }))

/**
 * A message from fields that the decoder has checked already. A class's own
 * constructor runs its schema even with its checks disabled, which would cost
 * each connection more than all of its decoding (5 µs for each message).
 */
export const trusted = <A extends object>(
  Class: { readonly prototype: A },
  fields: { readonly [K in keyof A]: A[K] }
): A => Object.assign(Object.create(Class.prototype), fields)

/** One octet: 0 to 255. */
export const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xff }, { expected: "a byte" }))

/** A codec as a schema over complete frames, for tests and tools: missing or left-over bytes are a failure. */
export const schema = <M extends Schema.Constraint>(codec: Codec<M["Type"]>, model: M) =>
  Schema.Uint8Array.pipe(Schema.decodeTo(Schema.toType(model), {
    decode: SchemaGetter.transformEffect((bytes: Uint8Array, options) => {
      const decoded = codec.decode(bytes)
      const fail = (message: string) => Effect.fail(new SchemaIssue.InvalidValue({ message }, bytes, options))
      switch (decoded._tag) {
        case "Failed":
          return fail(decoded.error.message)
        case "More":
          return fail(`${codec.name}: at least ${decoded.atLeast} bytes missing`)
        case "Done":
          return decoded.size === bytes.length
            ? Effect.succeed(decoded.value)
            : fail(`${codec.name}: ${bytes.length - decoded.size} bytes left over`)
      }
    }),
    encode: SchemaGetter.transform(codec.encode)
  }))
