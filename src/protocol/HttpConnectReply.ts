import * as Schema from "effect/Schema"
import { type Codec, type Decoded, done, failed, more, trusted } from "./Codec.ts"
import { BadHead } from "./ProtocolError.ts"
import * as Text from "./Text.ts"

const name = "HTTP reply"

/** Bytes in the longest head that is read: what has a longer one is no proxy to rely on. */
const maxLength = 16_384

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Printable or not ASCII, blanks and tabs inside of it only (RFC 9110 §5.5); latin1, one character for each byte. */
const FieldValue = Schema.String.check(
  Schema.isPattern(/^(?:[!-~\u0080-\u00ff](?:[\t -~\u0080-\u00ff]{0,200}[!-~\u0080-\u00ff])?)?$/)
)

/**
 * The head of an HTTP proxy's answer to CONNECT (RFC 9112 §4, RFC 9110 §9.3.6): all of it that there is with a 2xx,
 * whose Content-Length and Transfer-Encoding mean nothing, since the target's bytes follow.
 *
 * ```text
 * HTTP/1.1 SP STATUS [ SP [ REASON ] ] CRLF *( NAME ":" OWS VALUE OWS CRLF ) CRLF
 * ```
 *
 * A bare LF ends a line too, and the blank behind the status may be missing: proxies write so, and nobody else reads
 * this head, so that nothing can be smuggled by it. No line is folded, and no name has a blank before its colon.
 */
export class HttpConnectReply extends Schema.Class<HttpConnectReply>("HttpConnectReply")({
  /** The second digit of the version: HTTP/1.0 or HTTP/1.1. */
  minor: Schema.Literals([0, 1]),
  status: Schema.Int.check(Schema.isBetween({ minimum: 100, maximum: 599 })),
  reason: FieldValue,
  fields: Schema.Array(Schema.Struct({ name: Schema.String.check(Schema.isPattern(token)), value: FieldValue }))
    .check(Schema.isMaxLength(30))
}) {}

const [cr, lf] = [0x0d, 0x0a]

const start = Text.encode("HTTP/1.")

/** latin1, byte by byte: a head is not UTF-8 by any rule. */
const latin1 = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

const bad = (why: string) => failed(name, new BadHead({ why }))

const isControl = (byte: number): boolean => (byte < 0x20 && byte !== 0x09) || byte === 0x7f

/** The line from `at` without its end, and the place behind that. */
const lineFrom = (bytes: Uint8Array, at: number): Decoded<string> => {
  for (let end = at; end < bytes.length; end++) {
    const byte = bytes[end] ?? 0
    if (byte === cr) {
      const next = bytes[end + 1]
      if (next === undefined) return more(1)
      return next === lf ? done(latin1(bytes.subarray(at, end)), end + 2) : bad("CR without LF")
    }
    if (byte === lf) return done(latin1(bytes.subarray(at, end)), end + 1)
    if (isControl(byte)) return bad("control character")
  }
  return more(1)
}

const trim = (text: string): string => text.replaceAll(/^[\t ]+|[\t ]+$/g, "")

export const codec: Codec<HttpConnectReply> = {
  name,
  maxLength,
  decode: (bytes) => {
    const wrong = start.findIndex((byte, at) => at < bytes.length && bytes[at] !== byte)
    if (wrong !== -1) return bad("not HTTP/1")
    const first = lineFrom(bytes.subarray(0, maxLength), 0)
    if (first._tag === "Failed") return first
    let at = first._tag === "Done" ? first.size : 0
    if (first._tag === "Done") {
      const [, minor, status, reason = ""] = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: (.*))?$/s.exec(first.value) ?? []
      if (status === undefined) return bad("no status line")
      const fields: Array<{ readonly name: string; readonly value: string }> = []
      while (true) {
        const line = lineFrom(bytes.subarray(0, maxLength), at)
        if (line._tag === "Failed") return line
        if (line._tag === "More") break
        at = line.size
        if (line.value === "") {
          const reply = { minor: minor === "0" ? 0 : 1, status: Number(status), reason: trim(reason), fields } as const
          return done(trusted(HttpConnectReply, reply), at)
        }
        const colon = line.value.indexOf(":")
        const field = line.value.slice(0, Math.max(0, colon))
        if (!token.test(field)) return bad("no header field")
        fields.push({ name: field, value: trim(line.value.slice(colon + 1)) })
      }
    }
    return bytes.length < maxLength ? more(1) : bad("longer than 16384 bytes")
  },
  encode: ({ fields, minor, reason, status }) =>
    bytesOf(
      [`HTTP/1.${minor} ${status} ${reason}`, ...fields.map(({ name, value }) => `${name}: ${value}`), "", ""]
        .join("\r\n")
    )
}
