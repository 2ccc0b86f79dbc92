import * as Schema from "effect/Schema"
import { Byte, checkVersion, type Codec, done, more, trusted } from "./Codec.ts"
import { passwordVersion } from "./Version.ts"

const name = "password reply"

/** STATUS: 0 is success, and all else a failure after which the server closes (RFC 1929 §2). */
export const success = 0x00
export const failure = 0x01

/**
 * The server's answer to a name and password (RFC 1929 §2).
 *
 * ```text
 * +----+--------+
 * |VER | STATUS |
 * +----+--------+
 * | 1  |   1    |
 * +----+--------+
 * ```
 */
export class PasswordReply extends Schema.Class<PasswordReply>("PasswordReply")({
  status: Byte
}) {}

export const codec: Codec<PasswordReply> = {
  name,
  maxLength: 2,
  decode: (bytes) => {
    const mismatch = checkVersion(name, passwordVersion, bytes[0])
    if (mismatch !== undefined) return mismatch
    const status = bytes[1]
    if (status === undefined) return more(2 - bytes.length)
    return done(trusted(PasswordReply, { status }), 2)
  },
  encode: ({ status }) => Uint8Array.of(passwordVersion, status)
}
