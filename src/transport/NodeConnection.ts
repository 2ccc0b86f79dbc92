/**
 * A `net.Socket` as a `Connection`.
 *
 * One object and no closures for each connection: all sockets share their
 * listeners, which find the connection through a property of the socket. With
 * `onread` the socket reads into `ReadBuffers`; without it (a TLS socket,
 * another runtime) it is read the plain way. Both keep the same promises and
 * pass the same tests.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Net from "node:net"
import type { Connection, ConnectionError, Send, Watcher } from "./Connection.ts"
import * as Handle from "./Handle.ts"
import * as ReadBuffers from "./ReadBuffers.ts"
import * as SmallBytes from "./SmallBytes.ts"
import * as SocketError from "./SocketError.ts"
import * as Turn from "./Turn.ts"

type Chunk = Arr.NonEmptyReadonlyArray<Uint8Array>
type PullExit = Exit.Exit<Chunk, ConnectionError | Cause.Done>

const owner: unique symbol = Symbol("sluice/NodeConnection")

interface OwnedSocket extends Net.Socket {
  [owner]: NodeConnection
}

export class NodeConnection implements Connection {
  socket: Net.Socket
  /** The waiting pull. */
  private reader: ((effect: Effect.Effect<Chunk, ConnectionError | Cause.Done>) => void) | undefined = undefined
  /** The write that waits for the operating system to take its bytes. */
  private writer: ((exit: Exit.Exit<void, ConnectionError>) => void) | undefined = undefined
  /** Bytes that came when nobody waited, for the next pull. */
  protected pending: Uint8Array | undefined = undefined
  private lease: Uint8Array | undefined = undefined
  /** How reading or writing fails from now on. */
  failure: ConnectionError | undefined = undefined
  watcher: Watcher | undefined = undefined
  /** Told once when a socket that was dialling is connected. */
  connected: (() => void) | undefined = undefined
  onward: Send | undefined = undefined
  private ended = false
  private readonly plain: boolean

  /** Takes a socket over. `plain`: it was not opened with `onread`. */
  constructor(socket: Net.Socket, plain: boolean) {
    this.socket = socket
    this.plain = plain
    // One hidden property instead of a closure for each listener.
    const owned = socket as OwnedSocket
    owned[owner] = this
    socket.on("end", onEnd)
    socket.on("error", onError)
    socket.on("close", onClose)
    socket.on("drain", onDrain)
    // Never taken off again: that would make a dictionary of the socket's listeners, which is slow and large.
    if (socket.connecting) socket.on("connect", onConnect)
    if (plain) socket.on("readable", onReadable)
  }

  get local(): NetAddress.InetAddress | undefined {
    return Handle.local(this.socket)
  }

  get remote(): NetAddress.InetAddress | undefined {
    return Handle.remote(this.socket)
  }

  get unsent(): number {
    return Handle.unsent(this.socket)
  }

  readonly pull: Effect.Effect<Chunk, ConnectionError | Cause.Done> = Effect.callback((resume) => {
    this.reader = resume
    if (this.plain) this.readable()
    else if (!this.settleReader()) this.socket._read(0)
  })

  /**
   * What a waiting pull is resumed with. It takes the bytes only when it runs: those of a pull that was interrupted
   * meanwhile stay for the next one, and no pull needs a finalizer for that.
   */
  private get take(): Effect.Effect<Chunk> {
    return Effect.sync(() => {
      // There are some whenever a pull is resumed with this, and it runs at once.
      const bytes = this.pending as Uint8Array
      this.pending = undefined
      return [bytes]
    })
  }

  write(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.suspend(() => this.send(bytes) ?? Effect.void)
  }

  send(bytes: Uint8Array): Effect.Effect<void, ConnectionError> | undefined {
    if (this.failure !== undefined) return Effect.fail(this.failure)
    if (this.plain) return this.writePlain(bytes)
    // With a high-water mark of 0, `true` means that all of it has gone out.
    return this.socket.write(SmallBytes.pooled(bytes)) ? undefined : this.flush()
  }

  private flush(): Effect.Effect<void, ConnectionError> {
    // No drain follows on a socket that is gone: waiting for one would be for ever.
    if (this.socket.destroyed || this.socket.writableEnded) return Effect.fail(this.failure ?? SocketError.closed)
    if (this.socket.writableLength === 0) return Effect.void
    return Effect.callback((resume) => {
      this.writer = resume
      return Effect.sync(() => {
        this.writer = undefined
      })
    })
  }

  private writePlain(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.callback((resume) => {
      this.socket.write(bytes, (error) => {
        // A write that was cut short by `destroy` is told no error.
        const failure = this.failure ?? (error ? SocketError.make(error) : undefined)
        resume(failure === undefined ? Effect.void : Effect.fail(failure))
      })
    })
  }

  get end(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.socket.end()
    })
  }

  get close(): Effect.Effect<void> {
    return Effect.sync(() => {
      // First, so that whoever is told by the release can't turn the close into a reset, which loses what was written.
      if (this.unsent > 0) Handle.destroyWithReset(this.socket)
      else this.socket.destroy()
      this.release(SocketError.closed)
    })
  }

  get reset(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.release(SocketError.closed)
      Handle.destroyWithReset(this.socket)
    })
  }

  /** Bytes have been read. Returns whether to read on. */
  received(size: number, buffer: Uint8Array): boolean {
    const own = this.lease
    let bytes: Uint8Array
    let next = ReadBuffers.shared
    if (buffer === own && size >= ReadBuffers.leaseWorthwhile && this.reader !== undefined) {
      bytes = buffer.subarray(0, size)
      next = own
    } else {
      bytes = SmallBytes.copyOf(buffer, size)
      if (own !== undefined) {
        this.lease = undefined
        ReadBuffers.give(own)
      } else if (size === ReadBuffers.sharedSize) {
        this.lease = ReadBuffers.take()
        next = this.lease ?? next
      }
    }
    if (!this.passOn(bytes)) {
      this.pending = bytes
      this.settleReader()
    }
    // Set last: what the fiber did meanwhile may have opened sockets, which asked for a buffer too.
    ReadBuffers.setNext(next)
    if (size === buffer.length && Turn.isOver()) {
      setImmediate(readOn, this)
      return false
    }
    // One read ahead of the pulls is cheaper than stopping and starting the socket between them. Not from a leased
    // buffer, whose bytes may still be on their way out.
    return this.reader !== undefined || (this.pending === undefined && next === ReadBuffers.shared)
  }

  /**
   * The short way past a waiting pull. Waking its fiber to write a few bytes, and to wait again, would cost a fifth of
   * an echo; what each wait is made of also outlives two collections, which then take ten times as long among 10,000
   * connections (`npm run bench:c10k`, p99). Returns whether the bytes went this way.
   */
  private passOn(bytes: Uint8Array): boolean {
    const resume = this.reader
    if (resume === undefined || this.onward === undefined) return false
    const rest = this.onward(bytes)
    if (rest === undefined) return true
    this.reader = undefined
    resume(Effect.andThen(rest, this.pull))
    return true
  }

  /**
   * The peer's FIN; or a reset, which libuv takes for one when it comes right behind data. Then the socket has no
   * peer any more. (Nor has it after both sides' FIN: where ours is out, it is believed.)
   */
  finished(): void {
    if (!this.socket.writableEnded && Handle.isWithoutPeer(this.socket)) return this.release(SocketError.reset)
    this.ended = true
    this.settleReader()
  }

  /** Room for more, or the end of it all. */
  drained(): void {
    const resume = this.writer
    this.writer = undefined
    resume?.(Exit.void)
  }

  /** The others had their turn. Without a waiting pull, the next one goes on. */
  readOn(): void {
    if (this.reader !== undefined && this.failure === undefined) this.socket._read(0)
  }

  /** The plain way: there may be bytes to read. */
  readable(): void {
    // A Buffer or null: no encoding is set.
    this.pending ??= (this.socket.read() as Uint8Array | null) ?? undefined
    this.settleReader()
  }

  /** Nothing more will come or go: whoever waits is told. */
  release(failure: ConnectionError): void {
    if (this.failure === undefined) {
      this.failure = failure
      this.watcher?.failed()
    }
    if (this.lease !== undefined) {
      // Only a waiting pull proves that nobody writes from the buffer any more.
      if (this.reader === undefined) ReadBuffers.drop()
      else ReadBuffers.give(this.lease)
      this.lease = undefined
    }
    this.settleReader()
    const resume = this.writer
    this.writer = undefined
    resume?.(Exit.fail(this.failure))
  }

  /** Resumes the waiting pull with what there is: bytes, the end, the failure. Returns whether there was any. */
  private settleReader(): boolean {
    const resume = this.reader
    if (resume === undefined) return false
    let ready: Effect.Effect<Chunk, ConnectionError | Cause.Done>
    if (this.pending !== undefined) ready = this.take
    else if (this.ended) ready = done
    else if (this.failure !== undefined) ready = Exit.fail(this.failure)
    else return false
    this.reader = undefined
    resume(ready)
    return true
  }
}

const done: PullExit = Exit.fail(Cause.Done())

function onConnect(this: Net.Socket): void {
  const connection = (this as OwnedSocket)[owner]
  const tell = connection.connected
  connection.connected = undefined
  tell?.()
}

function onEnd(this: Net.Socket): void {
  ;(this as OwnedSocket)[owner].finished()
}

function onError(this: Net.Socket, error: Error): void {
  ;(this as OwnedSocket)[owner].release(SocketError.make(error))
}

function onClose(this: Net.Socket): void {
  ;(this as OwnedSocket)[owner].release(SocketError.closed)
}

const readOn = (connection: NodeConnection): void => connection.readOn()

function onDrain(this: Net.Socket): void {
  ;(this as OwnedSocket)[owner].drained()
}

function onReadable(this: Net.Socket): void {
  ;(this as OwnedSocket)[owner].readable()
}

/** The `onread` option of every socket: Node asks for a buffer when it opens one and after each read. */
export const onread: Net.OnReadOpts = {
  buffer: ReadBuffers.takeNext,
  callback(this: unknown, size, buffer) {
    // Node calls it on the socket; its types don't say so.
    return (this as OwnedSocket)[owner].received(size, buffer as Uint8Array)
  }
}
