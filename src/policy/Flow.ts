/** Where bytes, or packets, wait for their turn under a rate. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { Rate } from "./Limit.ts"
import { TokenBucket } from "./TokenBucket.ts"

/** A rate that several connections share. */
export interface Flow {
  /** What one of them should take at a time, so that the others have their turns. */
  readonly slice: number
  /** Waits for its turn, and until there is so much. */
  readonly take: (amount: number) => Effect.Effect<void>
  /** Takes it if it is there: for datagrams, which can't wait. */
  readonly tryTake: (amount: number) => boolean
}

/** Milliseconds, longer than a round of turns. */
const believed = 500

/** Bytes of a turn, where the rate allows for as much in 50 ms. */
const largestSlice = 64 * 1024

/** Bytes a second. What was not used is kept for 100 ms, so that a timer that is late costs nothing. */
export const bandwidth = (bytes: number): readonly [rate: Rate, burst: number] => [
  { count: bytes, per: 1000 },
  Math.max(1, Math.floor(bytes / 10))
]

/** What is lent at once to all who ask for others. */
export const mostLent = (burst: number): number => Math.max(1, Math.floor(burst / 2))

export const sliceOf = (burst: number): number => Math.min(largestSlice, mostLent(burst))

/**
 * Turns go around: who has had a slice waits behind all others for the next. Only the first in the line looks at the
 * bucket, and sleeps until there is enough; the rest is a semaphore's.
 */
export class LocalFlow implements Flow {
  private readonly bucket: TokenBucket
  private readonly clock: Clock.Clock
  private readonly turns = Semaphore.makeUnsafe(1)
  private waiting = 0
  /** What was taken past those who wait. */
  private passed = 0
  /** How many wait with each of those who ask for others, and how long that is believed, in milliseconds of the clock. */
  private readonly askers = new Map<unknown, { readonly count: number; readonly until: number }>()

  constructor(rate: Rate, burst: number, clock: Clock.Clock) {
    this.clock = clock
    this.bucket = new TokenBucket(rate, burst, clock.currentTimeMillisUnsafe())
  }

  get slice(): number {
    return sliceOf(this.burst)
  }

  get burst(): number {
    return this.bucket.burst
  }

  /**
   * Takes as much of `amount` as may be lent at once to somebody who asks for `count` others, in its turn: all who ask
   * get as much together as can be had in one turn, each by how many wait there.
   */
  lend(asker: unknown, amount: number, count: number): Effect.Effect<number> {
    return Effect.suspend(() => {
      const share = Math.min(amount, this.shareOf(asker, count))
      if (this.waiting === 0 && this.bucket.take(share, this.now())) return Effect.succeed(share)
      return this.waitFor(this.lendInTurn(share))
    })
  }

  private shareOf(asker: unknown, count: number): number {
    const now = this.now()
    this.askers.set(asker, { count, until: now + believed })
    let all = 0
    for (const [other, { count, until }] of this.askers) {
      if (until < now) this.askers.delete(other)
      else all += count
    }
    return Math.max(1, Math.floor(mostLent(this.burst) * count / all))
  }

  take(amount: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.waiting === 0 && this.bucket.take(amount, this.now())) return Effect.void
      return this.waitFor(this.takeInTurn(amount))
    })
  }

  tryTake(amount: number): boolean {
    // Together they are like one more who waits.
    if (this.waiting > 0 && this.passed + amount > this.slice) return false
    if (!this.bucket.take(amount, this.now())) return false
    if (this.waiting > 0) this.passed += amount
    return true
  }

  /** Takes back what was taken and not used. */
  giveBack(amount: number): void {
    this.bucket.giveBack(amount)
  }

  /** Whether it is as if nobody had ever been here. */
  isFull(): boolean {
    return this.waiting === 0 && this.bucket.isFull(this.now())
  }

  /** Goes on at another rate, also for those who wait. */
  change(rate: Rate, burst: number): void {
    this.bucket.change(rate, burst, this.now())
  }

  private now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  private waitFor<A>(inTurn: Effect.Effect<A>): Effect.Effect<A> {
    this.waiting++
    return Effect.ensuring(
      this.turns.withPermit(inTurn),
      Effect.sync(() => {
        this.waiting--
        this.passed = 0
      })
    )
  }

  /** Waits for a part, which is measured anew after each wait: the rate may be another one by then. */
  private takePart(size: () => number): Effect.Effect<number> {
    return Effect.suspend(() => {
      const part = size()
      const wait = this.bucket.wait(part, this.now())
      if (wait > 0) return Effect.andThen(Effect.sleep(wait), this.takePart(size))
      this.bucket.take(part, this.now())
      return Effect.succeed(part)
    })
  }

  /** No more than what is lent at once by now. */
  private lendInTurn(share: number): Effect.Effect<number> {
    return this.takePart(() => Math.min(share, mostLent(this.burst)))
  }

  /** In parts, when it is more than there can ever be at once. */
  private takeInTurn(amount: number): Effect.Effect<void> {
    return Effect.flatMap(
      this.takePart(() => Math.min(amount, this.burst)),
      (part) => part === amount ? Effect.void : this.takeInTurn(amount - part)
    )
  }
}
