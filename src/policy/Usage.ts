/** Bytes that were used today and this month (UTC), and who has used them. */
import { type Holder, keyOf } from "./Limit.ts"

const dayLength = 86_400_000

/** What one holder has used. `until` is the midnight that ends the day which it is about, in milliseconds since 1970. */
export interface Used {
  readonly holder: Holder
  readonly until: number
  readonly day: number
  readonly month: number
}

const nextMidnight = (now: number): number => (Math.floor(now / dayLength) + 1) * dayLength

/** The first of the next month. */
const nextMonth = (now: number): number => {
  const date = new Date(now)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1)
}

export class Usage implements Used {
  readonly holder: Holder
  day: number
  month: number
  until: number
  monthUntil: number

  constructor({ day, holder, month, until }: Used) {
    this.holder = holder
    this.day = day
    this.month = month
    this.until = until
    // The day before the midnight is what it is about.
    this.monthUntil = nextMonth(until - 1)
  }

  add(bytes: number, now: number): void {
    this.turn(now)
    this.day += bytes
    this.month += bytes
  }

  /** Begins a new day, or month, when it is time. */
  turn(now: number): void {
    if (now < this.until) return
    this.day = 0
    if (now >= this.monthUntil) this.month = 0
    this.until = nextMidnight(now)
    this.monthUntil = nextMonth(now)
  }
}

/** All usage that is known, as much as there is room for. */
export class UsageBook {
  /** Whether there is something new since it was last looked at. */
  changed = false
  private readonly room: number
  private readonly now: () => number
  /** Clients apart: there may be any number of them, and they must not push out users. Used last comes last. */
  private readonly clients = new Map<string, Usage>()
  private readonly others = new Map<string, Usage>()

  /** `room` is for so many clients, and so many others. */
  constructor(room: number, now: () => number) {
    this.room = room
    this.now = now
  }

  /** Of a holder, who may be new. */
  of(holder: Holder): Usage {
    const key = keyOf(holder)
    const known = holder.kind === "client" ? this.clients : this.others
    const now = this.now()
    const usage = known.get(key) ?? new Usage({ holder, until: nextMidnight(now), day: 0, month: 0 })
    usage.turn(now)
    known.delete(key)
    known.set(key, usage)
    if (known.size > this.room) {
      const [oldest = key] = known.keys()
      known.delete(oldest)
    }
    return usage
  }

  /** Takes in what was written down before. Where something is known already, the larger counts: it may be the same. */
  restore(all: Iterable<Used>): void {
    for (const used of all) {
      const usage = this.of(used.holder)
      const before = new Usage(used)
      before.turn(this.now())
      usage.day = Math.max(usage.day, before.day)
      usage.month = Math.max(usage.month, before.month)
    }
  }

  /** Those who have used something this month. */
  list(): Array<Used> {
    const now = this.now()
    return [...this.clients.values(), ...this.others.values()].flatMap((usage) => {
      usage.turn(now)
      const { day, holder, month, until } = usage
      return month > 0 ? [{ holder, until, day, month }] : []
    })
  }
}
