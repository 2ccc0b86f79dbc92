/**
 * Tokens that come at a rate, and of which some are kept.
 *
 * Over any time from a to b no more are taken than `burst + count · (b - a) / per`. That is exact: for whole numbers of
 * tokens and milliseconds, all that is computed is whole numbers.
 */
import type { Rate } from "./Limit.ts"

export class TokenBucket {
  private rate: Rate
  /** The most that can be taken at once. */
  burst: number
  /** In units of which `per` make a token. */
  private level: number
  /** When `level` was true. */
  private at: number

  /** Full at first; `now` is in milliseconds. */
  constructor(rate: Rate, burst: number, now: number) {
    this.rate = rate
    this.burst = burst
    this.level = burst * rate.per
    this.at = now
  }

  /** Takes all of `tokens` or, when there are fewer, nothing. */
  take(tokens: number, now: number): boolean {
    this.fill(now)
    const wanted = tokens * this.rate.per
    if (wanted > this.level) return false
    this.level -= wanted
    return true
  }

  /** Milliseconds until there are so many; 0 when there are. `Infinity` for more than `burst`. */
  wait(tokens: number, now: number): number {
    if (tokens > this.burst) return Infinity
    this.fill(now)
    const missing = tokens * this.rate.per - this.level
    return missing <= 0 ? 0 : Math.ceil(missing / this.rate.count)
  }

  /** Takes back what was taken and not used. */
  giveBack(tokens: number): void {
    this.level = Math.min(this.burst * this.rate.per, this.level + tokens * this.rate.per)
  }

  isFull(now: number): boolean {
    this.fill(now)
    return this.level >= this.burst * this.rate.per
  }

  /** Goes on at another rate, with what there is, as far as that may be kept. */
  change(rate: Rate, burst: number, now: number): void {
    this.fill(now)
    this.level = Math.floor(Math.min(burst, this.level / this.rate.per) * rate.per)
    this.rate = rate
    this.burst = burst
  }

  private fill(now: number): void {
    // A clock that is set back gives nothing, and must not stop the bucket until it is there again.
    const elapsed = Math.max(0, now - this.at)
    this.at = now
    this.level = Math.min(this.burst * this.rate.per, this.level + elapsed * this.rate.count)
  }
}
