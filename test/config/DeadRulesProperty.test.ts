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

const runs = Number(process.env.SLUICE_DEAD_RULES_RUNS ?? 500)

/** Asked of each set of rules. */
const questions = 300

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
  "127.0.0.0/8",
  "127.0.0.1/32",
  "0.0.0.0/8",
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
  "2001:0:a01:203::3fff:fdfe",
  "0.0.0.0",
  "127.0.0.1",
  "::"
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
  readonly now: number
}

/** The ports that can be asked for: a lookup has none, and only SOCKS lets clients ask for port 0. */
const portsOf = (protocol: string, command: string): ReadonlyArray<number> => {
  if (command.startsWith("resolve")) return [0]
  return protocol === "http" || command === "associate" ? [80, 443, 5000] : [0, 80, 443, 5000]
}

/** Draws from what there is, always the same for the same seed. */
class Dice {
  private state: number

  constructor(seed: number) {
    this.state = seed
  }

  pick<A>(values: ReadonlyArray<A>): A {
    // The constants of Numerical Recipes; its upper bits are the better ones.
    this.state = (Math.imul(this.state, 1_664_525) + 1_013_904_223) >>> 0
    return values[Math.floor(this.state / 2 ** 32 * values.length)] as A // There is always one.
  }
}

type World = Required<NonNullable<Parameters<typeof DeadRules.find>[1]>>

const groups = [[], ["staff"], ["guests"], ["staff", "guests"]]

/** Something that a client may ask for. */
const ask = (dice: Dice, world: World): Question => {
  const protocol = dice.pick(world.protocols)
  const command = dice.pick(Dialect.commandsOf[protocol])
  const host = dice.pick([...addresses, ...hosts])
  const address = typeof host === "string" ? dice.pick([undefined, ...addresses]) : undefined
  const request = {
    user: world.haveNames ? dice.pick([undefined, "ann", "bob", "eve"]) : undefined,
    groups: world.haveGroups ? dice.pick(groups) : [],
    listener: dice.pick(world.listeners ?? []),
    protocol,
    command,
    client: NetAddress.inetAddressUnsafe(dice.pick(clients), 1),
    destination: Host.hostPortUnsafe(
      typeof host === "string" ? Host.hostFromStringUnsafe(host) : host,
      dice.pick(portsOf(protocol, command))
    )
  }
  return { request, now: dice.pick(times), ...address !== undefined && { address } }
}

describe("rules that can never match", () => {
  it.effect.prop(
    "never decide what anybody may ask for",
    [Schema.Array(Written).check(Schema.isBetweenLength(1, 6)), World, Schema.Int],
    ([written, { listeners, names, protocols }, seed]) =>
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
        const dice = new Dice(seed)
        for (let round = 0; round < questions; round++) {
          const { address, now, request } = ask(dice, world)
          const decision = engine.decide(request, address, now)
          const opens = request.command === "bind" || request.command === "associate"
            ? engine.decideCommand({ ...request, destination: unspecified }, now)
            : undefined
          // Until the address is known, nothing comes of what is not decided.
          const deciding = [...decision.undecided ? [] : [decision.index], ...decision.shadows, opens?.index ?? -1]
          if (deciding.some((index) => found.has(index))) {
            assert.fail(JSON.stringify({ dead, request, address, now, deciding }))
          }
        }
      }),
    { arbitrary: { runs }, timeout: 600_000 }
  )
})
