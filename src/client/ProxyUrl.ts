/** A proxy as a URL: `socks5h://USER:PASSWORD@HOST:PORT`. */
import * as Data from "effect/Data"
import * as Host from "effect/net/Host"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"

/**
 * What a proxy speaks, in curl's words. Names go to the proxy as they are with `socks5h`, `socks4a`, `http` and
 * `https`; with `socks5` and `socks4` they are looked up here. `https` is HTTP's CONNECT inside of TLS.
 */
export const protocols = ["socks5", "socks5h", "socks4", "socks4a", "http", "https"] as const

export type Protocol = typeof protocols[number]

export interface Credentials {
  readonly user: string
  readonly password: Redacted.Redacted<string>
}

export interface ProxyUrl {
  readonly protocol: Protocol
  readonly address: Host.HostPort
  readonly credentials?: Credentials
}

export interface Options {
  /** Those that will do. Default: all. */
  readonly protocols?: ReadonlyArray<Protocol>
  /** How the error describes them. Default: `PROTOCOL://HOST:PORT`, and the list. */
  readonly wanted?: string
  /** The password where the URL has none. */
  readonly passwordElsewhere?: string
}

/** A text is not the URL of a proxy. `message` is one line that repeats nothing of it: a password may be anywhere. */
export class ProxyUrlError extends Data.TaggedError("ProxyUrlError")<{ readonly message: string }> {}

/** curl's ports where the URL has none: 1080 for all but one, `http` among them. */
const standardPort = (protocol: Protocol): number => protocol === "https" ? 443 : 1080

const byteLength = (text: string): number => new TextEncoder().encode(text).length

/** What each protocol can't send: RFC 1929 counts in one byte, RFC 7617 ends the name at a colon, SOCKS4 at a NUL. */
const problemOf = (protocol: Protocol, user: string, password: string): string | undefined => {
  switch (protocol) {
    case "http":
    case "https":
      return user.includes(":") ? "the user name has a colon, which HTTP can't send" : undefined
    case "socks4":
    case "socks4a":
      if (password !== "") return "SOCKS4 has no passwords; leave it out, or use socks5"
      return user.includes("\0") || byteLength(user) > 255
        ? "a user name for SOCKS4 may have 255 bytes, and no NUL among them"
        : undefined
    case "socks5":
    case "socks5h":
      return byteLength(user) > 255 || byteLength(password) > 255
        ? "user name and password may have 255 bytes each"
        : undefined
  }
}

/** What is wrong with the host and port of an URL, the scheme taken off, as far as it can be told. */
const problemOfPlace = (rest: string, wanted: string): string | undefined => {
  const [, authority = "", more = ""] = /^\/\/([^/?#]*)(.*)$/s.exec(rest) ?? []
  if (!["", "/"].includes(more)) {
    return `more than a host and a port; give ${wanted}, with %40, %2F, %3F and %23 for @, /, ? and #`
  }
  const place = authority.slice(authority.lastIndexOf("@") + 1)
  const [, host = "", port = ""] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(place) ?? []
  if (host.startsWith("[") && host.includes("%")) {
    return "an IPv6 address with a zone (%), which no proxy's URL can have"
  }
  if (/[^\0-\x7f]/.test(host)) return "a host name that is not ASCII; write it as DNS has it, xn--..."
  if (port.includes(":")) return "more than one colon in host and port; an IPv6 address goes into [brackets]"
  if (port !== "" && !(/^\d+$/.test(port) && Number(port) > 0 && Number(port) < 65_536)) {
    return "the port is not a number from 1 to 65535"
  }
  return undefined
}

/** A failure says what is wanted, and repeats nothing: a password may stand anywhere in what was given. */
export const parse = (text: string, options: Options = {}): Result.Result<ProxyUrl, string> => {
  const wanted = (options.wanted ?? `PROTOCOL://HOST:PORT, PROTOCOL being one of ${protocols.join(", ")}`) +
    ", with USER:PASSWORD@ before the host if the proxy asks for them"
  const refused = Result.fail(`not the URL of a proxy; give ${wanted}`)
  const [, scheme, rest = ""] = /^([a-z][a-z\d+.-]*):(.*)$/is.exec(text) ?? []
  const protocol = (options.protocols ?? protocols).find((one) => one === scheme?.toLowerCase())
  if (protocol === undefined) return refused
  const misplaced = problemOfPlace(rest, wanted)
  if (misplaced !== undefined) return Result.fail(misplaced)
  // Read as a scheme that `URL` does not know: it would drop the port 80 from one of `http`. Whatever is no URL throws.
  const url = Result.getOrUndefined(Result.try(() => new URL(`proxy:${rest}`)))
  if (url === undefined) return refused
  const port = url.port === "" ? standardPort(protocol) : Number(url.port)
  const host = Result.flatMap(
    Host.hostFromString(url.hostname.replace(/^\[(.*)\]$/, "$1")),
    (host) => Host.hostPort(host, port)
  )
  if (Result.isFailure(host)) return refused
  const decoded = Result.try(() => [url.username, url.password].map(decodeURIComponent))
  if (Result.isFailure(decoded)) return Result.fail("a % in the user name or password; write it %25")
  const [user = "", password = ""] = decoded.success
  if (user === "" && password !== "") {
    return Result.fail("a password, but no user name; write USER:PASSWORD@ before the host")
  }
  const secret = password === "" ? options.passwordElsewhere ?? "" : password
  const problem = problemOf(protocol, user, secret)
  if (problem !== undefined) return Result.fail(problem)
  return Result.succeed({
    protocol,
    address: host.success,
    ...user !== "" && { credentials: { user, password: Redacted.make(secret) } }
  })
}

/** The same, for where a failure is an effect's. */
export const fromInput = (input: ProxyUrl | string): Result.Result<ProxyUrl, ProxyUrlError> =>
  typeof input === "string"
    ? Result.mapError(parse(input), (message) => new ProxyUrlError({ message }))
    : Result.succeed(input)

/** Whether the proxy looks names up itself, and has to be sent them. */
export const resolvesNames = ({ protocol }: ProxyUrl): boolean => protocol !== "socks5" && protocol !== "socks4"

/** The URL without the password. */
export const format = ({ address, credentials, protocol }: ProxyUrl): string => {
  const user = credentials === undefined ? "" : `${encodeURIComponent(credentials.user)}@`
  return `${protocol}://${user}${Host.formatHostPort(address)}`
}
