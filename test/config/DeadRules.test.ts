import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as Result from "effect/Result"
import * as ConfigFile from "../../src/config/ConfigFile.ts"
import * as DeadRules from "../../src/config/DeadRules.ts"
import * as ListModule from "../../src/policy/List.ts"
import type { Conditions, Rule } from "../../src/policy/Rule.ts"
import * as RuleEngine from "../../src/policy/RuleEngine.ts"

const lists = `lists:
  office: [10.0.0.0/8, .corp.test]
  branch: [10.1.0.0/16, a.corp.test]
  halves: [10.0.0.0/9, 10.128.0.0/9]
  none: []
`

/** Too long for its entries to be kept one by one. */
const many = ListModule.List.make("many", [
  ...["10.0.0.0/8", ".corp.test", "lone.test", "*.ads.test"].map((text) =>
    Result.getOrThrow(ListModule.entryFromString(text))
  ),
  ...Array.from({ length: 300 }, (_, index) => Result.getOrThrow(ListModule.entryFromString(`n${index}.example`)))
])

/** Rules as a file has them, with some lists. */
const rulesOf = Effect.fnUntraced(function*(...rules: ReadonlyArray<string>) {
  const written = rules.map((rule) => `  - { ${rule}${rule.includes("action:") ? "" : ", action: deny"} }\n`)
  const { config } = yield* ConfigFile.parse("sluice.yaml", `${lists}rules:\n${written.join("")}`)
  const known = new Map(
    Object.entries(config.lists).map((
      [name, entries]
    ) => [name, ListModule.List.make(name, "file" in entries ? [] : entries)])
  )
  known.set("many", many)
  return ConfigFile.rulesOf(config.rules, known)
})

const dead = (...rules: ReadonlyArray<string>) => Effect.map(rulesOf(...rules), DeadRules.find)

describe("rules that can never match", () => {
  it.effect.each<readonly [earlier: string, later: string]>([
    ["ports: 1-65535", "ports: 80"],
    ["ports: [80-443, 8080]", "ports: [443, 8080, 90-100]"],
    ["users: [ann, bob]", "users: bob, ports: 80"],
    ["groups: staff", "groups: staff"],
    ["protocols: [socks5, http], commands: connect", "protocols: http, commands: connect, to: a.test"],
    ["to: 10.0.0.0/8", "to: [10.1.0.0/16, 10.2.3.4]"],
    ["to: \"::ffff:10.0.0.0/104\"", "to: 10.1.0.0/16"],
    ["to: [.test, 10.0.0.0/8]", "to: [a.test, test, .b.test, 10.0.0.1]"],
    ["to: \"*.db.*\"", "to: [a.db.test, \"*.db.*\"]"],
    ["to: office", "to: [office, a.corp.test]"],
    ["clients: [192.0.2.0/24, office]", "clients: [office, 192.0.2.5], users: ann"],
    ["listeners: \"127.0.0.1:1080\"", "listeners: \"localhost:1080\", not: { users: ann }"],
    ["to: 10.0.0.0/8", "to: 10.1.0.0/16"],
    ["to: .example.com", "to: a.example.com"],
    ["ports: [1-100, 101-1000]", "ports: [80, 90-110]"],
    ["to: office", "to: 10.0.0.0/8, ports: 80"],
    ["to: office", "to: [10.1.0.0/16, .b.corp.test, branch]"],
    ["to: [10.0.0.0/8, .test]", "to: [branch, 10.9.0.0/16]"],
    ["clients: 10.0.0.0/8", "clients: [office, branch]"],
    ["to: many", "to: [many, 10.1.0.0/16, a.corp.test, .b.corp.test, corp.test, lone.test, \"x.ads.test\", branch]"],
    ["to: \"*.example.com\"", "to: [.a.example.com, \"*.db.*.example.com\"]"],
    ["to: .example.com", "to: \"*.db.example.com\""],
    ["ports: 80, when: { days: mon-tue }", "ports: 80, when: { days: [tue, mon] }"],
    ["ports: 80, not: { users: ann }", "ports: 80, not: { users: [ann, bob], groups: staff }"],
    ["action: allow", "to: 10.0.0.0/8, action: deny"],
    ["protocols: [http, socks5, socks4]", "users: ann"],
    ["commands: [connect, bind, associate, resolve, resolve-ptr, forward]", "users: ann"],
    ["commands: [connect, forward]", "protocols: http"],
    ["commands: [connect, bind, associate, forward]", "ports: 443"],
    ["protocols: socks5", "commands: associate"],
    ["listeners: [\"127.0.0.1:1080\", \"[::1]:1080\"]", "users: ann"],
    ["when: { hours: \"00:00-24:00\" }", "users: ann"],
    ["ports: 80, when: { days: mon-sun }", "ports: 80"],
    ["ports: 1-65535", "protocols: http"],
    ["ports: 1-65535", "protocols: http, commands: forward"],
    ["ports: 1-65535, action: allow", "commands: associate"],
    ["clients: [0.0.0.0/0, \"::/0\"]", "users: ann"],
    ["clients: [0.0.0.0/1, 128.0.0.0/1, \"::/0\"]", "users: ann"],
    ["to: [0.0.0.0/0, \"::/0\"]", "to: [a.test, 10.0.0.0/8]"],
    ["to: [0.0.0.0/0, \"::/0\"], action: allow", "users: ann"],
    ["to: [0.0.0.0/0, \"::/0\"]", "commands: connect"],
    ["ports: 80, when: { days: mon-fri }", "ports: 80, when: { days: tue }"],
    ["ports: 80, when: { hours: \"22:00-06:00\" }", "ports: 80, when: { days: mon, hours: \"01:00-02:00\" }"],
    ["ports: 80, when: { zone: Europe/Berlin }", "ports: 80, when: { zone: Asia/Tokyo }"],
    ["ports: 80, not: { when: { days: sun } }", "ports: 80, when: { days: mon-fri }"],
    ["ports: 80, not: { when: { days: mon } }", "ports: 80, not: { when: { days: mon-fri } }"],
    ["to: [10.0.0.0/9, 10.128.0.0/9]", "to: 10.0.0.0/8"],
    ["to: halves", "to: 10.0.0.0/8"],
    ["to: [\"2001:db8::/33\", \"2001:db8:8000::/34\", \"2001:db8:c000::/34\"]", "to: \"2001:db8::/32\""],
    ["not: { ports: 80 }", "ports: [443, 81-90]"],
    ["not: { ports: 80 }", "commands: resolve"],
    ["not: { users: ann }", "users: [bob, carl]"],
    ["not: { protocols: http }", "protocols: socks4"],
    ["not: { protocols: http }", "commands: associate"],
    ["not: { commands: bind }", "protocols: http"],
    ["not: { listeners: \"127.0.0.1:1080\" }", "listeners: \"[::1]:1080\""],
    ["not: { clients: branch }", "clients: 192.0.2.0/24"],
    ["not: { to: [a.test, .b.test] }", "to: [c.test, .d.test]"],
    ["not: { to: \"*.ads.*\" }", "to: a.test"],
    ["not: { to: 10.0.0.0/8 }", "to: 192.0.2.0/24"],
    ["not: { to: 10.0.0.0/8 }, action: allow", "to: 192.0.2.0/24, action: allow"],
    ["not: { to: \"64:ff9b::/96\" }", "to: 192.0.2.0/24, action: allow"]
  ])("are covered by one before: %s, then %s", ([earlier, later]) =>
    Effect.gen(function*() {
      const rules = yield* rulesOf(earlier, later)
      assert.deepStrictEqual(DeadRules.find(rules, { listeners: ["127.0.0.1:1080", "[::1]:1080"] }), [{
        index: 1,
        why: "rule 1 before it matches all that it would"
      }])
    }))

  it.effect.each<readonly [earlier: string, later: string]>([
    ["ports: 80-443", "ports: [80, 8080]"],
    ["ports: 80", "users: ann"],
    ["ports: 80, not: { users: ann }", "ports: 80"],
    ["ports: 80, shadow: true", "ports: 80"],
    ["to: 10.1.0.0/16", "to: 10.0.0.0/8"],
    ["to: a.test", "to: .a.test"],
    ["to: \"*.db.*\"", "to: .db.test"],
    ["to: .test", "to: [a.test, 10.0.0.1]"],
    ["to: office", "to: 11.0.0.0/8, ports: 80"],
    ["to: none", "ports: 80"],
    ["to: \"::/0\"", "to: 10.0.0.0/8"],
    ["to: many", "to: .lone.test"],
    ["to: many", "to: 8.0.0.0/6"],
    ["to: \"a?.test\"", "to: \"a*.test\""],
    ["to: \"a*.test\"", "to: .a.test"],
    ["to: .corp.test", "to: branch"],
    ["ports: [1-100, 102-1000]", "ports: 90-110"],
    ["ports: 80, when: { days: mon }", "ports: 80, when: { days: mon-tue }"],
    [
      "ports: 80, when: { days: tue, hours: \"00:00-06:00\" }",
      "ports: 80, when: { days: tue, hours: \"22:00-06:00\" }"
    ],
    [
      "ports: 80, when: { days: mon-tue, zone: Europe/Berlin }",
      "ports: 80, when: { days: mon, zone: Asia/Tokyo }"
    ],
    ["ports: 80, not: { when: { days: sun } }", "ports: 80, when: { days: sat, hours: \"22:00-06:00\" }"],
    // A lookup has no port, and a client may ask to be connected to port 0.
    ["ports: 1-65535", "users: ann"],
    ["ports: 1-65535", "commands: connect"],
    ["ports: 1-65535, action: allow", "commands: bind"],
    // It decides whether a port is opened at all.
    ["ports: 1-65535", "commands: associate"],
    ["to: [0.0.0.0/0, \"::/0\"]", "users: ann"],
    ["to: 0.0.0.0/0", "to: a.test"],
    ["clients: 0.0.0.0/0", "users: ann"],
    ["commands: [connect, bind, associate, forward]", "to: a.test"],
    ["listeners: \"127.0.0.1:1080\"", "users: ann"],
    ["to: [10.0.0.0/9, 10.128.0.0/10]", "to: 10.0.0.0/8"],
    ["not: { ports: 80 }", "ports: [443, 80]"],
    ["not: { ports: 80 }", "users: ann"],
    ["not: { groups: staff }", "groups: guests"],
    ["not: { users: ann }", "groups: guests"],
    ["not: { to: a.test }", "to: 192.0.2.0/24"],
    ["not: { to: 10.0.0.0/8 }", "to: a.test"],
    ["not: { to: \"*.ads.*\" }", "to: .ads.test"],
    ["not: { to: 10.0.0.0/8 }, action: allow", "to: 192.0.2.0/24"],
    ["not: { to: \"64:ff9b::/96\" }", "to: 192.0.2.0/24"],
    ["not: { clients: 10.0.0.0/8 }", "clients: 10.1.0.0/16"],
    ["ports: 80, not: { users: [ann, bob] }", "ports: 80, not: { users: ann }"],
    ["ports: 80, not: { to: 10.0.0.0/8 }, action: allow", "ports: 80, not: { to: 10.0.0.0/8 }"]
  ])("are not those that match more: %s, then %s", ([earlier, later]) =>
    Effect.gen(function*() {
      assert.notInclude((yield* dead(earlier, later)).map(({ index }) => index), 1)
    }))

  it.effect.each<readonly [later: string, why: string, ...earlier: ReadonlyArray<string>]>([
    ["users: [ann, bob]", "rule 1 and rule 3", "users: ann", "users: carl", "users: [dan, bob]"],
    ["ports: 50-150", "rule low and rule 2", "ports: 1-99, action: allow, name: low", "ports: 100-200"],
    ["to: [10.1.0.0/16, a.test]", "rule 1 and rule 2", "to: .test", "to: 10.0.0.0/8", "to: 192.0.2.0/24"],
    ["to: 10.0.0.0/8", "rule 1 and rule 3", "to: 10.0.0.0/9", "to: 10.128.0.0/10", "to: 10.128.0.0/9"],
    ["users: ann", "rule 1, rule 2 and rule 3", "protocols: http", "protocols: socks5", "protocols: socks4"],
    ["users: ann", "rule 1 and rule 2", "clients: 0.0.0.0/0", "clients: \"::/0\""],
    ["to: branch, ports: 80", "rule 1 and rule 2", "to: .corp.test", "to: 10.0.0.0/8, ports: 1-100"],
    [
      "ports: 1-6",
      "rule 1, rule 2, rule 3, rule 4 and 2 more",
      ...[1, 2, 3, 4, 5, 6].map((port) => `ports: ${port}`)
    ]
  ])(
    "are covered by several before that differ in one condition: %s",
    ([later, why, ...earlier]) =>
      Effect.gen(function*() {
        const found = yield* dead(...earlier, later)
        assert.deepStrictEqual(found, [{ index: earlier.length, why: `${why} before it match all that it would` }])
      })
  )

  it.effect.each<readonly [later: string, ...earlier: ReadonlyArray<string>]>([
    ["users: [ann, bob], ports: [80, 443]", "users: ann, ports: 80", "users: bob, ports: 443"],
    ["users: [ann, bob]", "users: ann", "users: bob, shadow: true"],
    ["users: [ann, bob]", "users: ann", "users: bob, not: { ports: 80 }"],
    ["ports: 50-150", "ports: 1-99", "ports: 101-200"]
  ])("are not those of which several before leave something: %s", ([later, ...earlier]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* dead(...earlier, later), [])
    }))

  it.effect.each<readonly [rule: string, key: keyof Conditions | "not", why: string]>([
    [
      "protocols: http, commands: [bind, associate]",
      "commands",
      "clients that speak http ask for nothing but connect, forward"
    ],
    [
      "protocols: [socks4, http], commands: resolve",
      "commands",
      "clients that speak socks4, http ask for nothing but connect, bind, forward"
    ],
    ["commands: [resolve, resolve-ptr], ports: 80", "ports", "lookups ask for no port"],
    ["protocols: socks5, commands: [resolve, forward], ports: 80", "ports", "lookups ask for no port"],
    ["not: { protocols: [socks5, socks4, http] }", "not", "excepts all of it by its protocols"],
    ["users: ann, not: { when: { days: mon-sun } }", "not", "excepts all of it by its when"],
    ["when: { days: tue }, not: { when: { days: mon-fri } }", "not", "excepts all of it by its when"],
    ["not: { clients: [0.0.0.0/0, \"::/0\"] }", "not", "excepts all of it by its clients"],
    ["protocols: http, not: { ports: 1-65535 }", "not", "excepts all of it by its ports"],
    ["protocols: http, not: { commands: [connect, forward] }", "not", "excepts all of it by its commands"],
    ["users: ann, not: { users: [bob, ann] }", "not", "excepts all of it by its users"],
    ["to: [a.test, .b.test], not: { to: .test }", "not", "excepts all of it by its to"],
    ["to: 10.1.0.0/16, not: { to: office }, action: allow", "not", "excepts all of it by its to"]
  ])("are those that nothing can meet: %s", ([rule, key, why]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* dead(rule), [{ index: 0, key, why }])
    }))

  it.effect.each([
    "protocols: http, commands: [bind, connect]",
    "commands: [resolve, connect], ports: 80",
    "users: [ann, bob], not: { users: ann }",
    "users: ann, not: { ports: 80 }",
    "not: { ports: 1-65535 }",
    "not: { when: { days: mon-sat } }",
    "not: { listeners: \"127.0.0.1:1080\" }",
    // It denies what an IPv6 address carries, and excepts nothing of that.
    "to: 10.1.0.0/16, not: { to: office }"
  ])("are not those that something can meet: %s", (rule) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* dead(rule), [])
    }))

  it.effect("are those for protocols that can't be spoken", () =>
    Effect.gen(function*() {
      const rules = yield* rulesOf("protocols: http", "protocols: [http, socks5]", "commands: forward")
      assert.deepStrictEqual(DeadRules.find(rules), [
        { index: 2, why: "rule 1 before it matches all that it would" }
      ])
      assert.deepStrictEqual(DeadRules.find(rules, { protocols: ["socks5", "socks4"] }), [
        { index: 0, key: "protocols", why: "clients can speak nothing but socks5, socks4 here" },
        {
          index: 2,
          key: "commands",
          why: "clients that speak socks5, socks4 ask for nothing but connect, bind, associate, resolve, resolve-ptr"
        }
      ])
    }))

  it.effect("are those for users and groups where nobody can have a name, or be in a group", () =>
    Effect.gen(function*() {
      const rules = yield* rulesOf("users: ann", "groups: staff", "not: { users: ann, groups: staff }", "ports: 80")
      assert.deepStrictEqual(DeadRules.find(rules), [])
      const why = "there are no users, as far as is known here"
      const groups = { index: 1, key: "groups", why } as const
      const last = { index: 3, why: "rule 3 before it matches all that it would" }
      assert.deepStrictEqual(DeadRules.find(rules, { haveGroups: false }), [groups])
      assert.deepStrictEqual(DeadRules.find(rules, { haveGroups: false, haveNames: false }), [
        { index: 0, key: "users", why },
        groups,
        last
      ])
    }))

  it.effect("are those that all listeners except", () =>
    Effect.gen(function*() {
      const rules = yield* rulesOf("not: { listeners: \"127.0.0.1:1080\" }")
      assert.deepStrictEqual(DeadRules.find(rules, { listeners: ["127.0.0.1:1080"] }), [
        { index: 0, key: "not", why: "excepts all of it by its listeners" }
      ])
    }))

  it.effect("are not denials of what an IPv6 address carries, which allowances of a network leave", () =>
    Effect.gen(function*() {
      const [wide] = yield* rulesOf("to: 10.0.0.0/8")
      const [narrow] = yield* rulesOf("to: 10.1.0.0/16")
      assert.isDefined(wide)
      assert.isDefined(narrow)
      const rules: ReadonlyArray<Rule> = [{ ...wide, action: "allow" }, narrow]
      assert.deepStrictEqual(DeadRules.find(rules), [])
      const request = {
        client: undefined,
        user: undefined,
        destination: Host.hostPortFromStringUnsafe("[64:ff9b::a01:1]:80")
      }
      assert.strictEqual(RuleEngine.compile(rules, "allow").decide(request, undefined, 0).index, 1)
    }))

  it.effect("are those with nothing to match", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* dead("users: []", "to: none", "clients: [none]", "to: [none, a.test]"), [
        { index: 0, key: "users", why: "has nothing in it" },
        { index: 1, key: "to", why: "has nothing in it: list none" },
        { index: 2, key: "clients", why: "has no network in it: list none" }
      ])
    }))
})
