/** What a UDP association has moved, and what it has dropped. */

/**
 * Why a datagram went nowhere. From the client:
 *
 * - `foreign`: it came to the client's port from somebody else.
 * - `malformed`: no header of RFC 1928 §7, or none that names a place to send to.
 * - `fragment`: a fragment, where they are not joined, or of a datagram that never became whole.
 * - `denied`, `unresolved`: the policy, or the resolver, had a reason against its destination.
 *
 * From the outside, `unsolicited`: it came from an address to which the client sends nothing. From both, `congested`: too
 * much was waiting already; `unsendable`: the operating system refused it, mostly for its size or for want of a route;
 * `limited`: a limit of the client, or of others that it belongs to, left no room for it.
 */
export type Dropped =
  | "foreign"
  | "malformed"
  | "fragment"
  | "denied"
  | "unresolved"
  | "unsolicited"
  | "congested"
  | "unsendable"
  | "limited"

export interface DatagramCounts {
  /** From the client to its destinations. */
  readonly up: number
  /** From there to the client. */
  readonly down: number
  /** Those that are missing are 0. */
  readonly dropped: Readonly<Partial<Record<Dropped, number>>>
}

/** Counts, while it runs. */
export class DatagramCounter implements DatagramCounts {
  up = 0
  down = 0
  readonly dropped: Partial<Record<Dropped, number>> = {}

  drop(why: Dropped, count: number): void {
    this.dropped[why] = (this.dropped[why] ?? 0) + count
  }

  /** As they are now. */
  get counts(): DatagramCounts {
    return { up: this.up, down: this.down, dropped: { ...this.dropped } }
  }
}
