/**
 * A `Transport` without sockets: listeners and connections that live in memory
 * and in Effect's clock, so that whole sessions, their timeouts included, run
 * under `TestClock`. `Conditions` make its network as bad as a test wants it.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import { type Connection, ConnectionError, type Send, type Watcher } from "./Connection.ts"
import { Pipe } from "./MemoryPipe.ts"
import { type Accept, DialError, type Listener, ListenError, timedOut, Transport } from "./Transport.ts"

/** What the network does to bytes on their way. */
export interface Conditions {
  /** How many of the bytes that are there the next pull gets, from 1 to `available`. Default: all. */
  readonly split?: (available: number) => number
  /** How long bytes that are there take to reach the pull that asks for them. Default: no time. */
  readonly latency?: () => Duration.Duration
  /** Runs before a dial is decided; fail it, or delay it. */
  readonly dial?: (address: NetAddress.InetAddress) => Effect.Effect<void, DialError>
}

export interface Options {
  /** Bytes in flight in one direction before a write waits. Default: 64 KiB. */
  readonly capacity?: number
  readonly conditions?: Conditions
}

/** The transport, and what a test wants to see of it. */
export interface MemoryTransport {
  readonly transport: Transport["Service"]
  /** `Transport.connect` from a chosen address. */
  readonly connectFrom: (
    local: NetAddress.InetAddress,
    remote: NetAddress.InetAddress
  ) => Effect.Effect<Connection, DialError, Scope.Scope>
  /** How many ends of connections have not been closed. */
  readonly open: () => number
  /** How many listeners have not been stopped. */
  readonly listening: () => number
}

const resetError = new ConnectionError({ reason: "Reset", code: "ECONNRESET" })
const closedError = new ConnectionError({ reason: "Closed", code: "ECONNABORTED" })

class End implements Connection {
  readonly local: NetAddress.InetAddress
  readonly remote: NetAddress.InetAddress
  private readonly incoming: Pipe
  private readonly outgoing: Pipe
  private readonly options: Options
  private readonly onClose: () => void
  watcher: Watcher | undefined = undefined
  onward: Send | undefined = undefined
  private closed = false
  /** What a write failed with: until one does, an end whose peer has closed does not know it. */
  private writeFailure: ConnectionError | undefined = undefined
  /** The view that the last pull gave out. */
  private lent: Uint8Array | undefined = undefined

  get failure(): ConnectionError | undefined {
    return this.incoming.pullError ?? this.writeFailure
  }

  constructor(
    addresses: { readonly local: NetAddress.InetAddress; readonly remote: NetAddress.InetAddress },
    pipes: { readonly incoming: Pipe; readonly outgoing: Pipe },
    options: Options,
    onClose: () => void
  ) {
    this.local = addresses.local
    this.remote = addresses.remote
    this.incoming = pipes.incoming
    this.outgoing = pipes.outgoing
    this.options = options
    this.onClose = onClose
    this.incoming.reader = this
  }

  private get capacity(): number {
    return this.options.capacity ?? 65_536
  }

  get unsent(): number {
    return Math.max(0, this.outgoing.size - this.capacity)
  }

  readonly pull: Effect.Effect<Arr.NonEmptyReadonlyArray<Uint8Array>, ConnectionError | Cause.Done> = Effect.gen(
    { self: this },
    function*() {
      const { latency, split } = this.options.conditions ?? {}
      const pipe = this.incoming
      // A transport that reads into the same buffer again overwrites it too: whoever kept the view shall notice.
      this.lent?.fill(0xdd)
      this.lent = undefined
      let late = latency === undefined
      let waited = false
      while (true) {
        if (pipe.pullError !== undefined) return yield* pipe.pullError
        if (pipe.size === 0) {
          if (pipe.ended) return yield* Cause.done()
          waited = true
          yield* pipe.changed
        } else if (!late) {
          late = true
          if (latency !== undefined) yield* Effect.sleep(latency())
        } else {
          const bytes = pipe.take(split?.(pipe.size) ?? pipe.size)
          if (!waited || this.onward === undefined) return [this.lent = bytes]
          yield* this.onward(bytes) ?? Effect.void
          bytes.fill(0xdd)
          late = latency === undefined
        }
      }
    }
  )

  write(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.gen({ self: this }, function*() {
      const pipe = this.outgoing
      yield* this.writable
      if (bytes.length > 0) pipe.push(bytes)
      while (pipe.size > this.capacity) {
        yield* pipe.changed
        yield* this.writable
      }
    })
  }

  send(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return this.write(bytes)
  }

  private get writable(): Effect.Effect<void, ConnectionError> {
    return Effect.suspend(() => {
      const error = this.outgoing.writeError
      if (error === undefined) return Effect.void
      if (error !== closedError) this.writeFailure = error
      return Effect.fail(error)
    })
  }

  get end(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.outgoing.change(() => {
        this.outgoing.ended = true
        this.outgoing.writeError ??= closedError
      })
    })
  }

  get close(): Effect.Effect<void> {
    return this.shut(() => {
      // Bytes that nobody will read are answered with a reset (RFC 2525 §2.17).
      if (this.incoming.size > 0 || this.unsent > 0) this.outgoing.pullError ??= resetError
      else this.outgoing.ended = true
    })
  }

  get reset(): Effect.Effect<void> {
    return this.shut(() => {
      this.outgoing.pullError ??= resetError
    })
  }

  private shut(leave: () => void): Effect.Effect<void> {
    return Effect.sync(() => {
      if (this.closed) return
      this.closed = true
      this.outgoing.change(() => {
        leave()
        this.outgoing.writeError ??= closedError
      })
      if (this.outgoing.pullError !== undefined) this.outgoing.reader?.watcher?.failed()
      this.incoming.change(() => {
        this.incoming.pullError ??= closedError
        this.incoming.writeError ??= resetError
        this.incoming.chunks = []
        this.incoming.size = 0
      })
      this.onClose()
    })
  }
}

const refused = (address: NetAddress.InetAddress) => new DialError({ reason: "Refused", address, code: "ECONNREFUSED" })

/** A network of its own: what listens on one is found only by what connects through the same. */
export const make = (options: Options = {}): MemoryTransport => {
  const listeners = new Map<string, Accept>()
  let lastPort = 40_000
  let open = 0

  const listen = Effect.fnUntraced(function*(address: NetAddress.InetAddress, accept: Accept) {
    const bound = address.port === 0 ? NetAddress.inetAddressUnsafe(address.address, ++lastPort) : address
    const key = NetAddress.formatInet(bound)
    if (listeners.has(key)) return yield* new ListenError({ address, code: "EADDRINUSE" })
    listeners.set(key, accept)
    const stop = Effect.sync(() => {
      if (listeners.get(key) === accept) listeners.delete(key)
    })
    yield* Effect.addFinalizer(() => stop)
    const listener: Listener = { address: bound, stop }
    return listener
  })

  const dial = Effect.fnUntraced(function*(local: NetAddress.InetAddress, remote: NetAddress.InetAddress) {
    if (options.conditions?.dial !== undefined) yield* options.conditions.dial(remote)
    const accept = listeners.get(NetAddress.formatInet(remote))
    if (accept === undefined) return yield* refused(remote)
    const [up, down] = [new Pipe(), new Pipe()]
    const onClose = () => {
      open--
    }
    open += 2
    const near = new End({ local, remote }, { incoming: down, outgoing: up }, options, onClose)
    const far = new End({ local: remote, remote: local }, { incoming: up, outgoing: down }, options, onClose)
    // The handshake is the kernel's: one that is not admitted was connected, and is closed.
    if (accept.admit()) accept.accept(far)
    else yield* far.close
    return near
  })

  const connectFrom = (local: NetAddress.InetAddress, remote: NetAddress.InetAddress) =>
    Effect.acquireRelease(dial(local, remote), (connection) => connection.close, { interruptible: true })

  const connect = (
    remote: NetAddress.InetAddress,
    timeout: Duration.Duration = Duration.infinity,
    source?: NetAddress.IpAddress
  ) =>
    Effect.suspend(() => {
      const loopback = NetAddress.isIpv4Address(remote.address) ? NetAddress.ipv4Loopback : NetAddress.ipv6Loopback
      return connectFrom(NetAddress.inetAddressUnsafe(source ?? loopback, ++lastPort), remote)
    }).pipe(
      Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(timedOut(remote)) })
    )

  return { transport: { listen, connect }, connectFrom, open: () => open, listening: () => listeners.size }
}

/** The transport of a new network. For the rest of what `make` gives, provide its `transport` yourself. */
export const layer = (options?: Options): Layer.Layer<Transport> => Layer.sync(Transport, () => make(options).transport)
