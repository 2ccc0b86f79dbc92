/** `sluice probe`: what a proxy can do, and what is wrong with it. */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as DurationField from "../config/DurationField.ts"
import { escape, escapeJson, quote } from "../config/Escape.ts"
import * as Fields from "../config/Fields.ts"
import type { Plan } from "../probe/Plan.ts"
import { failed, unusable } from "./CommandError.ts"
import * as Print from "./Print.ts"

const passwordVariable = "SLUICE_PROBE_PASSWORD"

const text = (name: string, metavar: string, description: string): Flag.Flag<string> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description))

const flags = {
  url: Argument.Redacted("URL").pipe(
    Argument.withDescription(
      "The proxy: PROTOCOL://HOST:PORT, PROTOCOL being one of socks5, socks5h, socks4, socks4a, http, https, with " +
        `USER:PASSWORD@ before the host if it asks for them; others see it in the list of processes, so prefer USER@ and ` +
        `the password in ${passwordVariable}`
    )
  ),
  target: text(
    "target",
    "HOST:PORT",
    "Connect to this TCP service instead of to targets of our own; what needs one of ours is skipped"
  ).pipe(Flag.optional),
  ownAddress: text(
    "own-address",
    "ADDRESS",
    "Where the proxy reaches this machine, and so our targets (default: loopback, when the proxy is there)"
  ).pipe(Flag.optional),
  timeout: text("timeout", "TIME", "Wait no longer than this in any check (default: 5s)").pipe(
    Flag.withDefault("5s")
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("Print one JSON document instead of a table"),
    Flag.withDefault(false)
  )
}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

/** The value of a flag that was written as text. */
const decode = <A>(name: string, schema: Schema.Codec<A, string>, written: string) =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(written),
    ({ issue }) => unusable(`--${name}: ${formatIssue(issue).issues[0]?.message ?? "invalid"}`)
  )

const targetOf = (written: string) => {
  const target = Host.hostPortFromString(written)
  return Result.isSuccess(target) && target.success.port !== 0
    ? Effect.succeed(target.success)
    : Effect.fail(
      unusable(`--target: ${quote(written)} is not HOST:PORT, such as example.com:80, 192.0.2.1:7 or [2001:db8::1]:7`)
    )
}

const ownAddressOf = (written: string) => {
  const address = NetAddress.ipFromString(written)
  return Result.isSuccess(address) && NetAddress.isUnspecified(address.success)
    ? Effect.fail(
      unusable(`--own-address: ${quote(written)} is nowhere to connect to; give an address of this machine`)
    )
    : decode("own-address", Fields.IpAddress, written)
}

const hasPassword = (url: string): boolean =>
  !["", undefined].includes(Result.getOrUndefined(Result.try(() => new URL(url).password)))

interface Input {
  readonly url: Redacted.Redacted<string>
  readonly target: Option.Option<string>
  readonly ownAddress: Option.Option<string>
  readonly timeout: string
}

const planOf = Effect.fn("probe.plan")(function*({ ownAddress, target, timeout, url }: Input) {
  const ProxyUrl = yield* Effect.promise(() => import("../client/ProxyUrl.ts"))
  const elsewhere = yield* Config.option(Config.String(passwordVariable)).pipe(
    Effect.mapError((cause) => new CliError.UserError({ cause }))
  )
  const proxy = yield* Effect.mapError(
    Effect.fromResult(
      ProxyUrl.parse(Redacted.value(url), { passwordElsewhere: Option.getOrElse(elsewhere, () => "") })
    ),
    (message) => unusable(`URL: ${message}`)
  )
  if (proxy.credentials === undefined && hasPassword(Redacted.value(url))) {
    return yield* unusable("URL: a password, but no user name; write USER:PASSWORD@ before the host")
  }
  if (Option.isSome(target) && Option.isSome(ownAddress)) {
    return yield* unusable("--own-address: is for targets of our own, which --target replaces; give one of the two")
  }
  const plan: Plan = {
    proxy,
    timeout: yield* decode("timeout", DurationField.Timeout, timeout),
    ...Option.isSome(target) && { target: yield* targetOf(target.value) },
    ...Option.isSome(ownAddress) && {
      ownAddress: yield* ownAddressOf(ownAddress.value)
    }
  }
  return plan
})

export const probe = Command.make(
  "probe",
  flags,
  Effect.fn("probe")(function*({ json, ...input }) {
    const plan = yield* planOf(input)
    const Probe = yield* Effect.promise(() => import("../probe/Probe.ts"))
    const report = yield* Probe.run(plan)

    const { toJson } = yield* Effect.promise(() => import("../probe/Report.ts"))
    const Table = yield* Effect.promise(() => import("../probe/Table.ts"))
    // What a proxy answers may be in it.
    yield* Print.print(
      json
        ? escapeJson(yield* Effect.orDie(toJson(report)))
        : Table.render(report).split("\n").map(escape).join("\n")
    )
    if (report.verdict === "fail") {
      const names = report.findings.filter(({ verdict }) => verdict === "fail").map(({ name }) => name)
      return yield* failed(`failed: ${names.join(", ")}`)
    }
  })
).pipe(
  Command.withDescription(
    "Look at what any SOCKS or HTTP proxy can do, and print a table with advice. A wrong password is tried once, when " +
      "one is given. Exits with 1 if a check has failed"
  ),
  Command.withShortDescription("Diagnose a proxy")
)
