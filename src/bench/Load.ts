/** What the four kinds of load share: connections that are counted and timed, and given up when they wait too long. */
import * as Failure from "./Failure.ts"
import { Latency } from "./Latency.ts"
import { type Route, Tunnel } from "./Tunnel.ts"

/** One generator's part of the work. */
export interface Job {
  readonly mode: Mode
  /** Connections that this process holds open, or has open at a time. */
  readonly connections: number
  /** Pieces of work a second; as fast as they go when absent. */
  readonly rate?: number
  /** Milliseconds of waiting after which a connection counts as failed. */
  readonly patience: number
  /** Whether the target is one of ours, so that what a bulk stream has in it is known. */
  readonly checked: boolean
}

export const modes = ["rate", "bulk", "round-trip", "idle"] as const

/**
 * `rate`: connect, one byte each way, close; `bulk`: downloads; `round-trip`: 64 bytes there and back; `idle`: one byte
 * each way and then nothing, until a last byte at the end.
 */
export type Mode = typeof modes[number]

/** A kind of load. Times are from `performance.now()`. */
export interface Driver {
  /** Opens what has to be open before the work begins, and calls back. */
  readonly open: (ready: () => void) => void
  /** Begins the work. */
  readonly go: () => void
  /** Ends the work, and calls back when the last of it is done. */
  readonly stop: (done: () => void) => void
}

/** How many connections one process opens at a time, while the proxy is to be filled and not to be tested. */
const opening = 128
/** After so many failures in a row there is no sense in trying further. */
const hopeless = 100

const sweepMillis = 100

/** Milliseconds that something may have waited when the work ends without being missed then. */
export const graceMillis = 1_000

const nothing = new Uint8Array()

export class Load {
  readonly job: Job
  /** Connections that are open now. */
  open = 0
  /** Connections that the proxy has opened. */
  opened = 0
  /** Pieces of work done: visits, round trips, connections held. */
  units = 0
  /** Bytes downloaded. */
  bytes = 0
  readonly errors: Record<string, number> = {}
  /** From connecting to the proxy's yes. */
  readonly setup = new Latency()
  /** From sending to having it back; of a download, to its first bytes. */
  readonly echo = new Latency()
  readonly #route: Route
  readonly #requests: ReadonlyArray<Uint8Array>
  readonly #tunnels = new Set<Tunnel>()
  readonly #sweep: NodeJS.Timeout
  #dialled = 0
  #closing = false

  /** `requests` ask the proxy for the target's ports, which are taken in turn. */
  constructor(job: Job, route: Route, requests: ReadonlyArray<Uint8Array>) {
    this.job = job
    this.#route = route
    this.#requests = requests
    this.#sweep = setInterval(() => this.#failThose(performance.now() - job.patience, Failure.timeout), sweepMillis)
  }

  /**
   * Opens a connection, from `since` on when it is late. `opened` comes once or not at all; `lost` at most once, before
   * or after.
   */
  dial(opened: (tunnel: Tunnel) => void, lost: (tunnel: Tunnel) => void, since = 0): void {
    const request = this.#requests[this.#dialled++ % this.#requests.length] ?? nothing
    const tunnel = new Tunnel(this.#route, request)
    let isOpen = false
    this.#tunnels.add(tunnel)
    tunnel.onOpen = () => {
      isOpen = true
      this.open++
      this.opened++
      this.setup.record(performance.now() - (since || tunnel.dialledAt))
      opened(tunnel)
    }
    tunnel.onFailure = (kind) => {
      if (isOpen) this.open--
      this.#tunnels.delete(tunnel)
      Failure.add(this.errors, kind)
      if (kind === Failure.timeout || kind === Failure.unanswered) this.#recordWait(tunnel, isOpen, since)
      lost(tunnel)
    }
  }

  /** Waits for an answer of the target, whose time counts from `since` on when that was due earlier. */
  expect(tunnel: Tunnel, since = 0): void {
    const now = performance.now()
    tunnel.waitingSince = now
    tunnel.timedSince = since || now
  }

  /** The answer has come. */
  answered(tunnel: Tunnel, now: number): void {
    this.echo.record(now - tunnel.timedSince)
    tunnel.waitingSince = 0
    tunnel.timedSince = 0
  }

  #failThose(waitingBefore: number, kind: string): void {
    for (const tunnel of this.#tunnels) {
      if (tunnel.waitingSince !== 0 && tunnel.waitingSince < waitingBefore) tunnel.fail(kind)
    }
  }

  /** An answer that has not come took this long at least: without it, a proxy that hangs would have the best times. */
  #recordWait(tunnel: Tunnel, isOpen: boolean, since: number): void {
    const now = performance.now()
    if (!isOpen) this.setup.record(now - (since || tunnel.dialledAt))
    else if (tunnel.timedSince !== 0) this.echo.record(now - tunnel.timedSince)
  }

  /** Closes an open connection that has done its work. */
  hangUp(tunnel: Tunnel): void {
    if (this.#tunnels.delete(tunnel)) this.open--
    tunnel.close()
  }

  /** Opens all connections of the job, some at a time, and calls back when each has been opened, or has failed. */
  openAll(opened: (tunnel: Tunnel, number: number, next: () => void) => void, ready: () => void): void {
    const { connections } = this.job
    let started = 0
    let settled = 0
    let failures = 0
    const one = (): void => {
      if (this.#closing || started === connections || failures >= hopeless) {
        if (settled === started) ready()
        return
      }
      const number = started++
      let isSettled = false
      const settle = (well: boolean): void => {
        if (isSettled) return
        isSettled = true
        settled++
        failures = well ? 0 : failures + 1
        one()
      }
      this.dial((tunnel) => opened(tunnel, number, () => settle(true)), () => settle(false))
    }
    for (let slot = 0; slot < Math.min(opening, connections); slot++) one()
  }

  /** Forgets the times of the warm-up; what was opened or begun before it was so only once. */
  mark(): void {
    const { mode } = this.job
    if (mode === "rate") this.setup.reset()
    if (mode === "rate" || mode === "round-trip") this.echo.reset()
  }

  /** Opens no further ones. */
  close(): void {
    this.#closing = true
  }

  /** What has come so far, of any kind: while this grows, the proxy is at work. */
  get progress(): number {
    return this.opened + this.units + this.bytes + this.echo.count
  }

  /** Counts what still waits, and not just since a moment ago, as failed. */
  giveUp(): void {
    this.#failThose(performance.now() - graceMillis, Failure.unanswered)
  }

  /** Closes everything. */
  end(): void {
    clearInterval(this.#sweep)
    for (const tunnel of this.#tunnels) tunnel.close()
    this.#tunnels.clear()
    this.open = 0
  }
}
