/**
 * A connection with TLS on its outside. It is served from its first byte on, so that the time that a handshake takes,
 * and the number of those that are under way, have the limits of sessions.
 */
import type * as Net from "node:net"
import * as NodeTls from "node:tls"
import { NodeConnection } from "./NodeConnection.ts"

export interface Options {
  readonly context: NodeTls.SecureContext
  /** Whether a client has to show a certificate, by an authority that the context knows. */
  readonly wantsCertificate: boolean
}

/** The header of a record, which a client that speaks TLS sends at once (RFC 8446 §5.1). */
const headerSize = 5

/** Milliseconds after which one that has sent less has said all that it will say: a greeting of SOCKS5 has 3 bytes. */
const headerTimeout = 900

const failure = (message: string, code: string): Error => Object.assign(new Error(message), { code })

export class TlsConnection extends NodeConnection {
  insecure = true
  peerName: string | undefined = undefined

  /** Takes over a socket that was just accepted, and of which nothing was read. */
  constructor(socket: Net.Socket, { context, wantsCertificate }: Options) {
    const secured = new NodeTls.TLSSocket(socket, {
      isServer: true,
      secureContext: context,
      requestCert: wantsCertificate,
      rejectUnauthorized: wantsCertificate
    })
    super(secured, true)
    // Neither event is in the types; both come from sockets of `tls.Server` as well.
    secured.on("secure", () => this.secured(secured, wantsCertificate))
    // After the handshake, Node leaves it to a `tls.Server` to end the connection.
    secured.on("_tlsError", (error: Error) => void secured.destroy(error))
    // Whatever becomes of the socket below is told by the one above.
    socket.on("error", () => {})
    // OpenSSL would wait for the rest.
    const timer = setTimeout(() => {
      if (socket.bytesRead > 0 && socket.bytesRead < headerSize) secured.destroy(failure("no TLS", "ERR_SSL_NO_RECORD"))
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
