/** What libuv's handle knows and does for a `net.Socket`, beyond what Node's types tell of it. */
import * as NetAddress from "effect/net/NetAddress"
import type * as Net from "node:net"

interface SocketName {
  readonly address?: string
  readonly port?: number
}

interface Handle {
  /** Bytes of the running write that are still to go. */
  readonly writeQueueSize?: number
  /** Fills in the name; an error number when there is no peer. */
  readonly getpeername?: (into: SocketName) => number
  readonly getsockname?: (into: SocketName) => number
  /** TCP has it, TLS has not. */
  readonly reset?: unknown
}

/** Another runtime may have none. */
const of = (socket: Net.Socket): Handle | null | undefined =>
  // It is not in the types.
  (socket as { readonly _handle?: Handle | null })._handle

/** This side's address. */
export const local = (socket: Net.Socket): NetAddress.InetAddress | undefined => {
  const handle = of(socket)
  // The socket would keep what it is asked for.
  if (handle?.getsockname === undefined) return inetAddress(socket.localAddress, socket.localPort)
  const name: SocketName = {}
  return handle.getsockname(name) === 0 ? inetAddress(name.address, name.port) : undefined
}

/** The peer's address. */
export const remote = (socket: Net.Socket): NetAddress.InetAddress | undefined => {
  const handle = of(socket)
  if (handle?.getpeername === undefined) return inetAddress(socket.remoteAddress, socket.remotePort)
  const name: SocketName = {}
  return handle.getpeername(name) === 0 ? inetAddress(name.address, name.port) : undefined
}

const inetAddress = (address: string | undefined, port: number | undefined): NetAddress.InetAddress | undefined => {
  if (address === undefined || port === undefined) return undefined
  const zone = address.indexOf("%")
  return NetAddress.toCanonical(
    NetAddress.inetAddressFromNativeUnsafe(zone === -1 ? address : address.slice(0, zone), port)
  )
}

/** Whether it has lost its peer, though nothing says so yet. */
export const isWithoutPeer = (socket: Net.Socket): boolean => {
  const error = of(socket)?.getpeername?.({})
  return error !== undefined && error !== 0
}

/** No delay for small writes, and questions to a peer that is silent for so many milliseconds. */
export const tune = (socket: Net.Socket, keepAliveDelay: number): Net.Socket =>
  socket.setNoDelay(true).setKeepAlive(true, keepAliveDelay)

/** Bytes of a waiting write that the operating system has not taken. */
export const unsent = (socket: Net.Socket): number => of(socket)?.writeQueueSize ?? socket.writableLength

/**
 * What `resetAndDestroy` does but for one thing: that waits until all has been written, which is for ever when
 * the peer has stopped reading. `resetAndClosing` is how `destroy` is told; it is not in the types.
 */
export const destroyWithReset = (socket: Net.Socket): void => {
  // The system refuses to reset what is being shut down: then all was written, and the peer gets its end.
  const shuttingDown = socket.writableEnded && !socket.writableFinished
  // A TLS socket can't; the TCP socket below it can, which it closes with itself. That is not in the types.
  const below = (socket as { readonly _parent?: Net.Socket | null })._parent ?? socket
  if (!shuttingDown && of(below)?.reset !== undefined) Object.assign(below, { resetAndClosing: true })
  socket.destroy()
}
