/** When a user, or a password, ceases to be good. */
import * as Result from "effect/Result"

/** Milliseconds since 1970, UTC. */
export type Expiry = number

/** How it looks; not every such text is a date. */
export const pattern = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d))?$/

/** For those who wrote something else. */
export const howToWrite = "write 2027-06-30 or 2027-06-30T12:00:00Z"

/** From `2027-06-30`, the first moment of that day in UTC, or `2027-06-30T12:00:00Z`. The failure follows "is". */
export const fromString = (text: string): Result.Result<Expiry, string> => {
  const millis = pattern.test(text) ? Date.parse(text) : Number.NaN
  // Engines take the 31st of February for the 3rd of March.
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`)
  return Number.isNaN(millis) || Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== text.slice(0, 10)
    ? Result.fail(`not a date; ${howToWrite}`)
    : Result.succeed(millis)
}

/** As short as it can be written. */
export const format = (expiry: Expiry): string =>
  new Date(expiry).toISOString().replace(/\.000Z$/, "Z").replace(/T00:00:00Z$/, "")
