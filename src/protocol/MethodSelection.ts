import * as Schema from "effect/Schema"
import { Byte, checkVersion, type Codec, done, more, trusted } from "./Codec.ts"
import { version } from "./Version.ts"

/** The methods that Sluice knows (RFC 1928 §3). */
export const noAuthentication = 0x00
export const usernamePassword = 0x02
/** In a selection: the client has offered nothing that will do, and has to close. */
export const noneAcceptable = 0xff

const name = "method selection"

/**
 * The server's answer to the greeting: the method it chose, or FF when none is
 * acceptable (RFC 1928 §3).
 *
 * ```text
 * +----+--------+
 * |VER | METHOD |
 * +----+--------+
 * | 1  |   1    |
 * +----+--------+
 * ```
 */
export class MethodSelection extends Schema.Class<MethodSelection>("MethodSelection")({
  method: Byte
}) {}

export const codec: Codec<MethodSelection> = {
  name,
  maxLength: 2,
  decode: (bytes) => {
    const mismatch = checkVersion(name, version, bytes[0])
    if (mismatch !== undefined) return mismatch
    const method = bytes[1]
    if (method === undefined) return more(2 - bytes.length)
    return done(trusted(MethodSelection, { method }), 2)
  },
  encode: ({ method }) => Uint8Array.of(version, method)
}
