/** The engine, which finds the rules that matter, beside an interpreter that looks at each of them in turn. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { AccessRequest } from "../../src/policy/AccessPolicy.ts"
import * as List from "../../src/policy/List.ts"
import type * as Rule from "../../src/policy/Rule.ts"
import * as RuleEngine from "../../src/policy/RuleEngine.ts"
import * as TimeWindow from "../../src/policy/TimeWindow.ts"

/** Texts, as an operator writes them: the interpreter reads those by itself. */
const networks = [
  "0.0.0.0/0",
  "10.0.0.0/8",
  "10.1.0.0/16",
  "10.1.2.0/24",
  "10.1.2.3/32",
  "192.0.2.0/25",
  "::/0",
  "2001:db8::/32",
  "2001:db8:1::/48",
  "127.0.0.0/8",
  "0.0.0.0/8",
  "::1/128"
] as const
const addresses = [
  "10.1.2.3",
  "10.1.2.4",
  "10.1.9.9",
  "10.9.9.9",
  "192.0.2.1",
  "2001:db8::1",
  "2001:db8:1::1",
  "64:ff9b::a01:203",
  "0.0.0.0",
  "127.0.0.1",
  "::",
  "::1"
] as const
/** Where else an address may lead counts where that denies. */
const otherwise: Readonly<Record<string, ReadonlyArray<string>>> = {
  "64:ff9b::a01:203": ["10.1.2.3"],
  "0.0.0.0": ["127.0.0.1"],
  "::": ["::1", "0.0.0.0", "127.0.0.1"],
  "::1": []
}
const domains = ["a.corp", "b.corp", ".corp", ".x.corp", "*.x.*", "a?corp", "?.x*", "example.com", ".com"] as const
const names = [
  "a.corp",
  "b.corp",
  "corp",
  "y.x.corp",
  "x.corp",
  "example.com",
  "www.example.com",
  "example.org"
] as const
const listNames = ["inner", "mixed", "long", "empty"] as const
const lists: Readonly<Record<(typeof listNames)[number], ReadonlyArray<string>>> = {
  inner: ["10.1.0.0/16", "2001:db8::/32"],
  mixed: ["192.0.2.0/25", ".example.com", "*.corp"],
  long: ["10.1.2.0/24", "2001:db8:1::/48", "b.corp", ".x.corp", "*ample.org"],
  empty: []
}
/** Makes a list long, and says nothing of what is asked here. */
const padding = Array.from({ length: 300 }, (_, index) => `198.51.100.${index % 256}`)
const users = ["ann", "bob", "eve"] as const
const groups = ["staff", "guests", "crawlers"] as const
const days = ["sat", "sun", "mon"] as const

/** Most often `to`, where names and addresses meet. */
const keys = [
  "users",
  "groups",
  "clients",
  "to",
  "to",
  "to",
  "ports",
  "protocols",
  "commands",
  "listeners",
  "days"
] as const

const some = <S extends Schema.Constraint>(item: S) => Schema.Array(item).check(Schema.isMaxLength(3))
const Conditions = Schema.Struct({
  users: some(Schema.Literals(users)),
  groups: some(Schema.Literals(groups)),
  clients: some(Schema.Literals([...networks, ...listNames])),
  listeners: some(Schema.Literals(["door", "window"])),
  protocols: some(Schema.Literals(["socks5", "http"])),
  commands: some(Schema.Literals(["connect", "bind"])),
  to: some(Schema.Literals([...networks, ...domains, ...listNames])),
  ports: some(Schema.Literals(["80-443", "443-443", "1-100"])),
  days: some(Schema.Literals(days))
})

/** Of all its conditions a rule has those of its keys: with more it would never match, and without any always. */
const Written = Schema.Struct({
  keys: Schema.Array(Schema.Literals(keys)).check(Schema.isBetweenLength(1, 3)),
  conditions: Conditions,
  excepted: Schema.Literals([
    "none",
    "none",
    "users",
    "groups",
    "protocols",
    "to",
    "clients",
    "ports"
  ]),
  exceptions: Conditions,
  action: Schema.Literals(["allow", "deny"]),
  shadow: Schema.Literals([false, false, false, true])
})

const Asked = Schema.Struct({
  host: Schema.Literals([...names, ...names, ...addresses]),
  port: Schema.Literals([80, 99, 443, 5000]),
  user: Schema.UndefinedOr(Schema.Literals(users)),
  groups: Schema.Array(Schema.Literals(groups)).check(Schema.isMaxLength(2)),
  client: Schema.UndefinedOr(Schema.Literals(addresses)),
  listener: Schema.Literals(["door", "window"]),
  protocol: Schema.Literals(["socks5", "http", "socks4"]),
  command: Schema.Literals(["connect", "bind", "resolve"]),
  address: Schema.UndefinedOr(Schema.Literals(addresses))
})

type Conditions = Partial<typeof Conditions.Type>

const pick = (conditions: Conditions, keys: ReadonlyArray<string>): Conditions =>
  Object.fromEntries(Object.entries(conditions).filter(([key]) => keys.includes(key)))

const rulesOf = (written: ReadonlyArray<typeof Written.Type>) =>
  written.map(({ conditions, excepted, exceptions, keys, ...rest }) => ({
    ...rest,
    conditions: pick(conditions, keys),
    not: excepted === "none" ? undefined : pick(exceptions, [excepted])
  }))

type Plain = ReturnType<typeof rulesOf>[number]

/** Sunday, 2026-11-22. */
const now = Date.parse("2026-11-22T12:00:00Z")
const today = "sun"

type Answer = boolean | undefined

const isAddress = (text: string) => /^[\d.]+$|:/.test(text)
const isNetwork = (text: string) => text.includes("/")
const itemsOf = (items: ReadonlyArray<string>): ReadonlyArray<string> =>
  items.flatMap((item) => item in lists ? lists[item as keyof typeof lists] : [item])

const within = (network: string, address: string) =>
  IpNetwork.contains(IpNetwork.fromStringUnsafe(network), NetAddress.ipFromStringUnsafe(address))

const isBelow = (domain: string, name: string): boolean => {
  if (domain.startsWith(".")) return name.endsWith(domain) || name === domain.slice(1)
  const source = domain.replaceAll(".", "\\.").replaceAll("*", ".*").replaceAll("?", ".")
  return new RegExp(`^${source}$`).test(name)
}

/** Whether a condition holds; `undefined` where only the address can tell. */
const holds = (key: string, given: ReadonlyArray<string>, asked: typeof Asked.Type, carries: boolean): Answer => {
  switch (key) {
    case "users":
      return asked.user !== undefined && given.includes(asked.user)
    case "groups":
      return asked.groups.some((group) => given.includes(group))
    case "listeners":
      return given.includes(asked.listener)
    case "protocols":
      return given.includes(asked.protocol)
    case "commands":
      return given.includes(asked.command)
    case "ports":
      return given.some((range) => {
        const [from = 0, to = 0] = range.split("-").map(Number)
        return from <= asked.port && asked.port <= to
      })
    case "days":
      return given.includes(today)
    case "clients": {
      const { client } = asked
      return client !== undefined && itemsOf(given).some((item) => isNetwork(item) && within(item, client))
    }
    default: {
      const items = itemsOf(given)
      const { host } = asked
      if (!isAddress(host) && items.some((item) => !isNetwork(item) && isBelow(item, host))) return true
      if (!items.some(isNetwork)) return false
      const address = isAddress(host) ? host : asked.address
      if (address === undefined) return undefined
      const led = [address, ...carries ? otherwise[address] ?? [] : []]
      return items.some((item) => isNetwork(item) && led.some((one) => within(item, one)))
    }
  }
}

const interpret = (rules: ReadonlyArray<Plain>, fallback: Rule.Rule["action"], asked: typeof Asked.Type) => {
  let undecided = false
  const shadows: Array<number> = []
  for (const [index, { action, conditions, not, shadow }] of rules.entries()) {
    let matches: Answer = true
    for (const [key, given] of Object.entries(conditions)) {
      const held = holds(key, given, asked, action === "deny")
      if (held === false) matches = false
      else if (held === undefined && matches === true) matches = undefined
    }
    for (const [key, given] of Object.entries(not ?? {})) {
      const held = holds(key, given, asked, action === "allow")
      if (held === true) matches = false
      else if (held === undefined && matches === true) matches = undefined
    }
    if (matches === false) continue
    if (shadow) {
      if (matches === true && !undecided) shadows.push(index)
    } else if (matches === true) return { action, index, undecided, shadows }
    else undecided = true
  }
  return { action: fallback, index: -1, undecided, shadows }
}

const entry = (text: string): List.Entry => Result.getOrThrow(List.entryFromString(text))
const compiledLists = new Map(
  Object.entries(lists).map((
    [name, texts]
  ) => [name, List.List.make(name, [...texts, ...(name === "long" ? padding : [])].map(entry))])
)
const item = (text: string): List.Entry | List.List => compiledLists.get(text) ?? entry(text)
const isClient = (given: List.Entry | List.List) => given._tag !== "Domain"

const conditionsOf = ({ clients, days, ports, to, ...rest }: Conditions): Rule.Conditions => ({
  ...rest,
  clients: clients?.map(item).filter(isClient),
  to: to?.map(item),
  ports: ports?.map((range) => {
    const [from = 0, last = 0] = range.split("-").map(Number)
    return { from, to: last }
  }),
  when: days && Result.getOrThrow(TimeWindow.make({
    days: days.flatMap((day) => Result.getOrThrow(TimeWindow.daysFromString(day))),
    zone: "UTC"
  }))
})

const ruleOf = ({ action, conditions, not, shadow }: Plain): Rule.Rule => ({
  action,
  shadow,
  conditions: conditionsOf(conditions),
  not: not && conditionsOf(not)
})

const requestOf = (
  { client, command, groups, host, listener, port, protocol, user }: typeof Asked.Type
): AccessRequest => ({
  user,
  groups,
  listener,
  protocol,
  command,
  client: client === undefined ? undefined : NetAddress.inetAddressUnsafe(NetAddress.ipFromStringUnsafe(client), 1),
  destination: Host.hostPortUnsafe(Host.hostFromStringUnsafe(host), port)
})

describe("RuleEngine", () => {
  it.effect.prop(
    "decides as an interpreter does that looks at one rule after the other",
    [
      // More than 32: bits are kept by the word.
      Schema.Array(Written).check(Schema.isMaxLength(70)),
      Schema.Literals(["allow", "deny"]),
      Schema.Array(Asked).check(Schema.isBetweenLength(1, 20))
    ],
    ([written, fallback, requests]) =>
      Effect.sync(() => {
        const rules = rulesOf(written)
        const engine = RuleEngine.compile(rules.map(ruleOf), fallback)
        for (const asked of requests) {
          const address = asked.address === undefined ? undefined : NetAddress.ipFromStringUnsafe(asked.address)
          // A literal in the request is what would be dialled.
          const { action, index, shadows, undecided } = engine.decide(
            requestOf(asked),
            isAddress(asked.host) ? undefined : address,
            now
          )
          assert.deepStrictEqual({ action, index, undecided, shadows: [...shadows] }, interpret(rules, fallback, asked))
        }
      }),
    { arbitrary: { runs: 500, size: 60 } }
  )
})
