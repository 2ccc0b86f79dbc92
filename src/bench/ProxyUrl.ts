/** The proxy that is measured, as a URL: `socks5://USER:PASSWORD@HOST:PORT` or `http://HOST:PORT`. */
import * as Host from "effect/net/Host"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"

export interface Credentials {
  readonly user: string
  readonly password: Redacted.Redacted<string>
}

export interface ProxyUrl {
  readonly protocol: "socks5" | "http"
  readonly address: Host.HostPort
  readonly credentials?: Credentials
}

const wanted = "socks5://HOST:PORT or http://HOST:PORT, with USER:PASSWORD@ before the host if the proxy asks for them"

const standardPort = { socks5: 1080, http: 80 } as const

const protocolOf = (scheme: string): ProxyUrl["protocol"] | undefined => {
  if (scheme === "http:") return "http"
  // The h of curl's socks5h has the proxy look names up, which is the only way here.
  return scheme === "socks5:" || scheme === "socks5h:" ? "socks5" : undefined
}

/** RFC 1929 counts both in one byte each, and a colon ends the name in RFC 7617. */
const problemOf = (protocol: ProxyUrl["protocol"], user: string, password: string): string | undefined => {
  if (protocol === "http") return user.includes(":") ? "the user name has a colon, which HTTP can't send" : undefined
  const lengths = [user, password].map((text) => Buffer.byteLength(text))
  return lengths.some((length) => length > 255) ? "user name and password may have 255 bytes each" : undefined
}

/** A failure says what is wanted, and repeats nothing: a password may stand anywhere in what was given. */
export const parse = (text: string, passwordElsewhere = ""): Result.Result<ProxyUrl, string> => {
  const refused = Result.fail(`not the URL of a proxy; give ${wanted}`)
  // Whatever is not a URL throws.
  const url = Result.getOrUndefined(Result.try(() => new URL(text)))
  const protocol = url === undefined ? undefined : protocolOf(url.protocol)
  if (url === undefined || protocol === undefined) return refused
  const port = url.port === "" ? standardPort[protocol] : Number(url.port)
  const host = Result.flatMap(
    Host.hostFromString(url.hostname.replace(/^\[(.*)\]$/, "$1")),
    (host) => Host.hostPort(host, port)
  )
  if (Result.isFailure(host) || port === 0) return refused
  if (!["", "/"].includes(url.pathname) || url.search !== "" || url.hash !== "") {
    return Result.fail(`more than a host and a port; give ${wanted}, with %40, %2F, %3F and %23 for @, /, ? and #`)
  }
  const decoded = Result.try(() => [url.username, url.password].map(decodeURIComponent))
  if (Result.isFailure(decoded)) return Result.fail("a % in the user name or password; write it %25")
  const [user = "", password = ""] = decoded.success
  const secret = password === "" ? passwordElsewhere : password
  const problem = problemOf(protocol, user, secret)
  if (problem !== undefined) return Result.fail(problem)
  return Result.succeed({
    protocol,
    address: host.success,
    ...user !== "" && { credentials: { user, password: Redacted.make(secret) } }
  })
}

/** The URL without the password. */
export const format = ({ address, credentials, protocol }: ProxyUrl): string => {
  const user = credentials === undefined ? "" : `${encodeURIComponent(credentials.user)}@`
  return `${protocol}://${user}${Host.formatHostPort(address)}`
}
