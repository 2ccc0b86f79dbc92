/** Hours of some days of the week, by the clock of a time zone. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Result from "effect/Result"

/** In the order of `Date`: Sunday is 0. */
export const dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const

const dayLength = 1440
const weekLength = 7 * dayLength

export interface Hours {
  /** Minutes since midnight, up to 1439. */
  readonly from: number
  /** The first minute that is outside, up to 1440. Not after `from` is that of the next day. */
  readonly to: number
}

export interface Options {
  /** 0 is Sunday. A window that goes on after midnight belongs to the day that it begins on. Default: every day. */
  readonly days?: ReadonlyArray<number> | undefined
  /** Default: the whole day. */
  readonly hours?: Hours | undefined
  /** A name of IANA's, or an offset such as `+02:00`. Default: that of this machine. */
  readonly zone?: string | undefined
}

const minuteOf = (text: string): number | undefined => {
  const [, hour, minute] = /^(\d{1,2}):(\d{2})$/.exec(text) ?? []
  if (hour === undefined || Number(minute) > 59) return undefined
  const minutes = 60 * Number(hour) + Number(minute)
  return minutes <= dayLength ? minutes : undefined
}

/** Parses `08:00-18:00`; `22:00-06:00` goes on into the next day. */
export const hoursFromString = (text: string): Result.Result<Hours, string> => {
  const [from, to, ...rest] = text.split("-").map((part) => minuteOf(part.trim()))
  return from === undefined || to === undefined || from === dayLength || to === from || rest.length > 0
    ? Result.fail("is no range of hours; write 08:00-18:00")
    : Result.succeed({ from, to })
}

/** Parses `mon`, or `fri-mon` with all days in between, in any case. */
export const daysFromString = (text: string): Result.Result<ReadonlyArray<number>, string> => {
  const parts = text.toLowerCase().split("-").map((part) => dayNames.findIndex((name) => name === part.trim()))
  const [from = -1, to = from] = parts
  if (parts.length > 2 || parts.includes(-1)) {
    return Result.fail("is no day; write mon, tue, wed, thu, fri, sat, sun or a range as mon-fri")
  }
  return Result.succeed(Array.from({ length: (to - from + 7) % 7 + 1 }, (_, index) => (from + index) % 7))
}

const clock = (minutes: number): string =>
  `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`

/** Milliseconds for which an offset is taken as still the same, counted from the epoch: zones change theirs in between. */
const offsetFor = 900_000

export class TimeWindow {
  private readonly days: ReadonlySet<number>
  private readonly hours: Hours
  private readonly zone: DateTime.TimeZone
  /** The quarter of an hour that `offset` is for. To ask for it costs a hundred times what is done with it. */
  private quarter = Number.NaN
  private offset = 0
  /** For each minute of a week, which begins with Sunday, whether it is within. Made when it is asked for. */
  private minutes: ReadonlyArray<boolean> | undefined = undefined

  constructor({ days, hours }: Options, zone: DateTime.TimeZone) {
    this.days = new Set(days ?? dayNames.keys())
    this.hours = hours ?? { from: 0, to: dayLength }
    this.zone = zone
  }

  /** The day of the week and the minute of it there, at a time in milliseconds. */
  private at(now: number): readonly [day: number, minute: number] {
    const quarter = Math.floor(now / offsetFor)
    if (quarter !== this.quarter) {
      this.quarter = quarter
      this.offset = DateTime.zonedOffset(DateTime.setZone(DateTime.makeUnsafe(now), this.zone))
    }
    const minutes = Math.floor((now + this.offset) / 60_000)
    const days = Math.floor(minutes / dayLength)
    // The epoch began on a Thursday.
    return [((days + 4) % 7 + 7) % 7, minutes - days * dayLength]
  }

  /** Whether a time, in milliseconds, is within. */
  holds(now: number): boolean {
    return this.hasMinute(...this.at(now))
  }

  private hasMinute(day: number, minute: number): boolean {
    const { days, hours: { from, to } } = this
    if (from < to) return minute >= from && minute < to && days.has(day)
    return minute >= from && days.has(day) || minute < to && days.has((day + 6) % 7)
  }

  private get week(): ReadonlyArray<boolean> {
    return this.minutes ??= Array.from(
      { length: weekLength },
      (_, minute) => this.hasMinute(Math.floor(minute / dayLength), minute % dayLength)
    )
  }

  private hasZoneOf({ zone }: TimeWindow): boolean {
    return DateTime.zoneToString(zone) === DateTime.zoneToString(this.zone)
  }

  /** Whether no time is outside. */
  get isAlways(): boolean {
    return !this.week.includes(false)
  }

  /** Whether all times of another window are within. Between two zones that is only said of what is always. */
  contains(other: TimeWindow): boolean {
    const { week } = this
    return this.isAlways || this.hasZoneOf(other) && other.week.every((isWithin, minute) => !isWithin || week[minute])
  }

  /** Whether no time is within both, as far as that can be told: of two zones it is not. */
  isApartFrom(other: TimeWindow): boolean {
    const { week } = this
    return this.hasZoneOf(other) && other.week.every((isWithin, minute) => !isWithin || week[minute] === false)
  }

  /** A time as it is seen there: `sun 12:30 in Europe/Berlin`. */
  show(now: number): string {
    const [day, minute] = this.at(now)
    return `${dayNames[day] ?? ""} ${clock(minute)} in ${DateTime.zoneToString(this.zone)}`
  }

  toString(): string {
    const { days, hours: { from, to } } = this
    const shown = days.size === 7 ? [] : [[...days].map((day) => dayNames[day]).join(", ")]
    return [...shown, `${clock(from)}-${clock(to)}`].join(" ")
  }
}

/** Makes a window; the failure says what is wrong with the zone, in words that follow it. */
export const make = (options: Options): Result.Result<TimeWindow, string> => {
  const { zone } = options
  const known = zone === undefined ? Option.some(DateTime.zoneMakeLocal()) : DateTime.zoneFromString(zone)
  return Option.isSome(known)
    ? Result.succeed(new TimeWindow(options, known.value))
    : Result.fail("is no time zone; write one of IANA's names, as Europe/Berlin")
}
