/**
 * Connections through SOCKS and HTTP proxies, for programs of your own:
 *
 * ```ts
 * const socket = yield* SocksClient.connect("socks5h://127.0.0.1:1080", "example.com:80")
 * ```
 *
 * is an Effect `Socket`, and `Http.get(url, { agent: SocksClient.agent("socks5h://127.0.0.1:1080") })` a request of
 * Node's own client.
 */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import { Dialer } from "../transport/Dialer.ts"
import { type ResolveError, Resolver } from "../transport/Resolver.ts"
import * as Chain from "./Chain.ts"
import type { ProxyError } from "./ProxyError.ts"
import type { ProxyUrlError } from "./ProxyUrl.ts"

export { agent, type AgentOptions, httpsAgent } from "./Agent.ts"
export { layer, type Options, type Proxies } from "./Chain.ts"
export { associate, type AssociateError, type Datagram, type UdpAssociation } from "./Udp.ts"

/** The destination as a text or value is none, or the proxy's URL is none. */
export type ConnectError = ProxyUrlError | ProxyError | ResolveError | NetAddress.NetAddressError

/** Connects to `HOST:PORT` through the proxy; the scope closes the connection. */
export const dial = Effect.fn("SocksClient.dial")(function*(
  proxies: Chain.Proxies,
  destination: Host.HostPortInput,
  options?: Chain.Options
): Effect.fn.Return<Connection, ConnectError, Dialer | Resolver | Scope.Scope> {
  const chain = yield* Effect.fromResult(Chain.fromInput(proxies))
  const to = yield* Effect.fromResult(Host.hostPortFromInput(destination))
  const way = Chain.make({ dialer: yield* Dialer, resolver: yield* Resolver }, chain, options)
  return (yield* way.dial(to)).connection
})

/**
 * The same as an Effect `Socket`: its writer half-closes when its scope ends, and reading goes on. A reader fails with
 * `SocketCloseError` 1000 at the end of the stream.
 */
export const connect = (
  proxies: Chain.Proxies,
  destination: Host.HostPortInput,
  options?: Chain.Options
): Effect.Effect<Socket.Socket, ConnectError, Dialer | Resolver | Scope.Scope> =>
  Effect.map(dial(proxies, destination, options), toSocket)

const closed = (code: number) => new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })

const readFailure = (cause: ConnectionError): Socket.SocketError =>
  cause.reason === "Closed" ? closed(1006) : new Socket.SocketError({ reason: new Socket.SocketReadError({ cause }) })

const writeFailure = (cause: ConnectionError): Socket.SocketError =>
  cause.reason === "Closed" ? closed(1006) : new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause }) })

const encoder = new TextEncoder()

/** A connection as Effect's modules know one. */
export const toSocket = (connection: Connection): Socket.Socket => {
  // Copies, since a view is the transport's again with the next pull.
  const pull = connection.pull.pipe(
    Effect.map(([bytes]): Arr.NonEmptyReadonlyArray<Uint8Array> => [new Uint8Array(bytes)]),
    Effect.mapError((error) => error._tag === "Done" ? closed(1000) : readFailure(error))
  )
  const write = (chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> =>
    Socket.isCloseEvent(chunk)
      ? connection.close
      : Effect.mapError(connection.write(typeof chunk === "string" ? encoder.encode(chunk) : chunk), writeFailure)
  const writer: Socket.Writer = {
    write,
    writeAll: (chunks) => Effect.forEach(chunks, write, { discard: true })
  }
  return Socket.make({
    reader: Effect.succeed({ pull, upgrade: Socket.SocketUpgradeError.unsupported }),
    writer: Effect.acquireRelease(Effect.succeed(writer), () => connection.end)
  })
}
