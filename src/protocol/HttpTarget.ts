/** Where an HTTP request to a proxy is to go: the two forms of request-target that name it (RFC 9112 §3.2). */
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import { badRequest, type ProtocolError } from "./ProtocolError.ts"

/** A request that is to be forwarded. */
export interface Forwarded {
  readonly address: Address
  /** As the client wrote it, without user information: the origin's `Host` (RFC 9112 §3.2.2). */
  readonly authority: string
  /** What the origin is asked for: path and query, or `*`. */
  readonly path: string
}

const bad = (why: string) => Result.fail(badRequest(400, why))

/** `HOST:PORT`, brackets around IPv6; whether the host is one is `Address.toHostPort`'s question. */
const authorityPattern = /^(\[[0-9A-Fa-f:.]+\]|[^[\]:@/?#\\]+)(?::(\d{0,5}))?$/

/** What a target may consist of (RFC 3986 §2): nothing that ends a line, splits it or needs an encoding. */
const isText = (text: string): boolean => /^[!-~]+$/.test(text)

const httpPort = 80

const parseAuthority = (text: string, defaultPort: number | undefined): Result.Result<Address, ProtocolError> => {
  const [, name, digits = ""] = (isText(text) ? authorityPattern.exec(text) : null) ?? []
  if (name === undefined) return bad("the destination is not HOST:PORT")
  const port = digits === "" ? defaultPort : Number(digits)
  if (port === undefined) return bad("the destination has no port")
  if (port < 1 || port > 65_535) return bad("the destination's port is not from 1 to 65535")
  return Result.succeed({ _tag: "Domain", name, port })
}

/** The target of CONNECT: authority-form, always with a port (RFC 9112 §3.2.3). */
export const fromAuthority = (target: string): Result.Result<Address, ProtocolError> =>
  parseAuthority(target, undefined)

/** What a client that takes this port for a web server is told. */
export const notAnOrigin =
  "this port is a proxy, not a web server: it takes http:// URLs in absolute form, CONNECT, and SOCKS"

/** The target of any other method: absolute-form, of the scheme http (RFC 9112 §3.2.2). */
export const fromAbsolute = (method: string, target: string): Result.Result<Forwarded, ProtocolError> => {
  const [, authority, path = ""] = /^http:\/\/([^/?#]*)(.*)$/i.exec(target) ?? []
  if (authority === undefined) {
    return bad(/^https:/i.test(target) ? "https:// URLs are reached with CONNECT" : notAnOrigin)
  }
  if (authority.includes("@")) return bad("the URL has user information")
  if (path.includes("#")) return bad("the URL has a fragment")
  if (path !== "" && !isText(path)) return bad("the URL has characters that are not to be in one")
  return Result.map(parseAuthority(authority, httpPort), (address) => ({
    address,
    authority,
    // RFC 9112 §3.2.4: without a path, OPTIONS is about the server.
    path: path === "" && method === "OPTIONS" ? "*" : path.startsWith("/") ? path : `/${path}`
  }))
}
