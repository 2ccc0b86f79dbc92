/**
 * Bytes that count for somebody, where others count: told from time to time, and the sooner the less is left. Whoever has
 * moved more than may be left waits until that is known, so that several processes stay within one quota.
 */
import * as Effect from "effect/Effect"
import type { Flow } from "./Flow.ts"
import type { Send } from "./LimitKeeper.ts"
import type { ToKeeper } from "./LimitMessage.ts"

/** Bytes that may always be moved before they are told: the end of a quota is not to be a question for each of them. */
const least = 16_384

/** Bytes that may come in one piece. */
const largest = 262_144

/** How long those wait who have moved too much. Without an answer, they are let go on. */
const answerTimeout = "5 seconds"

/** Bytes that were moved and not told yet, by the leases of a process. */
export class Untold {
  private readonly leases = new Map<number, number>()
  private readonly send: Send<ToKeeper>

  constructor(send: Send<ToKeeper>) {
    this.send = send
  }

  /** How many those of a lease are now. */
  add(id: number, bytes: number): number {
    const sum = (this.leases.get(id) ?? 0) + bytes
    this.leases.set(id, sum)
    return sum
  }

  /** Tells those of a lease. */
  tell(id: number): void {
    const bytes = this.leases.get(id)
    if (bytes === undefined) return
    this.leases.delete(id)
    this.send({ _tag: "Used", sessions: [[id, bytes]] })
  }

  readonly tellAll = (): void => {
    if (this.leases.size === 0) return
    const sessions = [...this.leases]
    this.leases.clear()
    this.send({ _tag: "Used", sessions })
  }
}

/** The part of one lease. As a flow, it is passed where it is closed, or would soon be by what comes in one piece. */
export class RemoteQuota implements Flow {
  private isClosed = false
  private isNarrow = false
  private readonly id: number
  private readonly untold: Untold
  /** Told when it comes into the way, or out of it. */
  private readonly changed: () => void
  /** Bytes that may be moved before they are counted; `undefined` where they count for nobody. */
  private ahead: number | undefined = undefined
  /** Bytes that were not counted yet. */
  private uncounted = 0
  private readonly waiting = new Set<() => void>()

  constructor(id: number, untold: Untold, changed: () => void) {
    this.id = id
    this.untold = untold
    this.changed = changed
  }

  get isInTheWay(): boolean {
    return this.isClosed || this.isNarrow
  }

  get slice(): number {
    return Math.min(65_536, this.ahead ?? Infinity)
  }

  used(bytes: number): void {
    if (this.ahead === undefined) return
    this.uncounted += bytes
    if (this.untold.add(this.id, bytes) >= this.ahead / 2) this.untold.tell(this.id)
    if (this.isClosed || this.uncounted < this.ahead) return
    this.isClosed = true
    this.changed()
  }

  /** So many have been counted. */
  counted(bytes: number, ahead: number): void {
    // What was moved before it counted for somebody was not told either.
    this.uncounted = Math.max(0, this.uncounted - bytes)
    this.set(ahead)
  }

  /** Something else is left. */
  set(ahead: number | undefined): void {
    this.ahead = ahead === undefined ? undefined : Math.max(least, ahead)
    const isNarrow = this.ahead !== undefined && this.ahead < largest
    const changes = isNarrow !== this.isNarrow
    this.isNarrow = isNarrow
    if (changes) this.changed()
    if (this.ahead === undefined) this.uncounted = 0
    else if (this.uncounted >= this.ahead) return this.untold.tell(this.id)
    this.open()
  }

  private open(): void {
    if (!this.isClosed) return
    this.isClosed = false
    this.changed()
    // Who goes on may soon wait again.
    const woken = [...this.waiting]
    this.waiting.clear()
    for (const wake of woken) wake()
  }

  /** Until it is known that there is more. */
  take(): Effect.Effect<void> {
    return Effect.timeoutOrElse(this.opened, {
      duration: answerTimeout,
      orElse: () => Effect.sync(() => this.giveUp())
    })
  }

  tryTake(): boolean {
    return !this.isClosed
  }

  private giveUp(): void {
    this.set(Infinity)
  }

  private readonly opened: Effect.Effect<void> = Effect.callback((resume) => {
    if (!this.isClosed) return resume(Effect.void)
    const wake = () => resume(Effect.void)
    this.waiting.add(wake)
    return Effect.sync(() => {
      this.waiting.delete(wake)
    })
  })
}
