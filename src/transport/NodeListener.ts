/** Listening with Node: on TCP, with TLS on its outside, on Unix sockets, and on sockets that this process inherited. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Net from "node:net"
import { getSystemErrorName } from "node:util"
import * as Certificates from "./Certificates.ts"
import * as Handle from "./Handle.ts"
import type { ListenAddress } from "./ListenAddress.ts"
import { NodeConnection, onread } from "./NodeConnection.ts"
import { codeOf } from "./SocketError.ts"
import { TlsConnection } from "./TlsConnection.ts"
import { type Accept, type Listener, ListenError, type Transport } from "./Transport.ts"
import * as UnixSocket from "./UnixSocket.ts"

export interface Options {
  /** Silence after which the kernel asks whether the peer is still there. Default: 1 minute. */
  readonly keepAlive?: Duration.Input
  /** Length of the kernel's queue of connections that wait for accept (listen(2)). Default: 4096. */
  readonly backlog?: number
  /** Read the plain way, into a fresh buffer for each chunk, as where `onread` is missing. Default: `false`. */
  readonly plainReads?: boolean
  /**
   * How a server begins to listen on TCP. Default: `server.listen(options)`. Processes that share a port have ways of
   * their own, such as `reusePort`, or a socket that listens already.
   */
  readonly open?: (server: ClosedServer, options: ListenOptions, address: NetAddress.InetAddress) => void
}

/** Where a server is to listen, as Node spells it. */
export interface ListenOptions {
  readonly host: string
  readonly port: number
  readonly backlog: number
  readonly ipv6Only: boolean
}

/** What it takes to open a `net.Server`; written out, so that who uses the library needs no types of Node's. */
export interface ClosedServer {
  listen(options: object, backlog?: number): unknown
  once(event: "listening", listener: () => void): unknown
}

/** The part of libuv's TCP handle that accepting without a second `net.Socket` needs. */
interface TcpHandle {
  readonly fd?: number
  onconnection?: (status: number, client: TcpHandle | undefined) => void
  /** Missing where another process accepts and hands its clients over, and on Unix sockets. */
  setNoDelay?(enable: boolean): number
  setKeepAlive?(enable: boolean, seconds: number): number
  close(): void
}

/**
 * How the socket for an accepted handle is made; `as object`, since the types leave most of these options out.
 *
 * The last three are what Node sets in its copy of the options anyway. Where they are missing, Node 20 gives each copy
 * a hidden class of its own, and all that reads the options misses its caches: 5 µs a socket (`npm run bench`, rate).
 */
const acceptOptions = (handle: TcpHandle): Net.SocketConstructorOpts => ({
  handle,
  allowHalfOpen: true,
  manualStart: true,
  writableHighWaterMark: 0,
  onread,
  emitClose: false,
  autoDestroy: true,
  decodeStrings: false
} as object)

/** How a connection is made of an accepted socket. */
interface Kind {
  /** `plain`: Node opened the socket, without `onread`. */
  readonly adopt: (socket: Net.Socket, plain: boolean) => NodeConnection
  /** Whether it takes sockets with `onread`. */
  readonly takesHandles: boolean
}

const tcp: Kind = { adopt: (socket, plain) => new NodeConnection(socket, plain), takesHandles: true }

const unix = (path: string): Kind => ({
  adopt: (socket, plain) => new UnixSocket.UnixConnection(socket, plain, `unix:${path}`),
  takesHandles: true
})

const stop = (server: Net.Server): Effect.Effect<void> =>
  Effect.sync(() => {
    server.close()
  })

/** The two ways to listen of `Transport`. */
export const make = (options?: Options): Required<Pick<Transport["Service"], "listen" | "listenOn">> => {
  const plain = options?.plainReads ?? false
  const keepAliveDelay = Duration.toMillis(options?.keepAlive ?? "1 minute")
  const backlog = options?.backlog ?? 4096
  const shared = options?.open !== undefined
  const begin = options?.open ?? ((server: ClosedServer, options: ListenOptions) => void server.listen(options))

  /**
   * Node builds a `net.Socket` for each client before it says so, and it can't be
   * opened with `onread`. Taking the handle from the listener instead saves the
   * second socket, and refusing a client then costs no socket at all.
   */
  const takeHandles = (server: Net.Server, accept: Accept, { adopt, takesHandles }: Kind): void => {
    // `_handle` is not in the types; where a runtime has none, the plain way below still works.
    const handle = (server as { readonly _handle?: TcpHandle })._handle
    if (plain || !takesHandles || handle?.onconnection === undefined) return
    // Accepted sockets inherit these from their listener, which saves five system calls for each.
    const inherited = process.platform === "linux" && handle.setNoDelay?.(true) === 0 &&
      handle.setKeepAlive?.(true, Math.ceil(keepAliveDelay / 1000)) === 0
    handle.onconnection = (status, client) => {
      if (client === undefined || status !== 0) return accept.failed(getSystemErrorName(status))
      if (!accept.admit(client.fd)) return client.close()
      const socket = new Net.Socket(acceptOptions(client))
      if (!inherited) Handle.tune(socket, keepAliveDelay)
      accept.accept(adopt(socket, false))
    }
  }

  /** A server that listens as `start` has it, until the scope closes. */
  const serve = Effect.fnUntraced(function*(
    address: ListenAddress,
    accept: Accept,
    kind: Kind,
    start: (server: Net.Server) => void
  ) {
    const server = yield* Effect.acquireRelease(
      Effect.sync(() => Net.createServer({ allowHalfOpen: true, pauseOnConnect: true })),
      stop
    )
    server.on("connection", (socket) => {
      // `_handle` is not in the types.
      const descriptor = (socket as { readonly _handle?: TcpHandle | null })._handle?.fd
      if (!accept.admit(descriptor)) return void socket.destroy()
      accept.accept(kind.adopt(Handle.tune(socket, keepAliveDelay), true))
    })
    yield* Effect.callback<void, ListenError>((resume) => {
      server.once("error", (error) => resume(Effect.fail(new ListenError({ address, code: codeOf(error) }))))
      server.once("listening", () => {
        server.removeAllListeners("error")
        server.on("error", (error) => accept.failed(codeOf(error)))
        takeHandles(server, accept, kind)
        resume(Effect.void)
      })
      start(server)
    })
    return server
  })

  /** A server on a TCP address, and the address that it has got. */
  const serveTcp = Effect.fnUntraced(function*(
    listened: ListenAddress,
    address: NetAddress.InetAddress,
    accept: Accept,
    kind: Kind,
    options?: { readonly ipv6Only?: boolean; readonly exclusive?: boolean }
  ) {
    const ipv6Only = options?.ipv6Only ?? false
    const where: ListenOptions = { host: NetAddress.formatHost(address), port: address.port, backlog, ipv6Only }
    const server = yield* serve(listened, accept, kind, (server) => {
      if (options?.exclusive === true) server.listen({ ...where, exclusive: true })
      else begin(server, where, address)
    })
    const bound = server.address()
    const listener: Listener = {
      // A TCP server's address is never a string: that is for pipes.
      address: typeof bound === "object" && bound !== null
        ? NetAddress.inetAddressFromIpStringUnsafe(bound.address, bound.port)
        : address,
      stop: stop(server)
    }
    return listener
  })

  const listen = Effect.fn("Transport.listen")(function*(
    address: NetAddress.InetAddress,
    accept: Accept,
    options?: { readonly ipv6Only?: boolean; readonly exclusive?: boolean }
  ) {
    return yield* serveTcp(address, address, accept, tcp, options)
  })

  const listenOn = Effect.fn("Transport.listenOn")(function*(
    address: Exclude<ListenAddress, NetAddress.InetAddress>,
    accept: Accept,
    options?: {
      readonly ipv6Only?: boolean
      readonly clearFirst?: (remote: NetAddress.InetAddress | undefined) => boolean
    }
  ) {
    switch (address._tag) {
      case "Tls": {
        const context = yield* Effect.mapError(
          Certificates.make(address),
          (problem) => new ListenError({ address, code: "ECERT", problem })
        )
        const wantsCertificate = address.clientCa !== undefined
        const adopt = (socket: Net.Socket) => {
          const clearFirst = options?.clearFirst?.(Handle.remote(socket)) ?? false
          return new TlsConnection(socket, { context: context(), wantsCertificate, clearFirst })
        }
        const listener = yield* serveTcp(address, address.address, accept, { adopt, takesHandles: false }, options)
        return { address: { ...address, address: listener.address }, stop: listener.stop }
      }
      case "Unix": {
        const failed = (code: string) => new ListenError({ address, code })
        // Where processes share the socket, the one that started them has made room for it.
        if (!shared) yield* Effect.mapError(UnixSocket.claim(address.path), failed)
        const server = yield* serve(address, accept, unix(address.path), (server) => {
          server.listen({ path: address.path, backlog })
        })
        yield* Effect.mapError(UnixSocket.restrict(address.path), failed)
        return { address, stop: stop(server) }
      }
      case "Descriptor": {
        const kind = address.address._tag === "Unix" ? unix(address.address.path) : tcp
        const server = yield* serve(address, accept, kind, (server) => {
          // A worker of `node:cluster` would have its primary listen, to whom the number means something else. What
          // `listen` calls in other processes is not in the types.
          const own = server as { _listen2?(path: null, port: null, type: null, backlog: number, fd: number): void }
          if (shared && own._listen2 !== undefined) own._listen2(null, null, null, backlog, address.fd)
          else server.listen({ fd: address.fd }, backlog)
        })
        return { address, stop: stop(server) }
      }
    }
  })

  return { listen, listenOn }
}
