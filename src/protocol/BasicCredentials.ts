/** The name and password of HTTP's Basic scheme (RFC 7617), in UTF-8. */
import * as Base64 from "effect/encoding/Base64"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { BadText, ProtocolError } from "./ProtocolError.ts"
import * as Text from "./Text.ts"

export interface BasicCredentials {
  readonly username: string
  readonly password: Redacted.Redacted<string>
}

/** The frame of its errors. */
export const frame = "Basic credentials"

/** Bytes that a name or a password may have: what a login by SOCKS has room for (RFC 1929 §2). */
const maxLength = 255

const bad = (field: BadText["field"], why: string) =>
  Result.fail(new ProtocolError({ frame, reason: new BadText({ field, why }) }))

const colon = 0x3a

/** From the value of `Authorization` or `Proxy-Authorization`. Its text is in no error. */
export const parse = (value: string): Result.Result<BasicCredentials, ProtocolError> => {
  const [, token] = /^basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(value) ?? []
  if (token === undefined) return bad("username", "not sent by the Basic scheme")
  const decoded = Base64.decode(token)
  if (Result.isFailure(decoded)) return bad("username", "not Base64")
  const bytes = decoded.success
  // The first one: a name has none, a password may.
  const end = bytes.indexOf(colon)
  if (end === -1) return bad("username", "no colon behind it")
  if (end > maxLength) return bad("username", "too long")
  if (bytes.length - end - 1 > maxLength) return bad("password", "too long")
  const inName = Text.firstFault(bytes, 0, end, "allowed")
  if (inName !== undefined) return bad("username", inName.why)
  const inPassword = Text.firstFault(bytes, end + 1, bytes.length, "allowed")
  if (inPassword !== undefined) return bad("password", inPassword.why)
  return Result.succeed({
    username: Text.decode(bytes.subarray(0, end)),
    password: Redacted.make(Text.decode(bytes.subarray(end + 1)))
  })
}

/** The value for `Authorization` or `Proxy-Authorization`. The name has no colon. */
export const print = ({ password, username }: BasicCredentials): string =>
  `Basic ${Base64.encode(Text.encode(`${username}:${Redacted.value(password)}`))}`
