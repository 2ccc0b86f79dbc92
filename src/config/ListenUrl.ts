/** Where to listen, as people write it. */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as ListenAddress from "../transport/ListenAddress.ts"
import { quote } from "./Escape.ts"

type Parsed<A> = Result.Result<A, string>

const wrong = (text: string, wanted: string): Parsed<never> =>
  Result.fail(text === "" ? `is empty; give ${wanted}` : `${quote(text)} is not ${wanted}`)

const inet = (text: string): NetAddress.InetAddress | undefined =>
  Result.getOrUndefined(NetAddress.inetAddressFromString(text.replace(/^localhost:/i, "127.0.0.1:")))

const parseTcp = (text: string): Parsed<ListenAddress.ListenAddress> => {
  const address = inet(text)
  return address === undefined
    ? wrong(text, "HOST:PORT with an IP address or localhost, such as 127.0.0.1:1080 or [::1]:1080")
    : Result.succeed(address)
}

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const fileKeys = ["cert", "key", "clientCa"] as const

/** Not `URLSearchParams`, which takes the plus of `/etc/c++` for a space. */
const parseTls = (text: string): Parsed<ListenAddress.ListenAddress> => {
  const [, authority = "", query = ""] = /^tls:\/\/([^/?#]*)\/?(?:\?(.*))?$/s.exec(text) ?? []
  const address = inet(authority)
  if (address === undefined) {
    return wrong(text, "tls://HOST:PORT?cert=FILE&key=FILE with an IP address or localhost")
  }
  const files = new Map<string, string>()
  for (const part of query === "" ? [] : query.split("&")) {
    const [name = "", ...value] = part.split("=")
    const path = decode(value.join("="))
    if (!fileKeys.some((key) => key === name)) {
      return Result.fail(`${quote(text)} has ${quote(name)}, which is not one of ${fileKeys.join(", ")}`)
    }
    if (path === undefined || path === "") return Result.fail(`${quote(text)} has no file for ${name}`)
    if (files.has(name)) return Result.fail(`${quote(text)} has ${name} twice`)
    files.set(name, path)
  }
  const [cert, key, clientCa] = fileKeys.map((name) => files.get(name))
  if (cert === undefined) return Result.fail(`${quote(text)} has no certificate; add cert=FILE`)
  if (key === undefined) return Result.fail(`${quote(text)} has no key for its certificate; add key=FILE`)
  return Result.succeed(ListenAddress.tls({ address, cert, key, ...clientCa !== undefined && { clientCa } }))
}

const parseUnix = (text: string): Parsed<ListenAddress.ListenAddress> => {
  const path = text.slice("unix:".length)
  if (path === "" || path.includes("\0")) return wrong(text, "unix:PATH, such as unix:/run/sluice.sock")
  const size = Buffer.byteLength(path)
  return size > ListenAddress.longestPath
    ? Result.fail(`${quote(text)} is too long for a socket: ${size} bytes of at most ${ListenAddress.longestPath}`)
    : Result.succeed(ListenAddress.unix(path))
}

/** The failure is the second half of a line: what was written, and what would do instead. */
export const parse = (text: string): Parsed<ListenAddress.ListenAddress> => {
  if (text.startsWith("tls:")) return parseTls(text)
  return text.startsWith("unix:") ? parseUnix(text) : parseTcp(text)
}
