import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import { logFormats } from "../../src/config/Fields.ts"
import * as LogFormat from "../../src/config/LogFormat.ts"

/** The lines that a program logs. The test clock stands at the epoch. */
const linesOf = Effect.fnUntraced(function*(
  program: Effect.Effect<void>,
  format: LogFormat.LogFormat,
  options: { readonly level?: LogLevel.LogLevel; readonly colors?: boolean } = {}
) {
  const lines: Array<string> = []
  const logger = Logger.map(LogFormat.make(format, { colors: options.colors ?? false }), (line) => {
    lines.push(line)
  })
  yield* program.pipe(
    Effect.provide(Logger.layer([logger])),
    Effect.provideService(References.MinimumLogLevel, options.level ?? "Info")
  )
  return lines
})

const event = Effect.logInfo("connection ended").pipe(
  Effect.annotateLogs({ client: "127.0.0.1:5000", user: undefined, reply: 5, secure: false, reason: "idle timeout" })
)

class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

const cause = Cause.combine(
  Cause.fail(new Refused({ message: "no\nway" })),
  Cause.die(new Error("broken"))
)

// oxlint-disable-next-line no-control-regex
const steering = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202e]/

describe("LogFormat", () => {
  it.effect("logfmt", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* linesOf(event, "logfmt"), [
        "time=1970-01-01T00:00:00.000Z level=info msg=\"connection ended\" client=127.0.0.1:5000 reply=5 secure=false " +
        "reason=\"idle timeout\""
      ])
    }))

  it.effect("json", () =>
    Effect.gen(function*() {
      const [line = ""] = yield* linesOf(event, "json")
      assert.deepStrictEqual(JSON.parse(line), {
        time: "1970-01-01T00:00:00.000Z",
        level: "info",
        msg: "connection ended",
        client: "127.0.0.1:5000",
        reply: 5,
        secure: false,
        reason: "idle timeout"
      })
    }))

  it.effect("pretty, without and with colours", () =>
    Effect.gen(function*() {
      const fields = " client=127.0.0.1:5000 reply=5 secure=false reason=\"idle timeout\""
      assert.deepStrictEqual(yield* linesOf(event, "pretty"), [`00:00:00.000 INFO  connection ended${fields}`])
      assert.deepStrictEqual(yield* linesOf(event, "pretty", { colors: true }), [
        `\u001b[90m00:00:00.000\u001b[0m \u001b[32mINFO \u001b[0m connection ended\u001b[90m${fields}\u001b[0m`
      ])
    }))

  it.effect("takes plain objects as fields, and everything else as words", () =>
    Effect.gen(function*() {
      const program = Effect.logInfo("tried", 3, "times", { port: 80, list: ["a", "b"], nothing: null })
      assert.deepStrictEqual(yield* linesOf(program, "logfmt"), [
        "time=1970-01-01T00:00:00.000Z level=info msg=\"tried 3 times\" port=80 list=\"[\\\"a\\\",\\\"b\\\"]\" nothing=null"
      ])
    }))

  it.effect("lets no field take another's place", () =>
    Effect.gen(function*() {
      const program = Effect.logInfo("real").pipe(
        Effect.annotateLogs({ msg: "forged", level: "error", "a=b c": 1 })
      )
      const [json = ""] = yield* linesOf(program, "json")
      assert.deepStrictEqual(JSON.parse(json), {
        time: "1970-01-01T00:00:00.000Z",
        level: "info",
        msg: "real",
        msg_: "forged",
        level_: "error",
        a_b_c: 1
      })
      const [logfmt = ""] = yield* linesOf(program, "logfmt")
      assert.include(logfmt, " a_b_c=1")
    }))

  for (const format of logFormats) {
    describe(format, () => {
      it.effect("A37: one event is one line, and nothing in it steers a terminal", () =>
        Effect.gen(function*() {
          const hostile = "a\u001b[2K\r\nOK user=root.test\u0000\u007f\u009b31m\u2028\u2029\u202e\""
          const program = Effect.logWarning(hostile, { destination: hostile, nested: { name: hostile } }).pipe(
            Effect.annotateLogs({ user: hostile, [hostile]: hostile })
          )
          const lines = yield* linesOf(program, format)
          assert.strictEqual(lines.length, 1)
          assert.notMatch(lines[0] ?? "", steering)
          assert.include(lines[0], format === "json" ? "\\u001b[2K" : "\\x1b[2K")
        }))

      it.effect("A36: a redacted value stays redacted, wherever it stands", () =>
        Effect.gen(function*() {
          const password = Redacted.make("S3cr3t-canary")
          const program = Effect.logInfo("login", password, { password, deep: { list: [password] } }).pipe(
            Effect.annotateLogs({ credentials: { password } }),
            Effect.andThen(Effect.logError("refused", Cause.die(password)))
          )
          const lines = yield* linesOf(program, format, { level: "Trace" })
          assert.strictEqual(lines.length, 2)
          assert.include(lines[0], "redacted")
          for (const line of lines) {
            for (const encoding of ["utf8", "hex", "base64"] as const) {
              assert.notInclude(line, Buffer.from("S3cr3t-canary").toString(encoding))
            }
          }
        }))

      it.effect("shows what failed, and where only at level debug", () =>
        Effect.gen(function*() {
          const program = Effect.logError("stopped", cause)
          const [short = ""] = yield* linesOf(program, format)
          assert.include(short, format === "json" ? "\"error\":\"no\\nway; broken\"" : "error=\"no\\nway; broken\"")
          assert.notInclude(short, "    at ")
          const [long = ""] = yield* linesOf(program, format, { level: "Debug" })
          assert.include(long, "\\n    at ")
          assert.notMatch(long, steering)
        }))
    })
  }
})
