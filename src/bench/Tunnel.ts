/**
 * The client's side of one connection through the proxy.
 *
 * Plain callbacks of node:net, all reads into one buffer, no timer of its own: the load must cost a fraction of what the
 * proxy does, or it would measure itself. Fibers begin one level up, where processes are supervised.
 */
import * as Net from "node:net"
import type * as Negotiation from "../client/Negotiation.ts"
import * as Failure from "./Failure.ts"

/** What all connections of a load have in common. */
export interface Route {
  /** The proxy's address and port. */
  readonly host: string
  readonly port: number
  /** Whether to come from many addresses of 127.0.0.0/24, each of which has ports of its own. */
  readonly spread: boolean
  readonly negotiation: Negotiation.Negotiation
}

// What is in it is consumed before the callback returns.
const scratch = Buffer.alloc(256 * 1024)
const nothing: Buffer = Buffer.alloc(0)

const sources = 250
let dialled = process.pid

export class Tunnel {
  /** Called once the proxy has connected it to the target. */
  onOpen: () => void = () => {}
  /** Takes what the target sent; the view is good until it returns. */
  onData: (chunk: Buffer) => void = () => {}
  /** Called once, unless {@link close} was; with the kind of failure, which an end by the other side is too. */
  onFailure: (kind: string) => void = () => {}
  /** Since when something is waited for, by `performance.now()`; 0 when nothing is. */
  waitingSince: number
  /** From when on the time of the target's answer counts, by the same clock; 0 when no answer is timed. */
  timedSince = 0
  readonly dialledAt: number
  readonly #socket: Net.Socket
  #stage: Negotiation.Stage | "connect" | "open" = "connect"
  #head = nothing
  #over = false

  constructor({ host, negotiation, port, spread }: Route, request: Uint8Array) {
    this.dialledAt = performance.now()
    this.waitingSince = this.dialledAt
    this.#socket = Net.connect({
      host,
      port,
      ...spread && { localAddress: `127.0.0.${2 + dialled++ % sources}` },
      noDelay: true,
      onread: {
        buffer: scratch,
        callback: (length) => {
          if (this.#over) return true
          const chunk = scratch.subarray(0, length)
          if (this.#stage === "open") this.onData(chunk)
          else this.#negotiate(negotiation, request, chunk)
          return true
        }
      }
    }, () => {
      const { bytes, stage } = negotiation.first(request)
      this.#stage = stage
      this.#socket.write(bytes)
    })
    this.#socket.on("error", (error: NodeJS.ErrnoException) => this.fail(Failure.ofCode(error.code)))
    this.#socket.on("close", () => this.fail(Failure.closedEarly))
  }

  #negotiate(negotiation: Negotiation.Negotiation, request: Uint8Array, chunk: Buffer): void {
    this.#head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk])
    while (this.#stage !== "connect" && this.#stage !== "open") {
      const step = negotiation.next(this.#stage, this.#head, request)
      if (step._tag === "Failed") return this.fail(Failure.ofProxyError(step.error))
      if (step._tag === "Wait") {
        // The next read overwrites what it is a view of.
        this.#head = Buffer.from(this.#head)
        return
      }
      this.#head = this.#head.subarray(step.taken)
      if (step._tag === "Say") {
        this.#stage = step.stage
        this.#socket.write(step.bytes)
      } else {
        this.#stage = "open"
      }
    }
    const early = this.#head
    this.#head = nothing
    this.waitingSince = 0
    this.onOpen()
    if (early.length > 0 && !this.#over) this.onData(early)
  }

  /** What came of an answer that is not complete. */
  get heard(): Uint8Array {
    return this.#head
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** Ends it for a reason, which is reported. */
  fail(kind: string): void {
    if (this.#over) return
    this.close()
    this.onFailure(kind)
  }

  /** Ends it without a word. */
  close(): void {
    this.#over = true
    this.waitingSince = 0
    this.#socket.destroy()
  }
}
