/** TLS on loopback, with a key that both sides know (RFC 4279) in place of certificates. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import * as Tls from "node:tls"

export type Version = "TLSv1.2" | "TLSv1.3"

export const versions: ReadonlyArray<Version> = ["TLSv1.2", "TLSv1.3"]

const psk = Buffer.alloc(32, 7)

const secured = (version: Version) => ({
  minVersion: version,
  maxVersion: version,
  // Those of 1.3 serve a shared key as they are.
  ...version === "TLSv1.2" && { ciphers: "PSK" }
})

/** Listens on a free port of 127.0.0.1; each client that has finished the TLS handshake goes to `accept`. */
export const listen = (version: Version, accept: (socket: Tls.TLSSocket) => void) =>
  Effect.acquireRelease(
    Effect.callback<Tls.Server>((resume) => {
      // `allowHalfOpen` is not in the types, which know only some options of the `net.Server` that it is.
      const options = { ...secured(version), pskCallback: () => psk, pskIdentityHint: "", allowHalfOpen: true }
      const server = Tls.createServer(options, accept)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

export const portOf = (server: Net.Server): number => {
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

/** A client, once the TLS handshake is over. */
export const connect = (version: Version, port: number) =>
  Effect.acquireRelease(
    Effect.callback<Tls.TLSSocket>((resume) => {
      // Here it is in the types of neither; it is passed on as well.
      const halfOpen: object = { allowHalfOpen: true }
      const socket = Tls.connect({
        ...secured(version),
        ...halfOpen,
        port,
        host: "127.0.0.1",
        pskCallback: () => ({ psk, identity: "test" }),
        checkServerIdentity: () => undefined
      }, () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(Effect.die(error)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Both ends of one connection. */
export const pair = Effect.fnUntraced(function*(version: Version) {
  const accepted = yield* Deferred.make<Tls.TLSSocket>()
  const server = yield* listen(version, (socket) => Deferred.doneUnsafe(accepted, Effect.succeed(socket)))
  const client = yield* connect(version, portOf(server))
  return { accepted: yield* Deferred.await(accepted), client }
})
