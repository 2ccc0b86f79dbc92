/** A `Connection` as a Node stream, for what is made to work on one: Node's HTTP. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { Duplex } from "node:stream"
import type { Connection, ConnectionError } from "./Connection.ts"

export interface Options {
  /** What was pulled from the connection before and goes first; it may be a view that the next pull makes void. */
  readonly early?: Uint8Array
  /** Bytes in one piece at most, so that the reader can stop soon. Default: as they are pulled. */
  readonly largestPiece?: number
  /**
   * A write that fails is no end: what follows is dropped, and reading goes on. A server may have answered and closed
   * before it was sent everything.
   */
  readonly readsOn?: boolean
  /** Bytes have been given to the reader. */
  readonly received?: (bytes: number) => void
  /** Bytes have gone out. */
  readonly sent?: (bytes: number) => void
}

/** Nothing is read ahead: `hold` finds no more on its way. */
const readableHighWaterMark = 1

/** Bytes that wait to be written before the writer is asked to wait. */
const writableHighWaterMark = 65_536

const nothing = new Uint8Array(0)

type Run = (effect: Effect.Effect<void>) => Fiber.Fiber<void>

/** The stream. It half-closes as the connection does; destroying it leaves the connection to its owner. */
export class ConnectionDuplex extends Duplex {
  private readonly connection: Connection
  private readonly run: Run
  private readonly options: Options
  /** Pulled, and not yet given to the reader. */
  private rest: Uint8Array
  private wanted = false
  private held = false
  private wake: (() => void) | undefined = undefined
  private deaf = false
  private reading: Fiber.Fiber<void> | undefined = undefined
  private writing: Fiber.Fiber<void> | undefined = undefined

  /** Made by `make`. */
  constructor(connection: Connection, run: Run, options: Options) {
    super({ readableHighWaterMark, writableHighWaterMark })
    this.connection = connection
    this.run = run
    this.options = options
    this.rest = options.early ?? nothing
    // A failure is also told by the connection, and by what waits for it: without a listener it would end the process.
    this.on("error", () => {})
    this.reading = run(this.readAll)
  }

  /** Gives the reader nothing more before `release`, and pulls nothing. */
  hold(): void {
    this.held = true
  }

  release(): void {
    this.held = false
    this.proceed()
  }

  override _read(): void {
    this.wanted = true
    // Node asks for the next piece before it has handed out the last one, whose reader may well say `hold`.
    queueMicrotask(() => this.proceed())
  }

  private proceed(): void {
    if (!this.wanted || this.held) return
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  /** Until the reader has room. Nothing is pulled ahead of that. */
  private readonly demand: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.wanted && !this.held) return resume(Effect.void)
    this.wake = () => resume(Effect.void)
  })

  private get readAll(): Effect.Effect<void> {
    const next = Effect.suspend(() =>
      this.rest.length > 0
        ? Effect.sync(() => this.give())
        // In one step, so that an interruption finds the bytes here or still with the connection.
        : Effect.map(this.connection.pull, ([bytes]) => {
          this.rest = bytes
          this.give()
        })
    )
    return Effect.catchCause(
      Effect.forever(Effect.flatMap(this.demand, () => next), { disableYield: true }),
      (cause) => Effect.sync(() => this.stopReading(cause))
    )
  }

  /** A copy: the reader keeps it as long as it likes, and the view is the transport's. */
  private give(): void {
    const { largestPiece = Infinity, received } = this.options
    const piece = Buffer.from(this.rest.subarray(0, largestPiece))
    this.rest = this.rest.subarray(piece.length)
    this.wanted = false
    received?.(piece.length)
    this.push(piece)
  }

  private stopReading(cause: Cause.Cause<ConnectionError | Cause.Done>): void {
    if (Cause.hasInterruptsOnly(cause)) return
    const found = Cause.findError(cause)
    if (Result.isFailure(found)) this.destroy(new Error("reading died", { cause: Cause.squash(cause) }))
    else if (found.success._tag === "Done") this.push(null)
    else this.destroy(found.success)
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: (error?: Error) => void): void {
    if (this.deaf) return callback()
    const rest = this.connection.send(chunk)
    if (rest === undefined) return this.written(chunk.length, callback)
    this.writing = this.run(Effect.matchCause(rest, {
      onSuccess: () => this.written(chunk.length, callback),
      onFailure: (cause) => {
        if (Cause.hasInterruptsOnly(cause)) return
        const error = Cause.squash(cause)
        if (this.options.readsOn !== true) return callback(error instanceof Error ? error : new Error(String(error)))
        this.deaf = true
        callback()
      }
    }))
  }

  // As one write: a head and the chunk behind it would be two packets.
  override _writev(
    chunks: ReadonlyArray<{ readonly chunk: Uint8Array }>,
    callback: (error?: Error) => void
  ): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "binary", callback)
  }

  private written(bytes: number, callback: () => void): void {
    this.options.sent?.(bytes)
    callback()
  }

  override _final(callback: () => void): void {
    this.run(Effect.andThen(this.connection.end, Effect.sync(callback)))
  }

  /**
   * Gives the connection up, open as it is, with the bytes that were pulled from it and not yet read from here.
   */
  readonly detach: Effect.Effect<Uint8Array> = Effect.suspend(() => {
    const running = [this.reading, this.writing].filter((fiber) => fiber !== undefined)
    return Effect.map(Fiber.interruptAll(running), () => {
      const buffered: unknown = this.destroyed ? null : this.read()
      const ahead = Buffer.isBuffer(buffered) ? [buffered, this.rest] : [this.rest]
      this.rest = nothing
      this.destroy()
      return Buffer.concat(ahead)
    })
  })
}

/** Over a connection that nobody else reads from or writes to until `detach`. */
export const make = (connection: Connection, options: Options = {}): Effect.Effect<ConnectionDuplex> =>
  Effect.contextWith((context) =>
    Effect.sync(() => new ConnectionDuplex(connection, Effect.runForkWith(context), options))
  )
