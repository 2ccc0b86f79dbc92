/** What one check has found. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

/** `warn`: works, or is left out, and one should know; `skipped`: could not be told, or has no meaning here. */
export const verdicts = ["ok", "warn", "fail", "skipped"] as const

export type Verdict = typeof verdicts[number]

export const Finding = Schema.Struct({
  name: Schema.String,
  verdict: Schema.Literals(verdicts),
  /** What was seen, in one line. */
  detail: Schema.String,
  /** What to do about it. */
  advice: Schema.optionalKey(Schema.String),
  /** Of checks that measure a time: its median. */
  millis: Schema.optionalKey(Schema.Finite)
})
export type Finding = typeof Finding.Type

/** A finding without the name of its check. */
export type Found = Omit<Finding, "name">

export const named = (name: string, found: Found): Finding => ({ name, ...found })

export const ok = (detail: string): Found => ({ verdict: "ok", detail })

/** Something that took its time. */
export const took = (duration: Duration.Duration, what: string): Found => {
  const millis = Duration.toMillis(duration)
  return { verdict: "ok", detail: `${millis.toFixed(millis < 10 ? 2 : 0)} ms: ${what}`, millis }
}

export const warn = (detail: string, advice?: string): Found => ({
  verdict: "warn",
  detail,
  ...advice !== undefined && { advice }
})

export const fail = (detail: string, advice?: string): Found => ({
  verdict: "fail",
  detail,
  ...advice !== undefined && { advice }
})

export const skipped = (detail: string): Found => ({ verdict: "skipped", detail })
