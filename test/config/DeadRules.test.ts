import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ConfigFile from "../../src/config/ConfigFile.ts"
import * as DeadRules from "../../src/config/DeadRules.ts"
import { List } from "../../src/policy/List.ts"
import type { Rule } from "../../src/policy/Rule.ts"
import * as RuleEngine from "../../src/policy/RuleEngine.ts"

const lists = "lists: { office: [10.0.0.0/8, .corp.test], none: [] }\n"

/** Rules as a file has them, with two lists. */
const rulesOf = Effect.fnUntraced(function*(...rules: ReadonlyArray<string>) {
  const text = `${lists}rules:\n${rules.map((rule) => `  - { ${rule}, action: deny }\n`).join("")}`
  const { config } = yield* ConfigFile.parse("sluice.yaml", text)
  const known = new Map(
    Object.entries(config.lists).map(([name, entries]) => [name, List.make(name, "file" in entries ? [] : entries)])
  )
  return ConfigFile.rulesOf(config.rules, known)
})

const dead = (...rules: ReadonlyArray<string>) => Effect.map(rulesOf(...rules), DeadRules.find)

const Some = <A extends string>(items: ReadonlyArray<A>) =>
  Schema.optionalKey(Schema.Array(Schema.Literals(items)).check(Schema.isMinLength(1), Schema.isMaxLength(3)))

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
    ["listeners: \"127.0.0.1:1080\"", "listeners: \"localhost:1080\", not: { users: ann }"]
  ])("are covered by one before: %s, then %s", ([earlier, later]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* dead(earlier, later), [{
        index: 1,
        why: "rule 1 before it matches all that it would"
      }])
    }))

  it.effect.each<readonly [earlier: string, later: string]>([
    ["ports: 80-443", "ports: [80, 8080]"],
    ["ports: 80", "users: ann"],
    ["ports: 80, not: { users: ann }", "ports: 80"],
    ["ports: 80, when: { days: mon-sun }", "ports: 80"],
    ["ports: 80, shadow: true", "ports: 80"],
    ["to: 10.1.0.0/16", "to: 10.0.0.0/8"],
    ["to: a.test", "to: .a.test"],
    ["to: \"*.db.*\"", "to: .db.test"],
    ["to: .test", "to: [a.test, 10.0.0.1]"],
    ["to: office", "to: 10.0.0.0/8, ports: 80"],
    ["to: none", "ports: 80"]
  ])("are not those that match more: %s, then %s", ([earlier, later]) =>
    Effect.gen(function*() {
      assert.notInclude((yield* dead(earlier, later)).map(({ index }) => index), 1)
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

  const RandomRule = Schema.Struct({
    users: Some(["ann", "bob"]),
    protocols: Some(["socks5", "http"]),
    ports: Some(["80", "80-443", "443", "1-65535"]),
    to: Some([
      "10.0.0.0/8",
      "10.1.0.0/16",
      "a.corp.test",
      ".corp.test",
      "\"*.corp.*\"",
      "office",
      "none",
      "192.0.2.0/24"
    ]),
    clients: Some(["10.0.0.0/8", "10.1.2.3", "office"])
  })

  const yaml = (rule: typeof RandomRule.Type): string =>
    Object.entries(rule).map(([key, items]) => `${key}: [${items.join(", ")}]`).join(", ") || "name: all"

  const requests = ["ann", "bob", "carl"].flatMap((user) =>
    ["socks5", "http"].flatMap((protocol) =>
      [80, 443, 9000].flatMap((port) =>
        ["a.corp.test", "corp.test", "x.corp.example", "10.1.2.3", "192.0.2.7"].flatMap((host) =>
          ["10.1.2.3", "192.0.2.1"].map((client) => ({
            user,
            protocol,
            client: NetAddress.inetAddressUnsafe(Result.getOrThrow(NetAddress.ipFromString(client)), 1),
            destination: Result.getOrThrow(Host.hostPort(Result.getOrThrow(Host.hostFromString(host)), port))
          }))
        )
      )
    )
  )

  const address = Result.getOrThrow(NetAddress.ipFromString("10.2.3.4"))

  it.effect.prop(
    "never decide anything",
    [Schema.Array(RandomRule).check(Schema.isMinLength(2), Schema.isMaxLength(6))],
    ([random]) =>
      Effect.gen(function*() {
        const named = random.map(yaml).map((rule, index) => rule === "name: all" ? `name: all${index}` : rule)
        const rules: ReadonlyArray<Rule> = yield* rulesOf(...named)
        const engine = RuleEngine.compile(rules, "allow")
        const found = new Set(DeadRules.find(rules).map(({ index }) => index))
        for (const request of requests) {
          assert.isFalse(found.has(engine.decide(request, address, 0).index))
          assert.isFalse(found.has(engine.decide(request, undefined, 0).index))
        }
      }),
    { arbitrary: { runs: 60 } }
  )
})
