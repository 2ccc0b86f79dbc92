/** `sluice bench`: what a proxy takes, and what it costs. */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { access, constants, open, stat, unlink, writeFile } from "node:fs/promises"
import type { BenchError } from "../bench/BenchError.ts"
import type { Mode } from "../bench/Load.ts"
import type { Plan } from "../bench/Plan.ts"
import * as DurationField from "../config/DurationField.ts"
import { quote } from "../config/Escape.ts"
import * as Fields from "../config/Fields.ts"
import { failed, unusable } from "./CommandError.ts"
import * as Print from "./Print.ts"
import * as ProgressLine from "./ProgressLine.ts"
import * as Signals from "./Signals.ts"

// The same as in the bench, which is loaded only when it runs.
const modes = ["rate", "bulk", "round-trip", "idle"] as const satisfies ReadonlyArray<Mode>

const passwordVariable = "SLUICE_BENCH_PASSWORD"

const text = (name: string, metavar: string, description: string): Flag.Flag<string> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description))

const withDefault = (name: string, metavar: string, value: string, description: string): Flag.Flag<string> =>
  text(name, metavar, `${description} (default: ${value})`).pipe(Flag.withDefault(value))

const flags = {
  url: Argument.Redacted("URL").pipe(
    Argument.withDescription(
      "The proxy: socks5://HOST:PORT or http://HOST:PORT (by CONNECT), with USER:PASSWORD@ before the host if it asks " +
        `for them; others see it in the list of processes, so prefer USER@ and the password in ${passwordVariable}`
    )
  ),
  mode: Flag.Literals("mode", modes).pipe(
    Flag.withDescription(
      "rate: connect, one byte each way, close; bulk: download; round-trip: 64 bytes there and back; " +
        "idle: one byte each way, then held, and one more at the end (default: rate)"
    ),
    Flag.withDefault("rate")
  ),
  connections: withDefault("connections", "N", "64", "Open so many at a time; each takes a descriptor at both ends"),
  duration: withDefault("duration", "TIME", "10s", "Measure for this long; of idle, hold the connections"),
  warmUp: withDefault("warm-up", "TIME", "1s", "Work for this long before measuring"),
  rate: text("rate", "N", "Start so many visits or round trips a second, instead of as many as go").pipe(Flag.optional),
  timeout: withDefault("timeout", "TIME", "10s", "Count a connection that waits longer as failed"),
  target: text(
    "target",
    "HOST:PORT",
    "Connect to this instead of to targets of our own on loopback: an echo service; for bulk a source that sends as " +
      "soon as it is connected, as chargen does, whose contents are not checked"
  ).pipe(Flag.optional),
  pid: text("pid", "PID", "Tell CPU and memory of this process and its children (Linux)").pipe(Flag.optional),
  generators: text("generators", "N", "Make the load in so many processes, instead of as few as have room").pipe(
    Flag.optional
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON document instead of a table"),
    Flag.withDefault(false)
  ),
  html: text("html", "FILE", "Write a page with plots to this file too").pipe(Flag.optional)
}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

/** The value of a flag that was written as text. */
const decode = <A>(name: string, schema: Schema.Codec<A, string>, written: string) =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(written),
    ({ issue }) => unusable(`--${name}: ${formatIssue(issue).issues[0]?.message ?? "invalid"}`)
  )

const decodeOption = Effect.fnUntraced(function*<Key extends string, A>(
  key: Key,
  schema: Schema.Codec<A, string>,
  written: Option.Option<string>
) {
  const none: { readonly [K in Key]?: A } = {}
  if (Option.isNone(written)) return none
  const value = yield* decode(key, schema, written.value)
  return { ...none, [key]: value }
})

const millis = (name: string, schema: Schema.Codec<Duration.Duration, string>, written: string) =>
  Effect.map(decode(name, schema, written), Duration.toMillis)

const targetOf = (written: Option.Option<string>) => {
  if (Option.isNone(written)) return Effect.succeed({})
  const target = Host.hostPortFromString(written.value)
  return Result.isSuccess(target) && target.success.port !== 0
    ? Effect.succeed({ target: target.success })
    : Effect.fail(
      unusable(`--target: ${quote(written.value)} is not HOST:PORT, such as 192.0.2.1:7 or [2001:db8::1]:7`)
    )
}

/** Whether a file can be written, without leaving anything behind. */
const tryFile = async (file: string): Promise<void> => {
  const there = await stat(file).catch(() => undefined)
  if (there !== undefined) return access(file, constants.W_OK)
  const made = await open(file, "wx")
  await made.close()
  await unlink(file)
}

/** Better to know before ten seconds of measuring. */
const checkFile = Effect.fnUntraced(function*(file: string) {
  if (file === "") return yield* unusable("--html: is empty; give a file")
  const there = yield* Effect.promise(() => stat(file).catch(() => undefined))
  if (there?.isDirectory() === true) {
    return yield* unusable(`--html: ${quote(file)} is a directory; give a file in it`)
  }
  yield* Effect.tryPromise({
    try: () => tryFile(file),
    catch: () => unusable(`--html: ${quote(file)} is in no directory that can be written to; choose another`)
  })
})

interface Input {
  readonly url: Redacted.Redacted<string>
  readonly mode: Mode
  readonly connections: string
  readonly duration: string
  readonly warmUp: string
  readonly timeout: string
  readonly rate: Option.Option<string>
  readonly pid: Option.Option<string>
  readonly generators: Option.Option<string>
  readonly target: Option.Option<string>
}

const planOf = Effect.fn("bench.plan")(function*(input: Input) {
  const { connections, duration, generators, mode, pid, rate, target, timeout, url, warmUp } = input
  const ProxyUrl = yield* Effect.promise(() => import("../bench/ProxyUrl.ts"))
  const elsewhere = yield* Config.option(Config.String(passwordVariable)).pipe(
    Effect.mapError((cause) => new CliError.UserError({ cause }))
  )
  const proxy = yield* Effect.mapError(
    Effect.fromResult(ProxyUrl.parse(Redacted.value(url), Option.getOrElse(elsewhere, () => ""))),
    (message) => unusable(`URL: ${message}`)
  )
  if (Option.isSome(rate) && (mode === "bulk" || mode === "idle")) {
    return yield* unusable(`--rate: --mode ${mode} has none; leave it out, or choose rate or round-trip`)
  }
  const plan: Plan = {
    proxy,
    mode,
    connections: yield* decode("connections", Fields.Count, connections),
    duration: yield* millis("duration", DurationField.Timeout, duration),
    warmUp: yield* millis("warm-up", DurationField.TimeoutOrZero, warmUp),
    timeout: yield* millis("timeout", DurationField.Timeout, timeout),
    ...yield* decodeOption("rate", Fields.Count, rate),
    ...yield* decodeOption("pid", Fields.Count, pid),
    ...yield* decodeOption("generators", Fields.Count, generators),
    ...yield* targetOf(target)
  }
  return plan
})

const refuse = ({ fault, message }: BenchError) => fault === "input" ? unusable(message) : failed(message)

export const bench = Command.make(
  "bench",
  flags,
  Effect.fn("bench")(function*({ html, json, ...input }) {
    const plan = yield* planOf(input)
    if (Option.isSome(html)) yield* checkFile(html.value)
    const Bench = yield* Effect.promise(() => import("../bench/Bench.ts"))
    const Failure = yield* Effect.promise(() => import("../bench/Failure.ts"))

    const report = yield* Effect.scoped(Effect.gen(function*() {
      const termination = yield* Signals.termination
      const progress = yield* ProgressLine.make(plan)
      return yield* Bench.run(plan, { until: termination, ...progress })
    })).pipe(Effect.mapError(refuse))

    const { toJson } = yield* Effect.promise(() => import("../bench/Report.ts"))
    const Table = yield* Effect.promise(() => import("../bench/Table.ts"))
    const printed = yield* Effect.exit(Print.print(json ? yield* Effect.orDie(toJson(report)) : Table.render(report)))
    if (Option.isSome(html)) {
      const { render } = yield* Effect.promise(() => import("../bench/Page.ts"))
      yield* Effect.tryPromise({
        try: () => writeFile(html.value, render(report)),
        catch: () => failed(`--html: ${quote(html.value)} can't be written; choose another file`)
      })
    }
    // The page is to be had even so.
    yield* printed
    const errors = Failure.total(report.errors)
    if (errors > 0) {
      return yield* failed(`${errors} error${errors === 1 ? "" : "s"}: ${Failure.format(report.errors)}`)
    }
    if (report.work === 0 && !report.endedEarly) return yield* failed("nothing came through the proxy")
  })
).pipe(
  Command.withDescription(
    "Load any SOCKS5 or HTTP proxy and measure what it takes, with targets of its own on loopback. Exits with 1 if there " +
      "were errors; SIGINT ends it early, with what it has"
  ),
  Command.withShortDescription("Load a proxy and measure it")
)
