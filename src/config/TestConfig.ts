/** `tests:` of a configuration file: what becomes of requests, asserted. */
import * as DateTime from "effect/DateTime"
import * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { protocols } from "../server/Dialect.ts"
import { quote } from "./Escape.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"
import { commands, listener } from "./RuleConfig.ts"

/** What a test expects. */
export interface Expectation {
  readonly action: "allow" | "deny"
  /** `rule NAME`, `default`, `internal network`: how the words for what decided begin. */
  readonly words?: string
}

export interface TestEntry {
  readonly user?: string
  readonly groups?: ReadonlyArray<string>
  readonly client?: NetAddress.IpAddress
  readonly listener?: string
  readonly protocol?: string
  readonly command?: string
  readonly connect: Host.HostPort
  readonly resolvesTo?: ReadonlyArray<NetAddress.IpAddress>
  /** Milliseconds since 1970. */
  readonly at?: number
  readonly expect: Expectation
}

/** Where a request goes. */
export const parseTarget = (text: string): Result.Result<Host.HostPort, string> =>
  Result.filterOrFail(
    Result.mapError(Host.hostPortFromString(text), () => ""),
    ({ port }) => port !== 0,
    () => ""
  ).pipe(
    Result.orElse(() => Fields.wrong(text, "HOST:PORT, such as example.com:443, 192.0.2.1:22 or [2001:db8::1]:22"))
  )

const momentText = /^\d{4}-\d\d-\d\dT/

/** A moment, in milliseconds since 1970. */
export const parseMoment = (text: string): Result.Result<number, string> => {
  const moment = momentText.test(text) ? DateTime.make(text) : Option.none()
  return Option.isSome(moment)
    ? Result.succeed(DateTime.toEpochMillis(moment.value))
    : Fields.wrong(text, "a moment, such as 2027-01-04T10:30:00Z")
}

const parseExpectation = (text: string): Result.Result<Expectation, string> => {
  const [, action, words] = /^(allow|deny)(?: (.+))?$/.exec(text.trim().replaceAll(/\s+/g, " ")) ?? []
  return action === "allow" || action === "deny"
    ? Result.succeed({ action, ...words !== undefined && { words } })
    : Result.fail(`${quote(text)} is not what can be expected; write allow, deny, or with what decides: deny rule NAME`)
}

/** Whether what was decided is what was expected. Of what is no rule, the first words will do: `deny internal network`. */
export const meets = (expected: Expectation, action: "allow" | "deny", words: string): boolean =>
  expected.action === action &&
  (expected.words === undefined || words === expected.words ||
    (!words.startsWith("rule ") && words.startsWith(`${expected.words} `)))

const optional = Schema.optionalKey

const Entry: FileValue.FromFile<TestEntry> = Schema.Struct({
  user: optional(
    FileValue.name({
      description: "Who asks, and has to get past the login; default: nobody in particular, for the rules alone"
    })
  ),
  groups: optional(FileValue.listOf(FileValue.name(), { description: "Default: those that `users` gives the user" })),
  client: optional(FileValue.as(Fields.IpAddress, { description: "From where; default: from nowhere that is known" })),
  listener: optional(listener({ description: "Where the client comes in; default: the first of `listen`" })),
  protocol: optional(FileValue.choice(protocols, { description: "What it speaks", default: "socks5" })),
  command: optional(FileValue.choice(commands, { description: "What it asks for", default: "connect" })),
  connect: FileValue.parsed(
    FileValue.text({ description: "Where to: HOST:PORT", shape: { text: /.:[1-9]\d{0,4}$/ } }),
    parseTarget
  ),
  resolvesTo: optional(FileValue.listOf(FileValue.as(Fields.IpAddress), {
    description: "The addresses of the host; without them nothing is looked up, and a rule that needs them is an error"
  })),
  at: optional(FileValue.parsed(
    FileValue.text({ description: "When; default: now", shape: { text: momentText } }),
    parseMoment
  )),
  expect: FileValue.parsed(
    FileValue.text({
      description: "allow or deny, and what decides, if that matters: deny rule NAME, allow default",
      examples: ["allow", "deny", "deny rule no-databases", "deny internal network"],
      shape: { text: /^\s*(?:allow|deny)(?:\s|$)/, words: ["allow", "deny"] }
    }),
    parseExpectation
  )
}).annotate({ expected: "a map with connect and expect" })

export const TestConfig: FileValue.FromFile<ReadonlyArray<TestEntry>> = Schema.Array(Entry).annotate({
  description: "Requests, and what must become of them: `sluice check` and every reload try them first",
  expected: "a list of tests"
})
