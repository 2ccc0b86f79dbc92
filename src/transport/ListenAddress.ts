/** Where to listen: a TCP address, TLS over one, a Unix socket, or a socket that was opened before we started. */
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"

/** TLS on the outside of whatever is served. The files are PEM, and read again when they change. */
export interface Tls {
  readonly _tag: "Tls"
  readonly address: NetAddress.InetAddress
  /** The path of the certificate, those of its issuers behind it. */
  readonly cert: string
  /** The path of its private key, without a passphrase. */
  readonly key: string
  /**
   * The path of the certificates whose holders may vouch for clients. With it, a client without such a certificate gets
   * nowhere, and one that has it needs no login: the certificate's common name is the user.
   */
  readonly clientCa?: string
}

/** A Unix socket, for the file's owner and group (mode 0660). Its clients are on this machine. */
export interface Unix {
  readonly _tag: "Unix"
  /** At most 107 bytes. */
  readonly path: string
}

/** A socket that somebody else has opened, bound and put to listen, and that this process has inherited. */
export interface Descriptor {
  readonly _tag: "Descriptor"
  readonly fd: number
  /** Where it listens. */
  readonly address: NetAddress.InetAddress | Unix
}

/** A plain address is that of TCP. */
export type ListenAddress = NetAddress.InetAddress | Tls | Unix | Descriptor

/** How many bytes the path of a Unix socket has room for: `sun_path` ends with a zero (unix(7)). */
export const longestPath = 107

export const tls = (options: Omit<Tls, "_tag">): Tls => ({ _tag: "Tls", ...options })

export const unix = (path: string): Unix => ({ _tag: "Unix", path })

export const descriptor = (fd: number, address: Descriptor["address"]): Descriptor => ({
  _tag: "Descriptor",
  fd,
  address
})

/** Whether only clients with a certificate get in, which says who they are. */
export const asksForCertificate = (listen: ListenAddress): boolean =>
  listen._tag === "Tls" && listen.clientCa !== undefined

/** The IP address behind it; a Unix socket has none. */
export const inetOf = (listen: ListenAddress): NetAddress.InetAddress | undefined => {
  switch (listen._tag) {
    case "Tls":
      return listen.address
    case "Descriptor":
      return inetOf(listen.address)
    case "Unix":
      return undefined
    default:
      return listen
  }
}

/** The TCP socket behind it, as a text that is the same for addresses that can't be open at once; `undefined` for others. */
export const socketOf = (listen: ListenAddress): string | undefined => {
  const inet = inetOf(listen)
  return inet === undefined ? undefined : NetAddress.formatInet(inet)
}

/** `HOST:PORT`, `tls://HOST:PORT` or `unix:PATH`. */
export const format = (listen: ListenAddress): string => {
  switch (listen._tag) {
    case "Tls":
      return `tls://${NetAddress.formatInet(listen.address)}`
    case "Descriptor":
      return format(listen.address)
    case "Unix":
      return `unix:${listen.path}`
    default:
      return NetAddress.formatInet(listen)
  }
}

/** The same with a scheme for TCP too: `socks5://HOST:PORT`. */
export const formatUrl = (listen: ListenAddress, scheme: string): string =>
  listen._tag === "Tls" || inetOf(listen) === undefined ? format(listen) : `${scheme}://${format(listen)}`

const UnixJson = Schema.TaggedStruct("Unix", { path: Schema.String })

/** As it travels between processes. */
export const Json = Schema.Union([
  Schema.InetAddressFromString,
  Schema.TaggedStruct("Tls", {
    address: Schema.InetAddressFromString,
    cert: Schema.String,
    key: Schema.String,
    clientCa: Schema.optionalKey(Schema.String)
  }),
  UnixJson,
  Schema.TaggedStruct("Descriptor", {
    fd: Schema.Int,
    address: Schema.Union([Schema.InetAddressFromString, UnixJson])
  })
])
