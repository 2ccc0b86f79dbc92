/** Rules that are called dead beside the engine: whatever may be asked, none of them decides it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as DeadRules from "../../src/config/DeadRules.ts"
import type { AccessRequest } from "../../src/policy/AccessPolicy.ts"
import * as List from "../../src/policy/List.ts"
import type * as Rule from "../../src/policy/Rule.ts"
import * as RuleEngine from "../../src/policy/RuleEngine.ts"
import * as TimeWindow from "../../src/policy/TimeWindow.ts"
import * as Dialect from "../../src/server/Dialect.ts"

const runs = Number(process.env.SLUICE_DEAD_RULES_RUNS ?? 300)

const entry = (text: string): List.Entry => Result.getOrThrow(List.entryFromString(text))

const padding = Array.from({ length: 300 }, (_, index) => `n${index}.example`)
const lists = new Map(
  Object.entries({
    office: ["10.0.0.0/9", ".corp"],
    halves: ["10.0.0.0/9", "10.128.0.0/9"],
    all: ["0.0.0.0/0", "::/0"],
    long: ["10.0.0.0/8", ".corp", ...padding],
    none: []
  }).map(([name, texts]) => [name, List.List.make(name, texts.map(entry))])
)

const networks = [
  "0.0.0.0/0",
  "0.0.0.0/1",
  "128.0.0.0/1",
  "::/0",
  "10.0.0.0/8",
  "10.0.0.0/9",
  "10.128.0.0/9",
  "192.0.2.0/24",
  "2001:db8::/32",
  "64:ff9b::/96",
  ...lists.keys()
]
const domains = ["a.corp", ".corp", "*.corp", "b.test", ".test", "*"]
const ports = ["1-65535", "80-80", "1-100", "101-65535", "443-443", "80-443"]
const windows = [
  { days: ["mon-sun"] },
  { days: ["mon-fri"] },
  { days: ["sat-sun"] },
  { days: ["tue"] },
  { hours: "00:00-24:00" },
  { hours: "22:00-06:00" },
  { days: ["mon"], hours: "23:00-05:00" },
  { zone: "Asia/Tokyo" },
  { days: ["tue"], zone: "Asia/Tokyo" }
] as const

const some = (items: ReadonlyArray<string>) => Schema.Array(Schema.Literals(items)).check(Schema.isBetweenLength(1, 3))

/** Some commands, or many of them. */
const commands = [
  "connect",
  "bind",
  "associate",
  "resolve",
  "resolve-ptr",
  "forward",
  "connect forward",
  "connect bind associate forward",
  "connect bind associate resolve resolve-ptr forward"
]

const Conditions = Schema.Struct({
  users: some(["ann", "bob"]),
  groups: some(["staff", "guests"]),
  clients: some(networks),
  listeners: some(["door", "window"]),
  protocols: some(Dialect.protocols),
  commands: some(commands),
  to: some([...networks, ...domains]),
  ports: some(ports),
  when: Schema.Literals(windows.map((_, at) => at))
})

const keys = ["users", "groups", "clients", "listeners", "protocols", "commands", "to", "to", "ports", "when"] as const

/** Of all its conditions a rule has those of its keys: with more it would match nothing. */
const Written = Schema.Struct({
  keys: Schema.Array(Schema.Literals(keys)).check(Schema.isMaxLength(2)),
  conditions: Conditions,
  excepted: Schema.Literals(["none", "none", "none", ...keys]),
  exceptions: Conditions,
  action: Schema.Literals(["allow", "deny"]),
  shadow: Schema.Literals([false, false, false, false, true])
})

const World = Schema.Struct({
  protocols: Schema.Literals(["socks5", "socks4", "http", "socks4 http", "socks5 socks4 http"]),
  listeners: Schema.Literals(["door", "door window"]),
  names: Schema.Literals(["no", "names", "groups"])
})

type Written = typeof Written.Type
type Conditions = Partial<typeof Conditions.Type>

const pick = (conditions: Conditions, keys: ReadonlyArray<string>): Conditions =>
  Object.fromEntries(Object.entries(conditions).filter(([key]) => keys.includes(key)))

const windowOf = ({ days, hours, zone = "UTC" }: {
  readonly days?: ReadonlyArray<string>
  readonly hours?: string
  readonly zone?: string
}) =>
  Result.getOrThrow(TimeWindow.make({
    days: days?.flatMap((day) => Result.getOrThrow(TimeWindow.daysFromString(day))),
    hours: hours === undefined ? undefined : Result.getOrThrow(TimeWindow.hoursFromString(hours)),
    zone
  }))

const item = (text: string): List.Entry | List.List => lists.get(text) ?? entry(text)

const conditionsOf = ({ clients, commands, ports, to, when, ...rest }: Conditions): Rule.Conditions => ({
  ...rest,
  ...commands !== undefined && { commands: commands.flatMap((some) => some.split(" ")) },
  ...clients !== undefined && { clients: clients.map(item).filter((given) => given._tag !== "Domain") },
  ...to !== undefined && { to: to.map(item) },
  ...ports !== undefined && {
    ports: ports.map((range) => {
      const [from = 0, last = 0] = range.split("-").map(Number)
      return { from, to: last }
    })
  },
  ...when !== undefined && { when: windowOf(windows[when] ?? {}) }
})

const ruleOf = ({ action, conditions, excepted, exceptions, keys, shadow }: Written): Rule.Rule => ({
  action,
  shadow,
  conditions: conditionsOf(pick(conditions, keys)),
  ...excepted !== "none" && { not: conditionsOf(pick(exceptions, [excepted])) }
})

const ip = NetAddress.ipFromStringUnsafe
const addresses = [
  "10.1.2.3",
  "10.200.0.1",
  "192.0.2.1",
  "198.51.100.1",
  "2001:db8::1",
  "64:ff9b::a01:203",
  "2001:0:a01:203::3fff:fdfe"
].map(ip)
const clients = ["10.1.2.3", "10.200.0.1", "192.0.2.1", "127.0.0.1", "2001:db8::1", "64:ff9b::a01:203"].map(ip)
const hosts = ["a.corp", "corp", "b.test", "other.example"]
const times = ["2026-11-22T12:00:00Z", "2026-11-23T23:30:00Z", "2026-11-24T00:30:00Z", "2026-11-24T12:00:00Z"].map(
  Date.parse
)
const unspecified = Host.hostPortUnsafe(ip("0.0.0.0"), 0)

interface Question {
  readonly request: AccessRequest
  readonly address?: NetAddress.IpAddress
}

const destinationsOf = (port: number): ReadonlyArray<readonly [Host.HostPort, NetAddress.IpAddress | undefined]> => [
  ...addresses.map((address) => [Host.hostPortUnsafe(address, port), undefined] as const),
  ...hosts.flatMap((host) =>
    [undefined, ...addresses].map((address) =>
      [Host.hostPortUnsafe(Host.hostFromStringUnsafe(host), port), address] as const
    )
  )
]

/** The ports that can be asked for: a lookup has none, and only SOCKS lets clients ask for port 0. */
const portsOf = (protocol: string, command: string): ReadonlyArray<number> =>
  command.startsWith("resolve")
    ? [0]
    : protocol === "http" || command === "associate"
    ? [80, 443, 5000]
    : [0, 80, 443, 5000]

/** All that clients may ask for; of what no rule looks at, one thing stands for all. */
function* questions(
  rules: ReadonlyArray<Rule.Rule>,
  world: Parameters<typeof DeadRules.find>[1] & {}
): Generator<Question> {
  const varied = <A>(key: keyof Rule.Conditions, values: ReadonlyArray<A>): ReadonlyArray<A> =>
    rules.some(({ conditions, not }) => conditions[key] !== undefined || not?.[key] !== undefined)
      ? values
      : values.slice(0, 1)
  const groups = world.haveGroups === true ? [[], ["staff"], ["guests"], ["staff", "guests"]] : [[]]
  const users = world.haveNames === true ? [undefined, "ann", "bob", "eve"] : [undefined]
  for (const protocol of world.protocols ?? []) {
    for (const command of Dialect.commandsOf[protocol]) {
      for (const listener of varied("listeners", world.listeners ?? [])) {
        for (const user of varied("users", users)) {
          for (const some of varied("groups", groups)) {
            for (const address of varied("clients", clients)) {
              const who = {
                user,
                groups: some,
                listener,
                protocol,
                command,
                client: NetAddress.inetAddressUnsafe(address, 1)
              }
              for (const port of portsOf(protocol, command)) {
                for (const [destination, address] of varied("to", destinationsOf(port))) {
                  yield { request: { ...who, destination }, ...address !== undefined && { address } }
                }
              }
            }
          }
        }
      }
    }
  }
}

describe("rules that can never match", () => {
  it.effect.prop(
    "never decide what anybody may ask for",
    [Schema.Array(Written).check(Schema.isBetweenLength(1, 6)), World],
    ([written, { listeners, names, protocols }]) =>
      Effect.sync(() => {
        const rules = written.map(ruleOf)
        const world = {
          protocols: Dialect.protocols.filter((protocol) => protocols.split(" ").includes(protocol)),
          listeners: listeners.split(" "),
          haveNames: names !== "no",
          haveGroups: names === "groups"
        }
        const dead = DeadRules.find(rules, world)
        if (dead.length === 0) return
        const found = new Set(dead.map(({ index }) => index))
        const engine = RuleEngine.compile(rules, "allow")
        const isTimed = rules.some(({ conditions, not }) => (conditions.when ?? not?.when) !== undefined)
        for (const { address, request } of questions(rules, world)) {
          for (const now of isTimed ? times : times.slice(0, 1)) {
            const decision = engine.decide(request, address, now)
            // Until the address is known, nothing comes of what is not decided.
            const decides = found.has(decision.index) && !decision.undecided
            const opens = request.command === "bind" || request.command === "associate"
              ? engine.decideCommand({ ...request, destination: unspecified }, now)
              : undefined
            if (decides || decision.shadows.some((index) => found.has(index)) || found.has(opens?.index ?? -1)) {
              assert.deepStrictEqual(
                { dead, request, address, now, index: decision.index, opens: opens?.index },
                undefined
              )
            }
          }
        }
      }),
    { arbitrary: { runs } }
  )
})
