/** A flow that others keep: what passes here was lent in shares, by demand. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { type Flow, mostLent, sliceOf } from "./Flow.ts"

export class RemoteFlow implements Flow {
  slice: number
  /** How many leases have it. */
  leases = 0
  private readonly ask: (amount: number, waiting: number) => void
  private readonly turns = Semaphore.makeUnsafe(1)
  /** What is left of the shares. */
  private left = 0
  /** How much waits. */
  private waiting = 0
  /** How many wait, and how many did since the last demand: who has just had its turn is one of them. */
  private waiters = 0
  private mostWaiters = 0
  /** Nobody has it any more, or nothing limits it. */
  private over = false
  /** Whether a share is on its way. */
  private asked = false
  /** How much the last share was: who has used it up so soon asks for more. */
  private lastShare = 0
  private wake: (() => void) | undefined = undefined
  /** What was taken past those who wait. */
  private passed = 0

  constructor(burst: number, ask: (amount: number, waiting: number) => void) {
    this.slice = sliceOf(burst)
    this.ask = ask
  }

  take(amount: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.waiting === 0 && this.left >= amount) {
        this.left -= amount
        return Effect.void
      }
      if (this.over) return Effect.void
      this.waiting += amount
      this.mostWaiters = Math.max(this.mostWaiters, ++this.waiters)
      return Effect.ensuring(
        this.turns.withPermit(this.takeInTurn(amount)),
        Effect.sync(() => {
          this.waiting -= amount
          this.waiters--
          this.passed = 0
        })
      )
    })
  }

  tryTake(amount: number): boolean {
    if (this.waiting > 0 && this.passed + amount > this.slice) return false
    const enough = this.left >= amount
    if (enough) {
      this.left -= amount
      if (this.waiting > 0) this.passed += amount
    }
    // Datagrams can't wait for the next share: it is asked for before this one is used up.
    if (!enough || this.left <= this.lastShare / 2) this.demand(amount)
    return enough
  }

  /** Goes on at another rate: what was lent at a higher one must not be spent at once under this one. */
  change(burst: number): void {
    this.slice = sliceOf(burst)
    this.left = Math.min(this.left, mostLent(burst))
    this.lastShare = Math.min(this.lastShare, mostLent(burst))
  }

  /** A share has come. */
  lent(amount: number): void {
    this.asked = false
    this.lastShare = amount
    this.left += amount
    this.wakeUp()
  }

  /** Nobody has it any more: what is to be given back. No share will come, so whoever still waits goes on. */
  end(): number {
    const { left } = this
    this.left = 0
    this.over = true
    this.wakeUp()
    return left
  }

  private wakeUp(): void {
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  private demand(least: number): void {
    if (this.asked) return
    this.asked = true
    // Twice the last one, as long as that helps; who lends it knows what is too much.
    this.ask(Math.max(1, least, this.waiting, 2 * this.lastShare), Math.max(1, this.mostWaiters))
    this.mostWaiters = this.waiters
  }

  private readonly nextShare: Effect.Effect<void> = Effect.callback((resume) => {
    // It may have come within the asking.
    if (!this.asked || this.over) return resume(Effect.void)
    this.wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.wake = undefined
    })
  })

  /** In parts, when the shares are smaller. */
  private takeInTurn(amount: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const part = Math.min(amount, this.left)
      this.left -= part
      if (part === amount || this.over) return Effect.void
      this.demand(amount - part)
      return Effect.andThen(this.nextShare, this.takeInTurn(amount - part))
    })
  }
}
