/** The `Transport` of Node's TCP sockets. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as Handle from "./Handle.ts"
import { NodeConnection, onread } from "./NodeConnection.ts"
import * as NodeListener from "./NodeListener.ts"
import { DialError, timedOut, Transport } from "./Transport.ts"

export type { ClosedServer, ListenOptions, Options } from "./NodeListener.ts"

/**
 * How a socket that dials is made. The last three are what Node sets anyway: see the options of `NodeListener` for those
 * that it accepts.
 */
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

/** The service itself; it holds nothing that would need a scope. */
export const make = (options?: NodeListener.Options): Transport["Service"] => {
  const plain = options?.plainReads ?? false
  const keepAliveDelay = Duration.toMillis(options?.keepAlive ?? "1 minute")

  const open = (address: NetAddress.InetAddress, source: NetAddress.IpAddress | undefined): Net.Socket => {
    const [host, port] = [NetAddress.formatHost(address), address.port]
    const options = plain ? { host, port, allowHalfOpen: true, autoSelectFamily: false } : dialOptions(host, port)
    const socket = Net.connect(
      source === undefined ? options : { ...options, localAddress: NetAddress.formatIp(source) }
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
      connection.connected = () => {
        clearTimeout(timer)
        connection.watcher = undefined
        Handle.tune(socket, keepAliveDelay)
        resume(Effect.succeed(connection))
      }
      return Effect.sync(() => {
        clearTimeout(timer)
        socket.destroy()
      })
    })

  /** The scope owns the socket from the moment that it exists. */
  const connect = (address: NetAddress.InetAddress, timeout?: Duration.Duration, source?: NetAddress.IpAddress) =>
    Effect.flatMap(Effect.scope, (scope) => {
      const connection = new NodeConnection(open(address, source), plain)
      return Effect.andThen(
        Scope.addFinalizer(scope, connection.close),
        connected(connection, address, timeout)
      )
    })

  return { ...NodeListener.make(options), connect }
}

/** Node's TCP sockets, with keepalive and no-delay on, read as `NodeConnection` says. */
export const layer = (options?: NodeListener.Options): Layer.Layer<Transport> =>
  Layer.sync(Transport, () => make(options))
