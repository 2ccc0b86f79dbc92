import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Host from "effect/net/Host"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import { AccessDenied, AccessPolicy, type AccessRequest, type Verdict } from "../../src/policy/AccessPolicy.ts"
import type * as InternalNetworks from "../../src/policy/InternalNetworks.ts"
import * as List from "../../src/policy/List.ts"
import type { Rule } from "../../src/policy/Rule.ts"
import * as RuleEngine from "../../src/policy/RuleEngine.ts"
import * as Rules from "../../src/policy/Rules.ts"
import * as TimeWindow from "../../src/policy/TimeWindow.ts"

const ip = NetAddress.ipFromStringUnsafe
const entries = (...texts: ReadonlyArray<string>) => texts.map((text) => Result.getOrThrow(List.entryFromString(text)))

const request = (destination: string, more: Partial<AccessRequest> = {}): AccessRequest => ({
  client: NetAddress.inetAddressUnsafe(ip("198.51.100.7"), 40000),
  user: "ann",
  destination: Host.hostPortFromStringUnsafe(destination),
  ...more
})

const ownAddresses = Effect.succeed([ip("203.0.113.5")])

const layer = (
  rules: ReadonlyArray<Rule>,
  fallback: Rule["action"] = "allow",
  internal: InternalNetworks.Options = {}
) => Rules.layer(RuleEngine.compile(rules, fallback), { ownAddresses, ...internal })

const outcome = (judged: Effect.Effect<Verdict, AccessDenied>) =>
  Effect.match(judged, {
    onFailure: ({ reply, rule }) => `denied: ${rule}${reply === undefined ? "" : ` (${reply})`}`,
    onSuccess: ({ rule, undecided }) => undecided === true ? "undecided" : `allowed: ${rule}`
  })

const authorize = (asked: AccessRequest) => Effect.flatMap(AccessPolicy, (policy) => outcome(policy.authorize(asked)))

const authorizeAddress = (asked: AccessRequest, address: string) =>
  Effect.flatMap(AccessPolicy, (policy) => outcome(policy.authorizeAddress(asked, ip(address))))

/** How addresses are judged by a single allowance of this rule; all else is denied. */
const opened = (rule: Omit<Rule, "action">, ...addresses: ReadonlyArray<string>) =>
  Effect.forEach(addresses, (address) => authorizeAddress(request("site.test:80"), address)).pipe(
    Effect.provide(layer([{ ...rule, action: "allow" }], "deny"))
  )

/** The fields of the lines about shadow rules. */
const heard = () => {
  const lines: Array<unknown> = []
  const logger = Logger.make<unknown, void>(({ message }) => {
    if (Array.isArray(message) && message[0] === "shadow rule matched") lines.push(message[1])
  })
  return { lines, layer: Logger.layer([logger]) }
}

describe("Rules", () => {
  it.effect("denies in the words of the rule, with its reply", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* authorize(request("db.corp:5432")), "denied: rule no-databases (5)")
      assert.strictEqual(yield* authorize(request("db.corp:80")), "allowed: rule 2")
      assert.strictEqual(yield* authorize(request("site.test:80")), "denied: default deny")
      const denial = yield* Effect.flatMap(AccessPolicy, (policy) =>
        Effect.flip(policy.authorize(request("db.corp:5432"))))
      assert.deepStrictEqual(denial, new AccessDenied({ rule: "rule no-databases", reply: 5, log: "Debug" }))
    }).pipe(Effect.provide(layer([
      {
        name: "no-databases",
        conditions: { ports: [{ from: 5432, to: 5432 }] },
        action: "deny",
        reply: 5,
        log: "Debug"
      },
      { conditions: { to: entries(".corp") }, action: "allow" }
    ], "deny"))))

  it.effect("judges a name before it is looked up, and each address after", () =>
    Effect.gen(function*() {
      const asked = request("site.test:80")
      assert.strictEqual(yield* authorize(asked), "undecided")
      assert.strictEqual(yield* authorizeAddress(asked, "192.0.2.80"), "allowed: rule 1")
      assert.strictEqual(yield* authorizeAddress(asked, "192.0.3.80"), "denied: default deny")
      // A literal is decided at once.
      assert.strictEqual(yield* authorize(request("192.0.2.80:80")), "allowed: rule 1")
      assert.strictEqual(yield* authorize(request("192.0.3.80:80")), "denied: default deny")
    }).pipe(Effect.provide(layer([{ conditions: { to: entries("192.0.2.0/24") }, action: "allow" }], "deny"))))

  it.effect("goes by the clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-22T23:59:00Z"))
      assert.strictEqual(yield* authorize(request("site.test:80")), "denied: rule 1")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* authorize(request("site.test:80")), "allowed: default allow")
    }).pipe(Effect.provide(layer([{
      conditions: { when: Result.getOrThrow(TimeWindow.make({ days: [0], zone: "UTC" })) },
      action: "deny"
    }]))))

  describe("internal networks", () => {
    const inside = "denied: internal network 10.0.0.0/8 (private)"
    const own = "denied: own address 203.0.113.5"

    it.effect("stay closed whatever is allowed", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* opened({ conditions: {} }, "10.1.2.3", "203.0.113.5", "192.0.2.1"), [
          inside,
          own,
          "allowed: rule 1"
        ])
        assert.deepStrictEqual(yield* opened({ conditions: { to: entries("site.test") } }, "10.1.2.3"), [inside])
        const byDefault = authorizeAddress(request("site.test:80"), "10.1.2.3")
        assert.strictEqual(yield* Effect.provide(byDefault, layer([])), inside)
      }))

    it.effect("are opened by a rule that says so", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* opened({ conditions: {}, internal: true }, "10.1.2.3", "203.0.113.5", "::1"), [
          "allowed: rule 1",
          "allowed: rule 1",
          "allowed: rule 1"
        ])
      }))

    it.effect("are opened by a rule that names them, and no further", () =>
      Effect.gen(function*() {
        const named = { conditions: { to: entries("10.1.0.0/16", "203.0.113.0/24", "site.test") } }
        assert.deepStrictEqual(yield* opened(named, "10.1.2.3", "10.2.2.3", "203.0.113.5", "192.168.1.1"), [
          "allowed: rule 1",
          inside,
          "allowed: rule 1",
          "denied: internal network 192.168.0.0/16 (private)"
        ])
        const list = List.List.make("office", entries("10.1.0.0/16"))
        assert.deepStrictEqual(yield* opened({ conditions: { to: [list] } }, "10.1.2.3"), ["allowed: rule 1"])
      }))

    it.effect("are not what is meant by networks that are wider than they are", () =>
      Effect.gen(function*() {
        const everything = { conditions: { to: entries("0.0.0.0/0", "::/0") } }
        assert.deepStrictEqual(yield* opened(everything, "10.1.2.3", "203.0.113.5", "192.0.2.1", "fe80::1"), [
          inside,
          own,
          "allowed: rule 1",
          "denied: internal network fe80::/10 (link-local)"
        ])
        assert.deepStrictEqual(yield* opened({ conditions: { to: entries("10.0.0.0/7") } }, "10.1.2.3"), [inside])
      }))

    it.effect("are judged by what an address carries", () =>
      Effect.gen(function*() {
        // Both lead to 10.0.0.1, where the translator is. A network alone means addresses as they are written.
        const forms = ["64:ff9b::a00:1", "2002:a00:1::"]
        const byName = { conditions: { to: entries("site.test") } }
        assert.deepStrictEqual(yield* opened(byName, ...forms, "0.0.0.0"), [
          inside,
          inside,
          "denied: internal network 127.0.0.0/8 (loopback)"
        ])
        const byNetwork = { conditions: { to: entries("10.0.0.0/8") } }
        assert.deepStrictEqual(yield* opened(byNetwork, ...forms), ["denied: default deny", "denied: default deny"])
        const byBoth = { conditions: { to: entries("10.0.0.0/8", "site.test") } }
        assert.deepStrictEqual(yield* opened(byBoth, ...forms), ["allowed: rule 1", "allowed: rule 1"])
      }))

    it.effect("are as open as the options say, and to who is here", () =>
      Effect.gen(function*() {
        const asked = request("site.test:80")
        const here = request("site.test:80", { client: NetAddress.inetAddressUnsafe(ip("127.0.0.1"), 1) })
        const at = (who: AccessRequest, internal?: InternalNetworks.Options) =>
          Effect.provide(authorizeAddress(who, "10.1.2.3"), layer([], "allow", internal))
        const allow = [IpNetwork.fromStringUnsafe("10.1.0.0/16")]
        assert.strictEqual(yield* at(asked, { allow }), "allowed: default allow")
        assert.strictEqual(yield* at(asked, { allowPrivate: true }), "allowed: default allow")
        assert.strictEqual(yield* at(asked), inside)
        assert.strictEqual(yield* at(here), "allowed: default allow")
        // Rules are for all.
        const denied = Effect.provide(authorize(here), layer([{ conditions: {}, action: "deny" }]))
        assert.strictEqual(yield* denied, "denied: rule 1")
      }))
  })

  it.effect("takes other rules while it is asked", () =>
    Effect.gen(function*() {
      const rules = yield* Rules.Rules
      const asked = request("site.test:80")
      assert.strictEqual(yield* authorize(asked), "allowed: default allow")
      const next = RuleEngine.compile([{ name: "closed", conditions: {}, action: "deny" }], "allow")
      yield* rules.replace(next)
      assert.strictEqual(yield* rules.current, next)
      assert.strictEqual(yield* authorize(asked), "denied: rule closed")
    }).pipe(Effect.provide(layer([]))))

  it.effect("takes other internal networks with them, if there are some", () =>
    Effect.gen(function*() {
      const rules = yield* Rules.Rules
      const asked = request("10.1.2.3:80")
      const empty = RuleEngine.compile([], "allow")
      assert.strictEqual(yield* authorize(asked), "denied: internal network 10.0.0.0/8 (private)")
      yield* rules.replace(empty, { ownAddresses, allowPrivate: true })
      assert.strictEqual(yield* authorize(asked), "allowed: default allow")
      yield* rules.replace(empty)
      assert.strictEqual(yield* authorize(asked), "allowed: default allow")
    }).pipe(Effect.provide(layer([]))))

  describe("shadow rules", () => {
    const trial: Rule = { name: "trial", conditions: { users: ["ann"] }, action: "deny", shadow: true }

    it.effect("decide nothing, and are told of at most once a second", () => {
      const { layer: logger, lines } = heard()
      return Effect.gen(function*() {
        const rules = yield* Rules.Rules
        for (let count = 0; count < 5; count++) {
          assert.strictEqual(yield* authorize(request(`site${count}.test:80`)), "allowed: default allow")
        }
        const fields = { rule: "rule trial", would: "deny", user: "ann", client: "198.51.100.7:40000" }
        const first = { ...fields, count: 1, destination: "site0.test:80" }
        assert.deepStrictEqual(lines, [first])
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(lines.length, 1)
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(lines, [first, { ...fields, count: 4, destination: "site4.test:80" }])
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(lines.length, 2)
        yield* authorize(request("late.test:80"))
        assert.strictEqual(lines.length, 3)
        assert.deepStrictEqual([...yield* rules.shadowed], [["rule trial", 6]])
      }).pipe(Effect.provide(Layer.merge(layer([trial]), logger)))
    })

    it.effect("count a request once, however many addresses are judged for it", () => {
      const { layer: logger, lines } = heard()
      return Effect.gen(function*() {
        const rules = yield* Rules.Rules
        const asked = request("site.test:80")
        yield* authorize(asked)
        yield* authorizeAddress(asked, "192.0.2.1")
        yield* authorizeAddress(asked, "192.0.2.2")
        assert.deepStrictEqual([...yield* rules.shadowed], [["rule trial", 1]])
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(lines.length, 1)
      }).pipe(Effect.provide(Layer.merge(layer([trial]), logger)))
    })

    it.effect("say what an allowance would have done, and know nothing of who is unknown", () => {
      const { layer: logger, lines } = heard()
      const allowance: Rule = { conditions: {}, action: "allow", via: "pool-de", shadow: true }
      return Effect.gen(function*() {
        yield* authorize(request("site.test:80", { user: undefined, client: undefined }))
        assert.deepStrictEqual(lines, [
          { rule: "rule 1", would: "allow via pool-de", count: 1, destination: "site.test:80" }
        ])
      }).pipe(Effect.provide(Layer.merge(layer([allowance]), logger)))
    })
  })
})
