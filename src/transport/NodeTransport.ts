/** The `Transport` of Node's TCP sockets. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import { getSystemErrorName } from "node:util"
import { NodeConnection, onread } from "./NodeConnection.ts"
import { type Accept, DialError, type Listener, ListenError, timedOut, Transport } from "./Transport.ts"

export interface Options {
  /** Silence after which the kernel asks whether the peer is still there. Default: 1 minute. */
  readonly keepAlive?: Duration.Input
  /** Length of the kernel's queue of connections that wait for accept (listen(2)). Default: 4096. */
  readonly backlog?: number
  /** Read the plain way, into a fresh buffer for each chunk, as where `onread` is missing. Default: `false`. */
  readonly plainReads?: boolean
  /**
   * How a server begins to listen. Default: `server.listen(options)`. Processes that share a port have ways of their
   * own, such as `reusePort`, or a socket that listens already.
   */
  readonly open?: (server: ClosedServer, options: ListenOptions) => void
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
  /** Missing where another process accepts and hands its clients over. */
  setNoDelay?(enable: boolean): number
  setKeepAlive?(enable: boolean, seconds: number): number
  close(): void
}

/**
 * How the socket for an accepted handle is made, and how one that dials; `as object`, since the types leave most of
 * these options out.
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

const dialOptions = (host: string, port: number): Net.NetConnectOpts => ({
  host,
  port,
  allowHalfOpen: true,
  autoSelectFamily: false,
  writableHighWaterMark: 0,
  onread,
  emitClose: false,
  autoDestroy: true,
  decodeStrings: false
} as Net.TcpNetConnectOpts)

const dialReasons: Readonly<Record<string, DialError["reason"]>> = {
  ECONNREFUSED: "Refused",
  ECONNRESET: "Refused",
  EHOSTUNREACH: "HostUnreachable",
  EHOSTDOWN: "HostUnreachable",
  ENETUNREACH: "NetworkUnreachable",
  ENETDOWN: "NetworkUnreachable",
  // No route of that family: `connect` to IPv6 on a host that has none.
  EADDRNOTAVAIL: "NetworkUnreachable",
  EAFNOSUPPORT: "NetworkUnreachable",
  ETIMEDOUT: "TimedOut",
  EACCES: "Prohibited",
  EPERM: "Prohibited"
}

const errorCode = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "EUNKNOWN"

/** The service itself; it holds nothing that would need a scope. */
export const make = (options?: Options): Transport["Service"] => {
  const plain = options?.plainReads ?? false
  const keepAliveDelay = Duration.toMillis(options?.keepAlive ?? "1 minute")
  const backlog = options?.backlog ?? 4096
  const begin = options?.open ?? ((server: ClosedServer, options: ListenOptions) => void server.listen(options))

  const tune = (socket: Net.Socket): Net.Socket => socket.setNoDelay(true).setKeepAlive(true, keepAliveDelay)

  /**
   * Node builds a `net.Socket` for each client before it says so, and it can't be
   * opened with `onread`. Taking the handle from the listener instead saves the
   * second socket, and refusing a client then costs no socket at all.
   */
  const takeHandles = (server: Net.Server, accept: Accept): void => {
    // `_handle` is not in the types; where a runtime has none, the plain way below still works.
    const handle = (server as { readonly _handle?: TcpHandle })._handle
    if (plain || handle?.onconnection === undefined) return
    // Accepted sockets inherit these from their listener, which saves five system calls for each.
    const inherited = process.platform === "linux" && handle.setNoDelay?.(true) === 0 &&
      handle.setKeepAlive?.(true, Math.ceil(keepAliveDelay / 1000)) === 0
    handle.onconnection = (status, client) => {
      if (client === undefined || status !== 0) return accept.failed(getSystemErrorName(status))
      if (!accept.admit(client.fd)) return client.close()
      const socket = new Net.Socket(acceptOptions(client))
      if (!inherited) tune(socket)
      accept.accept(new NodeConnection(socket, false))
    }
  }

  const listen = Effect.fn("Transport.listen")(function*(
    address: NetAddress.InetAddress,
    accept: Accept,
    options?: { readonly ipv6Only?: boolean }
  ) {
    const server = yield* Effect.acquireRelease(
      Effect.sync(() => Net.createServer({ allowHalfOpen: true, pauseOnConnect: true })),
      (server) => Effect.sync(() => server.close())
    )
    server.on("connection", (socket) => {
      if (!accept.admit()) return void socket.destroy()
      // Node opened it, without `onread`.
      accept.accept(new NodeConnection(tune(socket), true))
    })
    yield* Effect.callback<void, ListenError>((resume) => {
      server.once("error", (error) => resume(Effect.fail(new ListenError({ address, code: errorCode(error) }))))
      const ipv6Only = options?.ipv6Only ?? false
      server.once("listening", () => {
        server.removeAllListeners("error")
        server.on("error", (error) => accept.failed(errorCode(error)))
        takeHandles(server, accept)
        resume(Effect.void)
      })
      begin(server, { host: NetAddress.formatHost(address), port: address.port, backlog, ipv6Only })
    })
    const bound = server.address()
    const listener: Listener = {
      // A TCP server's address is never a string: that is for pipes.
      address: typeof bound === "object" && bound !== null
        ? NetAddress.inetAddressFromIpStringUnsafe(bound.address, bound.port)
        : address,
      stop: Effect.sync(() => {
        server.close()
      })
    }
    return listener
  })

  const open = (address: NetAddress.InetAddress): Net.Socket => {
    const [host, port] = [NetAddress.formatHost(address), address.port]
    const socket = Net.connect(
      plain ? { host, port, allowHalfOpen: true, autoSelectFamily: false } : dialOptions(host, port)
    )
    // Nothing is read before somebody pulls.
    return socket.pause()
  }

  const connected = (
    connection: NodeConnection,
    address: NetAddress.InetAddress,
    timeout: Duration.Duration | undefined
  ): Effect.Effect<NodeConnection, DialError> =>
    Effect.callback((resume) => {
      const { socket } = connection
      const limit = timeout && Duration.isFinite(timeout) ? Duration.toMillis(timeout) : undefined
      const timer = limit === undefined ? undefined : setTimeout(() => {
        resume(Effect.fail(timedOut(address)))
        socket.destroy()
      }, limit)
      connection.watcher = {
        failed: () => {
          clearTimeout(timer)
          const code = connection.failure?.code ?? "EUNKNOWN"
          resume(Effect.fail(new DialError({ reason: dialReasons[code] ?? "Unknown", address, code })))
        }
      }
      socket.once("connect", () => {
        clearTimeout(timer)
        connection.watcher = undefined
        tune(socket)
        resume(Effect.succeed(connection))
      })
      return Effect.sync(() => {
        clearTimeout(timer)
        socket.destroy()
      })
    })

  /** The scope owns the socket from the moment that it exists. */
  const connect = (address: NetAddress.InetAddress, timeout?: Duration.Duration) =>
    Effect.flatMap(Effect.scope, (scope) => {
      const connection = new NodeConnection(open(address), plain)
      return Effect.andThen(
        Scope.addFinalizer(scope, connection.close),
        connected(connection, address, timeout)
      )
    })

  return { listen, connect }
}

/** Node's TCP sockets, with keepalive and no-delay on, read as `NodeConnection` says. */
export const layer = (options?: Options): Layer.Layer<Transport> => Layer.sync(Transport, () => make(options))
