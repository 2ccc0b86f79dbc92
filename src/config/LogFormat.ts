/**
 * Log events as text, in three formats: `pretty`, `json`, `logfmt`. One event
 * is one physical line, whatever the wire put into it. Redacted values stay
 * redacted. A stack trace appears only where debug events are logged.
 */
import * as Cause from "effect/Cause"
import type * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import { identity } from "effect/Function"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Predicate from "effect/Predicate"
import * as References from "effect/References"
import { escape, escapeJson, quoteWhole } from "./Escape.ts"
import type { logFormats } from "./Fields.ts"

export type LogFormat = typeof logFormats[number]

type Scalar = string | number | boolean | null
type Fields = Array<readonly [key: string, value: Scalar]>

const scalar = (value: unknown): Scalar => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : String(value)
    case "object":
      return value === null ? null : value instanceof Error ? value.message : Formatter.formatJson(value)
    default:
      return String(value)
  }
}

const safeKeys = new Map<string, string>()

// Anything else would let a key pass for a key and its value. Keys are few and come in every line.
const keyOf = (key: string): string => {
  const known = safeKeys.get(key)
  if (known !== undefined) return known
  const safe = key.replace(/[^\w.-]/g, "_")
  if (safeKeys.size < 1000) safeKeys.set(key, safe)
  return safe
}

const describe = (error: unknown): string =>
  error instanceof Error ? error.message || error.name : String(scalar(error))

/** What went wrong, without the stacks. */
const summary = (cause: Cause.Cause<unknown>): string =>
  cause.reasons.map((reason) => {
    switch (reason._tag) {
      case "Fail":
        return describe(reason.error)
      case "Die":
        return describe(reason.defect)
      case "Interrupt":
        return "interrupted"
    }
  }).join("; ")

const logsStacks = (fiber: Fiber.Fiber<unknown, unknown>): boolean =>
  !LogLevel.isGreaterThan(fiber.getRef(References.MinimumLogLevel), "Debug")

/** The event's message, and everything else of it in the order in which it is printed. */
const read = ({ cause, date, fiber, message }: Logger.Options<unknown>): readonly [text: string, fields: Fields] => {
  const words: Array<string> = []
  const fields: Fields = []
  const add = (record: object) => {
    // Not by entries: an array each is a third of what a line costs.
    for (const key of Object.keys(record)) {
      const value: unknown = Reflect.get(record, key)
      if (value !== undefined) fields.push([keyOf(key), scalar(value)])
    }
  }
  for (const part of Array.isArray(message) ? message : [message]) {
    if (Predicate.isObject(part) && Object.getPrototypeOf(part) === Object.prototype) add(part)
    else words.push(String(scalar(part)))
  }
  add(fiber.getRef(References.CurrentLogAnnotations))
  for (const [label, start] of fiber.getRef(References.CurrentLogSpans)) {
    fields.push([keyOf(label), `${date.getTime() - start}ms`])
  }
  if (cause.reasons.length > 0) {
    fields.push(["error", summary(cause)])
    if (logsStacks(fiber)) fields.push(["stack", Cause.pretty(cause)])
  }
  return [words.join(" "), fields]
}

// A quote, an equals sign or a space would end the value; a backslash would pass for an escape.
const plain = /^[^\s"=\\]+$/

// The usual value, told by one test: printable ASCII and none of the above.
const simple = /^[!#-<>-[\]-~]+$/

const value = (value: Scalar): string => {
  if (typeof value !== "string") return String(value)
  if (simple.test(value)) return value
  return plain.test(value) && escape(value) === value ? value : quoteWhole(value)
}

const pairs = (fields: Fields): string => {
  let text = ""
  for (const [key, field] of fields) text += ` ${key}=${value(field)}`
  return text
}

let lastDate = 0
let lastTime = ""

/** Many events of a busy proxy share their millisecond. */
const timeOf = (date: Date): string => {
  const now = date.getTime()
  if (now !== lastDate || lastTime === "") {
    lastDate = now
    lastTime = date.toISOString()
  }
  return lastTime
}

const logfmt = (options: Logger.Options<unknown>): string => {
  const [text, fields] = read(options)
  return `time=${timeOf(options.date)} level=${options.logLevel.toLowerCase()} msg=${value(text)}${pairs(fields)}`
}

const json = (options: Logger.Options<unknown>): string => {
  const [text, fields] = read(options)
  const event = new Map<string, Scalar>([
    ["time", timeOf(options.date)],
    ["level", options.logLevel.toLowerCase()],
    ["msg", text]
  ])
  for (const [key, field] of fields) event.set(event.has(key) ? `${key}_` : key, field)
  return escapeJson(JSON.stringify(Object.fromEntries(event)))
}

const levelColors: Partial<Record<LogLevel.LogLevel, string>> = {
  Fatal: "1;31",
  Error: "31",
  Warn: "33",
  Info: "32",
  Debug: "34"
}

const paint = (text: string, code: string): string => `\x1b[${code}m${text}\x1b[0m`

const pretty = (colors: boolean) => (options: Logger.Options<unknown>): string => {
  const [text, fields] = read(options)
  const color = colors ? paint : identity
  const time = color(timeOf(options.date).slice(11, 23), "90")
  const level = color(options.logLevel.toUpperCase().padEnd(5), levelColors[options.logLevel] ?? "90")
  return `${time} ${level} ${escape(text)}${color(pairs(fields), "90")}`
}

/** A logger that returns the line, without its end. `colors` counts for `pretty` only. */
export const make = (format: LogFormat, options?: { readonly colors?: boolean }): Logger.Logger<unknown, string> => {
  switch (format) {
    case "pretty":
      return Logger.make(pretty(options?.colors ?? false))
    case "json":
      return Logger.make(json)
    case "logfmt":
      return Logger.make(logfmt)
  }
}
