/** The header fields of HTTP messages that matter to whoever is between the two ends (RFC 9110 §7.6, RFC 9112 §6). */
import * as Result from "effect/Result"
import { badRequest, type ProtocolError } from "./ProtocolError.ts"

/** Names and values by turns, in the order and case in which they came. */
export type Fields = ReadonlyArray<string>

/** Meant for the next one only, whether `Connection` names them or not (RFC 9110 §7.6.1, §11.7). */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "te",
  "transfer-encoding",
  "upgrade",
  // They are not passed on (RFC 9110 §6.5.1), and so not announced.
  "trailer"
])

/** What `Connection` can't take away: without it the next one would see another message, or another origin. */
const essential = new Set(["content-length", "host"])

const pairs = function*(fields: Fields): Generator<readonly [name: string, value: string, lowerCase: string]> {
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? ""
    yield [name, fields[i + 1] ?? "", name.toLowerCase()]
  }
}

/** The values of all fields of a name, which is given in lower case. */
export const valuesOf = (fields: Fields, wanted: string): ReadonlyArray<string> => {
  const values: Array<string> = []
  for (const [, value, name] of pairs(fields)) if (name === wanted) values.push(value)
  return values
}

/** The fields that go on to the other end. */
export const endToEnd = (fields: Fields): Array<string> => {
  const named = new Set(
    valuesOf(fields, "connection").flatMap((value) => value.split(",")).map((option) => option.trim().toLowerCase())
  )
  const kept: Array<string> = []
  for (const [name, value, lowerCase] of pairs(fields)) {
    if (hopByHop.has(lowerCase) || (named.has(lowerCase) && !essential.has(lowerCase))) continue
    kept.push(name, value)
  }
  return kept
}

/** How a message tells where its content ends (RFC 9112 §6.3). */
export type Framing = "none" | "length" | "chunked"

const bad = (why: string, status: 400 | 501 = 400) => Result.fail(badRequest(status, why))

const single = ["content-length", "transfer-encoding", "host", "proxy-authorization"] as const

/**
 * The framing of a request; fails for all that two parsers could read in two ways. Parsers refuse most of it before;
 * that they do so in each version is not taken for granted.
 */
export const framing = (version: string, fields: Fields): Result.Result<Framing, ProtocolError> => {
  for (const name of single) if (valuesOf(fields, name).length > 1) return bad(`more than one ${name} field`)
  const [length] = valuesOf(fields, "content-length")
  const [coding] = valuesOf(fields, "transfer-encoding")
  if (coding === undefined) {
    if (length === undefined) return Result.succeed("none")
    return /^\d{1,15}$/.test(length) ? Result.succeed("length") : bad("content-length is not a number")
  }
  if (length !== undefined) return bad("both content-length and transfer-encoding")
  if (version !== "1.1") return bad("transfer-encoding needs HTTP/1.1")
  return coding.toLowerCase() === "chunked" ? Result.succeed("chunked") : bad("an unknown transfer-encoding", 501)
}
