/**
 * A connection with TLS on its outside. It is served from its first byte on, so that the time that a handshake takes,
 * and the number of those that are under way, have the limits of sessions.
 */
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import * as NodeTls from "node:tls"
import type { Connection, ConnectionError } from "./Connection.ts"
import { NodeConnection } from "./NodeConnection.ts"
import * as SocketError from "./SocketError.ts"

export interface Options {
  readonly context: NodeTls.SecureContext
  /** Whether a client has to show a certificate, by an authority that the context knows. */
  readonly wantsCertificate: boolean
  /** Whether something comes before TLS, in clear: then it begins with `beginTls`. Default: `false`. */
  readonly clearFirst?: boolean
}

/** The header of a record, which a client that speaks TLS sends at once (RFC 8446 §5.1). */
const headerSize = 5

/** Milliseconds after which one that has sent less has said all that it will say: a greeting of SOCKS5 has 3 bytes. */
const headerTimeout = 900

const failure = (message: string, code: string): Error => Object.assign(new Error(message), { code })

/** The server's side of TLS, over a socket whose buffer has what was read too early. */
const secure = (socket: Net.Socket, { context, wantsCertificate }: Options): NodeTls.TLSSocket =>
  new NodeTls.TLSSocket(socket, {
    isServer: true,
    secureContext: context,
    requestCert: wantsCertificate,
    rejectUnauthorized: wantsCertificate
  })

export class TlsConnection extends NodeConnection {
  insecure = true
  peerName: string | undefined = undefined
  readonly beginTls: Connection["beginTls"] = undefined

  /** Takes over a socket that was just accepted, and of which nothing was read. */
  constructor(socket: Net.Socket, options: Options) {
    const secured = options.clearFirst === true ? undefined : secure(socket, options)
    super(secured ?? socket, true)
    if (secured !== undefined) this.attend(secured, socket, options)
    else this.beginTls = (early) => Effect.suspend(() => this.begin(socket, early, options))
  }

  /** Has TLS take the place of the socket. Nothing that came in clear is left to be pulled. */
  private begin(socket: Net.Socket, early: Uint8Array, options: Options): Effect.Effect<void, ConnectionError> {
    const { pending } = this
    this.pending = undefined
    if (socket.destroyed) return Effect.fail(this.failure ?? SocketError.closed)
    // The next pull tells of the end.
    if (socket.readableEnded) return Effect.void
    // What it reads is for TLS now; the end of it, where that had come already, is still heard of.
    socket.removeAllListeners("readable")
    // Each goes in front of what is there: first what came last.
    if (pending !== undefined) socket.unshift(pending)
    if (early.length > 0) socket.unshift(early)
    const secured = this.socket = secure(socket, options)
    secured.on("end", () => this.finished())
    secured.on("error", (error) => this.release(SocketError.make(error)))
    secured.on("close", () => this.release(SocketError.closed))
    secured.on("readable", () => this.readable())
    this.attend(secured, socket, options)
    return Effect.void
  }

  /** Sees to what a `tls.Server` would. */
  private attend(secured: NodeTls.TLSSocket, socket: Net.Socket, { wantsCertificate }: Options): void {
    // Neither event is in the types; both come from sockets of `tls.Server` as well.
    secured.on("secure", () => this.secured(secured, wantsCertificate))
    // After the handshake, Node leaves it to a `tls.Server` to end the connection.
    secured.on("_tlsError", (error: Error) => void secured.destroy(error))
    // Whatever becomes of the socket below is told by the one above.
    socket.on("error", () => {})
    // What was for somebody else.
    const before = socket.bytesRead - socket.readableLength
    // OpenSSL would wait for the rest.
    const timer = setTimeout(() => {
      const size = socket.bytesRead - before
      if (size > 0 && size < headerSize) secured.destroy(failure("no TLS", "ERR_SSL_NO_RECORD"))
    }, headerTimeout)
    secured.on("close", () => clearTimeout(timer))
    secured.on("secure", () => clearTimeout(timer))
  }

  /** The handshake is over. OpenSSL has seen to it that there is a certificate, but not to what it is worth. */
  private secured(socket: NodeTls.TLSSocket, wantsCertificate: boolean): void {
    if (wantsCertificate) {
      // `ssl` is not in the types: libuv's handle for TLS, which is what `authorized` of a `tls.Server` is set by.
      const { ssl } = socket as { readonly ssl?: { verifyError(): { readonly code?: string } | null } }
      const problem = ssl === undefined ? { code: "ENOTSUP" } : ssl.verifyError()
      if (problem !== null && problem !== undefined) {
        return void socket.destroy(failure("client certificate", `ERR_TLS_CERT_${problem.code ?? "UNKNOWN"}`))
      }
      // The types leave out that it is a list when there are several.
      const name: unknown = socket.getPeerCertificate().subject?.CN
      if (typeof name === "string" && name !== "") this.peerName = name
    }
    this.insecure = false
  }
}
