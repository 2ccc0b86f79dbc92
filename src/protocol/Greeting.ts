import * as Schema from "effect/Schema"
import { Byte, checkVersion, type Codec, done, more, trusted } from "./Codec.ts"
import { version } from "./Version.ts"

const name = "greeting"

/**
 * The client's first message: the methods that it offers (RFC 1928 §3).
 *
 * ```text
 * +----+----------+----------+
 * |VER | NMETHODS | METHODS  |
 * +----+----------+----------+
 * | 1  |    1     | 1 to 255 |
 * +----+----------+----------+
 * ```
 *
 * An NMETHODS of 0 parses as well, so that it can be answered with FF.
 */
export class Greeting extends Schema.Class<Greeting>("Greeting")({
  methods: Schema.Array(Byte).check(Schema.isMaxLength(255))
}) {}

export const codec: Codec<Greeting> = {
  name,
  maxLength: 2 + 255,
  decode: (bytes) => {
    const mismatch = checkVersion(name, version, bytes[0])
    if (mismatch !== undefined) return mismatch
    const count = bytes[1]
    if (count === undefined) return more(2 - bytes.length)
    const end = 2 + count
    if (bytes.length < end) return more(end - bytes.length)
    const methods: Array<number> = []
    for (const method of bytes.subarray(2, end)) methods.push(method)
    return done(trusted(Greeting, { methods }), end)
  },
  encode: ({ methods }) => Uint8Array.from([version, methods.length, ...methods])
}
