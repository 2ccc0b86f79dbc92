/** How long: `500ms`, `10s`, `1h30m`; a bare number is seconds, as in curl and systemd. */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { quote } from "./Escape.ts"
import * as Fields from "./Fields.ts"
import * as Shape from "./Shape.ts"

const millisOf: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Sums up `1h30m`; a bare number is seconds. `undefined` when it is something else. */
const parseMillis = (text: string): number | undefined => {
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text) * 1000
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[smhd])\s?)+(?<!\s)$/.test(text)) return undefined
  let millis = 0
  for (const [, number, unit] of text.matchAll(/([\d.]+)(ms|[smhd])/g)) {
    millis += Number(number) * (millisOf[unit ?? ""] ?? Number.NaN)
  }
  return millis
}

const longest = Duration.days(365)

/** The shortest way to write a duration, down to milliseconds: `1h30m`. */
const formatDuration = (duration: Duration.Duration): string => Duration.format(duration).replaceAll(" ", "")

const duration = (zero: { readonly allowed: boolean }) =>
  Shape.annotate(
    Fields.fromText(
      Schema.Duration,
      (text) => {
        const millis = parseMillis(text)
        if (millis === undefined) {
          return Fields.wrong(text, `a duration, such as 500ms, 10s, 1h30m${zero.allowed ? " or 0" : ""}`)
        }
        if (millis === 0 && !zero.allowed) return Result.fail(`${quote(text)} is no time at all; give 1ms or more`)
        return millis > Duration.toMillis(longest)
          ? Result.fail(`${quote(text)} is too long; give ${formatDuration(longest)} or less`)
          : Result.succeed(Duration.millis(millis))
      },
      formatDuration
    ),
    {
      text: /^\d+(?:\.\d+)?(?:(?:ms|[smhd])(?:\s?\d+(?:\.\d+)?(?:ms|[smhd]))*)?$/,
      number: { [zero.allowed ? "minimum" : "exclusiveMinimum"]: 0, maximum: Duration.toSeconds(longest) }
    }
  )

/** A limit in time that can't be switched off. */
export const Timeout = duration({ allowed: false })

/** A limit in time; `0` has a meaning of its own. */
export const TimeoutOrZero = duration({ allowed: true })
