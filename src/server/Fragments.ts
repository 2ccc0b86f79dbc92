/** Datagrams that come in pieces, put together again (RFC 1928 §7). */

/** What became of a fragment. */
export interface Added {
  /** The payload of all fragments, once the last one is there. */
  readonly whole: Uint8Array | undefined
  /** How many fragments were given up by it, itself included where it is of no use. */
  readonly dropped: number
}

/** Milliseconds from the first fragment of a sequence to the last: no fewer than 5 s, says the RFC. */
export const limit = 5_000

/** Bytes that a sequence may have in all: no UDP datagram has room for more. */
export const maxSize = 65_527

/** The bit of FRAG that ends a sequence; the others count from 1. */
const last = 0x80

/**
 * The reassembly queue of one association: one sequence at a time, its fragments in order. A sequence is given up when
 * it takes too long, when it grows too large, and when any other datagram comes than its next: behind a gap, for another
 * destination, a fragment that was there already, or a datagram that stands alone. The RFC says nothing of the equal
 * ones; they may be of another sequence, whose rest must not be joined to this one.
 */
export class Fragments {
  private parts: Array<Uint8Array> = []
  private size = 0
  private destination = ""
  private startedAt = 0

  /** Takes a datagram's FRAG and payload; with 0 it stands alone, and comes back as it is. */
  add(fragment: number, destination: string, payload: Uint8Array, now: number): Added {
    const expired = this.expire(now)
    const position = fragment & ~last
    const next = position === this.parts.length + 1 && this.size + payload.length <= maxSize &&
      (position === 1 || destination === this.destination)
    const dropped = next ? expired : expired + this.abandon()
    if (fragment === 0) return { whole: payload, dropped }
    // What can't go on with the old sequence may still begin a new one.
    if (!next && (position !== 1 || payload.length > maxSize)) return { whole: undefined, dropped: dropped + 1 }
    if (position === 1) {
      this.startedAt = now
      this.destination = destination
    }
    this.parts.push(payload)
    this.size += payload.length
    if ((fragment & last) === 0) return { whole: undefined, dropped }
    const whole = Buffer.concat(this.parts)
    this.abandon()
    return { whole, dropped }
  }

  /** Whether a sequence has begun. */
  get waiting(): boolean {
    return this.parts.length > 0
  }

  /** Gives the sequence up if its time is over; returns how many fragments that were. */
  expire(now: number): number {
    return this.waiting && now - this.startedAt >= limit ? this.abandon() : 0
  }

  private abandon(): number {
    const count = this.parts.length
    this.parts = []
    this.size = 0
    return count
  }
}
