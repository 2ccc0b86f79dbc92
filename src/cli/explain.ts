/** `sluice explain`: which rule decides a request, and why not another one. */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { escape } from "../config/Escape.ts"
import * as Fields from "../config/Fields.ts"
import { protocols } from "../server/Dialect.ts"
import { unusable } from "./CommandError.ts"
import * as Flags from "./Flags.ts"
import * as Print from "./Print.ts"

/** Those that configurations have rules for. */
const commands = ["connect", "bind", "associate", "resolve", "resolve-ptr", "forward"] as const

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description))

/** What `sluice` itself takes the file from where no flag says it. */
const configVariable = "SLUICE_CONFIG"

const flags = {
  command: Argument.Literals("COMMAND", commands).pipe(
    Argument.withDescription(`What is asked for: ${commands.join(", ")}`)
  ),
  target: Argument.String("HOST:PORT").pipe(Argument.withDescription("Where to")),
  config: text("config", "FILE", `The configuration file (default: ${configVariable})`).pipe(Flag.optional),
  user: text("user", "NAME", "Who asks, with options as a client would give them; no password (default: nobody)").pipe(
    Flag.optional
  ),
  groups: text("groups", "NAME,...", "The user's groups, as a login service would tell them (default: those in users)")
    .pipe(
      Flag.optional
    ),
  limits: text("limits", "NAME", "The user's class of limits, likewise").pipe(Flag.optional),
  client: text("client", "IP", "From where (default: from nowhere that is known)").pipe(Flag.optional),
  listener: text("listener", "HOST:PORT", "Where the client comes in (default: the first listener)").pipe(
    Flag.optional
  ),
  protocol: Flag.Literals("protocol", protocols).pipe(
    Flag.withDescription("What it speaks (default: socks5)"),
    Flag.optional
  ),
  resolvesTo: text("resolves-to", "IP", "An address of the host, in the place of looking it up (repeatable)").pipe(
    Flag.atLeast(0)
  ),
  at: text("at", "TIME", "When: 2027-01-04T10:30:00Z (default: now)").pipe(Flag.optional)
}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

const address = (flag: string, written: string) =>
  Effect.mapError(
    Schema.decodeUnknownEffect(Fields.IpAddress)(written),
    ({ issue }) => unusable(`--${flag}: ${formatIssue(issue).issues[0]?.message ?? "invalid"}`)
  )

const wordsOf = (text: string): ReadonlyArray<string> =>
  text.split(",").map((word) => word.trim()).filter((word) => word !== "")

/** A value of a flag that was given. */
const given = <A>(name: string, written: Option.Option<string>, parse: (text: string) => Result.Result<A, string>) =>
  Option.isNone(written)
    ? Effect.succeed(undefined)
    : Effect.mapError(Effect.fromResult(parse(written.value)), (message) => unusable(`--${name}: ${message}`))

export const explain = Command.make(
  "explain",
  flags,
  Effect.fn("explain")(function*(input) {
    const { parseListener } = yield* Effect.promise(() => import("../config/RuleConfig.ts"))
    const { parseMoment, parseTarget } = yield* Effect.promise(() => import("../config/TestConfig.ts"))
    const destination = yield* Effect.mapError(
      Effect.fromResult(parseTarget(input.target)),
      (message) => unusable(`HOST:PORT: ${message}`)
    )
    const client = Option.isNone(input.client) ? undefined : yield* address("client", input.client.value)
    const resolvesTo = yield* Effect.forEach(input.resolvesTo, (written) => address("resolves-to", written))
    const at = yield* given("at", input.at, parseMoment)
    const listener = yield* given("listener", input.listener, parseListener)

    const fromVariable = yield* Effect.mapError(
      Config.option(Config.String(configVariable)),
      (cause) => new CliError.UserError({ cause })
    )
    const path = Option.orElse(input.config, () => fromVariable)
    if (Option.isNone(path)) return yield* unusable("--config: is missing; see sluice explain --help")
    const loaded = yield* Flags.loadFile(path.value)
    const Explanation = yield* Effect.promise(() => import("./Explanation.ts"))
    const lines = yield* Explanation.make(loaded, {
      command: input.command,
      destination,
      username: Option.getOrUndefined(input.user),
      groups: Option.getOrUndefined(Option.map(input.groups, wordsOf)),
      limits: Option.getOrUndefined(input.limits),
      client,
      listener,
      protocol: Option.getOrUndefined(input.protocol),
      resolvesTo: resolvesTo.length === 0 ? undefined : resolvesTo,
      at
    })
    yield* Print.print(lines.map(escape).join("\n"))
  })
).pipe(
  Command.withDescription(
    "Say what a configuration makes of a request: which rule decides it, why each before it doesn't, the upstreams and " +
      "the address that it would go out by, and the limits that hold"
  ),
  Command.withShortDescription("Explain what becomes of a request")
)
