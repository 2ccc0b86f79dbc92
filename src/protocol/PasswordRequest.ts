import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { checkVersion, type Codec, type Decoded, done, failed, more, trusted } from "./Codec.ts"
import { BadText } from "./ProtocolError.ts"
import * as Text from "./Text.ts"
import { passwordVersion } from "./Version.ts"

const name = "password request"

const Field = Schema.String.check(Schema.makeFilter(
  (text: string) => Text.isWellFormed(text) && Text.encode(text).length <= 255,
  {
    expected: "a text of at most 255 bytes",
    arbitraryConstraint: {
      patterns: [{ source: "^(?:[\\0-\\u007f]{0,255}|[\\0-\\ud7ff\\ue000-\\u{10ffff}]{0,63})$", flags: "u" }]
    }
  }
))

/** One length octet and the text that it counts, from `at`. `after` is how many bytes must follow at least. */
const decodeField = (
  field: BadText["field"],
  bytes: Uint8Array,
  at: number,
  after: number
): Decoded<string> => {
  const length = bytes[at]
  if (length === undefined) return more(at + 1 + after - bytes.length)
  const start = at + 1
  const end = start + length
  const fault = Text.firstFault(bytes, start, end, "allowed")
  if (fault !== undefined) return failed(name, new BadText({ field, why: fault.why }))
  if (bytes.length < end) return more(end + after - bytes.length)
  return done(Text.decode(bytes.subarray(start, end)), end)
}

/**
 * The client's name and password (RFC 1929 §2).
 *
 * ```text
 * +----+------+----------+------+----------+
 * |VER | ULEN |  UNAME   | PLEN |  PASSWD  |
 * +----+------+----------+------+----------+
 * | 1  |  1   | 1 to 255 |  1   | 1 to 255 |
 * +----+------+----------+------+----------+
 * ```
 *
 * Lengths of 0 parse too: they are in use, and whoever compares them decides.
 */
export class PasswordRequest extends Schema.Class<PasswordRequest>("PasswordRequest")({
  username: Field,
  password: Schema.Redacted(Field)
}) {}

export const codec: Codec<PasswordRequest> = {
  name,
  maxLength: 1 + 1 + 255 + 1 + 255,
  decode: (bytes) => {
    const mismatch = checkVersion(name, passwordVersion, bytes[0])
    if (mismatch !== undefined) return mismatch
    const username = decodeField("username", bytes, 1, 1)
    if (username._tag !== "Done") return username
    const password = decodeField("password", bytes, username.size, 0)
    if (password._tag !== "Done") return password
    const request = { username: username.value, password: Redacted.make(password.value) }
    return done(trusted(PasswordRequest, request), password.size)
  },
  encode: (request) => {
    const username = Text.encode(request.username)
    const password = Text.encode(Redacted.value(request.password))
    return Uint8Array.from([passwordVersion, username.length, ...username, password.length, ...password])
  }
}
