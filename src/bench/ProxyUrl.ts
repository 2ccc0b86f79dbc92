/** The proxy that is measured, as a URL: `socks5://USER:PASSWORD@HOST:PORT` or `http://HOST:PORT`. */
import * as Result from "effect/Result"
import * as Client from "../client/ProxyUrl.ts"

export interface ProxyUrl extends Omit<Client.ProxyUrl, "protocol"> {
  readonly protocol: "socks5" | "http"
}

/** A failure says what is wanted, and repeats nothing: a password may stand anywhere in what was given. */
export const parse = (text: string, passwordElsewhere = ""): Result.Result<ProxyUrl, string> =>
  Result.map(
    Client.parse(text, {
      protocols: ["socks5", "socks5h", "http"],
      wanted: "socks5://HOST:PORT or http://HOST:PORT",
      passwordElsewhere
    }),
    // Where names are looked up makes no difference here: the targets are sent as they were given.
    (url) => ({ ...url, protocol: url.protocol === "http" ? "http" : "socks5" })
  )

/** The URL without the password. */
export const format: (url: ProxyUrl) => string = Client.format
