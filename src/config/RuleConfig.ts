/** `rules:` of a configuration file. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as List from "../policy/List.ts"
import type { Rule } from "../policy/Rule.ts"
import * as TimeWindow from "../policy/TimeWindow.ts"
import { protocols } from "../server/Dialect.ts"
import type { PortRange } from "../transport/PortRange.ts"
import { egress } from "./EgressConfig.ts"
import { quote } from "./Escape.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"
import * as Shape from "./Shape.ts"

/** A network, a domain, or the name of a list, which only the rest of the file can tell from a domain. */
export interface Item {
  readonly text: string
  readonly entry: List.Entry
}

const quoted = <A>(parse: (text: string) => Result.Result<A, string>) => (text: string): Result.Result<A, string> =>
  Result.mapError(parse(text), (problem) => `${quote(text)} ${problem}`)

/** An item of a list. */
export const entry: FileValue.FromFile<List.Entry> = FileValue.parsed(FileValue.text(), quoted(List.entryFromString))

const item: FileValue.FromFile<Item> = FileValue.parsed(
  FileValue.text(),
  (text) => Result.map(quoted(List.entryFromString)(text), (entry) => ({ text, entry }))
)

const items = (description: string) => FileValue.listOf(item, { description })

const isPort = (port: number): boolean => port >= 1 && port <= Fields.highestPort

const ports: Shape.Shape = { text: /^\d{1,5}(?:\s*-\s*\d{1,5})?$/, number: Shape.whole(1, Fields.highestPort) }

/** A range that is open at an end is most often meant to reach the last port. */
const parsePorts = (text: string): Result.Result<PortRange, string> => {
  const [, first, dash, last] = /^(\d{1,5})?(?:\s*(-)\s*(\d{1,5})?)?$/.exec(text) ?? []
  const wrong = (write: string) => Result.fail(`${quote(text)} is not a port range; write ${write}`)
  const [from, to] = [Number(first ?? 1), Number(last ?? (dash === undefined ? first : Fields.highestPort))]
  if ((first ?? last) === undefined || !isPort(from) || !isPort(to)) return wrong("80-443, or 443 alone")
  // Nobody means the ports up to the first one: that is a number below 0.
  if (first === undefined && to === 1) return wrong("80-443, or 443 alone")
  if (first === undefined || (dash !== undefined && last === undefined)) return wrong(`${from}-${to}`)
  return from > to ? wrong(`${to}-${from}`) : Result.succeed({ from, to })
}

const optional = Schema.optionalKey

const day = `\\s*${Shape.inAnyCase(TimeWindow.dayNames)}\\s*`

const days: Shape.Shape = { text: new RegExp(`^${day}(?:-${day})?$`), words: TimeWindow.dayNames }

const hours: Shape.Shape = { text: /^\s*\d{1,2}:\d{2}\s*-\s*\d{1,2}:\d{2}\s*$/ }

const window = FileValue.parsed(
  Schema.Struct({
    days: optional(FileValue.nonEmpty(
      FileValue.listOf(FileValue.parsed(FileValue.text({ shape: days }), quoted(TimeWindow.daysFromString)), {
        description: "mon, tue, … or ranges of them: mon-fri",
        examples: ["mon-fri"]
      }),
      "is empty; write mon-fri, or leave it out for all days"
    )),
    hours: optional(FileValue.parsed(
      FileValue.text({ description: "08:00-18:00; 22:00-06:00 goes on into the next day", shape: hours }),
      quoted(TimeWindow.hoursFromString)
    )),
    zone: optional(FileValue.parsed(
      FileValue.text({ description: "The clock that counts: Europe/Berlin; default: this machine's" }),
      quoted((zone) => Result.map(TimeWindow.make({ zone }), () => zone))
    ))
  }).annotate({ description: "When the rule holds", expected: "a map with days and hours" }),
  ({ days, hours, zone }) => TimeWindow.make({ days: days?.flat(), hours, zone })
)

export const commands = ["connect", "bind", "associate", "resolve", "resolve-ptr", "forward"] as const

/** As requests name listeners. */
export const parseListener = (text: string): Result.Result<string, string> => {
  if (text.startsWith("unix:")) return Result.succeed(text)
  // What `listen` has behind the address of TLS is no part of its name.
  const [, scheme = "", place = ""] = /^(tls:\/\/)?([^/?]*)(?:\/?\?.*)?$/s.exec(text) ?? []
  const address = Result.getOrUndefined(NetAddress.inetAddressFromString(place.replace(/^localhost:/i, "127.0.0.1:")))
  return address === undefined
    ? Fields.wrong(text, "a listener, such as 127.0.0.1:1080, tls://0.0.0.0:1443 or unix:/run/sluice.sock")
    : Result.succeed(scheme + NetAddress.formatInet(address))
}

/** The path of a Unix socket is relative to the file's folder, as in `listen`. */
export const listener = (docs?: FileValue.Docs): FileValue.FromFile<string> =>
  FileValue.refine(
    FileValue.parsed(FileValue.text(docs), parseListener),
    (name) =>
      name.startsWith("unix:")
        ? Effect.map(FileValue.inFolder(name.slice("unix:".length)), (path) => `unix:${path}`)
        : Effect.succeed(name)
  )

const words = (description: string) => optional(FileValue.listOf(FileValue.name(), { description }))

const conditions = {
  users: words("Names of users"),
  groups: words("Groups, of which the user is in one"),
  clients: optional(items("Where clients are: networks, or names of lists")),
  listeners: optional(FileValue.listOf(listener(), {
    description: "Where clients come in, as in `listen`"
  })),
  protocols: optional(FileValue.listOf(FileValue.choice(protocols), { description: "What clients speak" })),
  commands: optional(FileValue.listOf(FileValue.choice(commands), { description: "What clients ask for" })),
  to: optional(items("Where to: networks, domains (exact, .suffix = it and all below, glob), or names of lists")),
  ports: optional(FileValue.listOf(FileValue.parsed(FileValue.text({ shape: ports }), parsePorts), {
    description: "Ports of the destination, or ranges of them: 80-443"
  })),
  when: optional(window)
}

const Not = Schema.Struct(conditions).annotate({
  description: "None of these conditions may hold",
  expected: "a map of conditions"
})

/** Conditions with words in them that may be lists. */
export type Conditions = typeof Not.Type

/** A rule with words in it that may be lists. */
export interface RuleEntry extends Omit<Rule, "conditions" | "not"> {
  readonly conditions: Conditions
  readonly not?: Conditions
}

const replyText = /^[1-8]$/

const reply = Schema.optionalKey(FileValue.parsed(
  FileValue.text({
    description: "Of a denial: the code of RFC 1928, section 6",
    default: 2,
    shape: { text: replyText, number: Shape.whole(1, 8) }
  }),
  (text) => replyText.test(text) ? Result.succeed(Number(text)) : Fields.wrong(text, "a reply code from 1 to 8")
))

const flag = (description: string) => optional(FileValue.flag({ description, default: false }))

const Entry = Schema.Struct({
  name: optional(FileValue.parsed(
    FileValue.name({ description: "What logs call it; default: its number" }),
    // Nobody could tell it from that.
    (name) =>
      /^\d+$/.test(name)
        ? Result.fail(`${quote(name)} is a number, as rules without a name are called by; choose a word`)
        : Result.succeed(name)
  )),
  ...conditions,
  not: optional(Not),
  action: FileValue.choice(["allow", "deny"], { description: "What becomes of a request that matches" }),
  reply,
  via: optional(FileValue.text({ description: "Of an allow: the pool of upstreams to go through; direct = none" })),
  egress: optional(egress("Of an allow: what to go out from")),
  limits: optional(FileValue.text({ description: "Of an allow: the class of limits that holds" })),
  log: optional(
    FileValue.choice(Fields.logLevels, {
      description: "The level of the connection's line in the log; none = no line",
      default: "info"
    }).pipe(Schema.decodeTo(Fields.LogLevel))
  ),
  proxyHeader: flag("Of an allow: tell the target by a PROXY header (version 2) who the client is"),
  internal: flag("Of an allow: opens internal networks too; those that `to` names it opens anyway"),
  shadow: flag("Decides nothing: what it would have done is counted and logged")
}).annotate({ expected: "a map with action" })

const onlyAllow = ["via", "egress", "limits", "proxyHeader", "internal"] as const

const ruleOf = (entry: typeof Entry.Type): Result.Result<RuleEntry, string> => {
  const { action, egress, internal, limits, log, name, not, proxyHeader, reply, shadow, via, ...conditions } = entry
  if (action === "allow" && reply !== undefined) return Result.fail("has reply, which only a deny can have")
  const odd = action === "deny" ? onlyAllow.find((key) => entry[key] !== undefined) : undefined
  if (odd !== undefined) return Result.fail(`has ${odd}, which only an allow can have`)
  const rule = { action, egress, internal, limits, log, name, proxyHeader, reply, shadow, via }
  return Result.succeed({ ...rule, conditions, ...not !== undefined && { not } })
}

export const RuleConfig: FileValue.FromFile<ReadonlyArray<RuleEntry>> = Schema.Array(FileValue.parsed(Entry, ruleOf))
  .annotate({
    description: "Who may go where: the first rule that matches decides. All conditions of a rule must hold",
    expected: "a list of rules"
  })
