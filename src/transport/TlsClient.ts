/** TLS over a connection that exists, as the client's side of it. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Tls from "node:tls"
import type { Connection } from "./Connection.ts"
import { ConnectionStream } from "./ConnectionStream.ts"
import { NodeConnection } from "./NodeConnection.ts"

/** How the other side proves who it is. */
export interface Options {
  /** PEM certificates to trust instead of Node's. */
  readonly ca?: string | ReadonlyArray<string> | undefined
  /** `false`: take any certificate. Then whoever is in between can read all, the login too. */
  readonly rejectUnauthorized?: boolean | undefined
}

/** TLS did not come about; `code` is OpenSSL's or the system's (`CERT_HAS_EXPIRED`, `ECONNRESET`). */
export class TlsError extends Data.TaggedError("TlsError")<{ readonly code: string }> {
  override get message(): string {
    return `no TLS: ${this.code}`
  }
}

/** The secured connection, closed with the scope; `host` is who the certificate must be for. */
export const secure = (
  connection: Connection,
  host: Host.Host,
  options?: Options
): Effect.Effect<Connection, TlsError, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) => {
    const { ca, rejectUnauthorized } = options ?? {}
    const socket = Tls.connect({
      socket: new ConnectionStream(connection),
      // For who has no name there is no SNI (RFC 6066 §3); the certificate is checked for the address then.
      host: Host.formatHost(host),
      ...!NetAddress.isIpAddress(host) && { servername: Host.formatHost(host) },
      ...ca !== undefined && { ca: typeof ca === "string" ? ca : [...ca] },
      ...rejectUnauthorized !== undefined && { rejectUnauthorized }
    })
    const secured = new NodeConnection(socket, true)
    const connected = Effect.callback<Connection, TlsError>((resume) => {
      const failed = (error?: NodeJS.ErrnoException) => {
        resume(Effect.fail(new TlsError({ code: error?.code ?? "ECONNRESET" })))
      }
      socket.once("error", failed)
      socket.once("close", () => failed())
      socket.once("secureConnect", () => {
        socket.off("error", failed)
        resume(Effect.succeed(secured))
      })
      return secured.close
    })
    return Effect.andThen(Scope.addFinalizer(scope, secured.close), connected)
  })
