import { assert, describe, it } from "@effect/vitest"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { AccessRequest } from "../../src/policy/AccessPolicy.ts"
import * as List from "../../src/policy/List.ts"
import type { Conditions, Rule } from "../../src/policy/Rule.ts"
import * as RuleEngine from "../../src/policy/RuleEngine.ts"
import * as TimeWindow from "../../src/policy/TimeWindow.ts"
import * as Egress from "../../src/transport/Egress.ts"

const ip = NetAddress.ipFromStringUnsafe
const entry = (text: string): List.Entry => Result.getOrThrow(List.entryFromString(text))
const to = (...texts: ReadonlyArray<string>) => texts.map(entry)
const networks = (...texts: ReadonlyArray<string>) => to(...texts).filter((item) => item._tag === "IpNetwork")
const list = (name: string, ...texts: ReadonlyArray<string>) => List.List.make(name, to(...texts))

/** A Sunday noon in UTC. */
const noon = Date.parse("2026-11-22T12:00:00Z")

const request = (destination: string, more: Partial<AccessRequest> = {}): AccessRequest => ({
  client: NetAddress.inetAddressUnsafe(ip("192.0.2.5"), 40000),
  user: "ann",
  groups: ["staff"],
  listener: "127.0.0.1:1080",
  protocol: "socks5",
  command: "connect",
  destination: Host.hostPortFromStringUnsafe(destination),
  ...more
})

const deny = (conditions: Conditions, more: Partial<Rule> = {}): Rule => ({ conditions, action: "deny", ...more })
const allow = (conditions: Conditions, more: Partial<Rule> = {}): Rule => ({ conditions, action: "allow", ...more })

/** `deny rule 1`, and a `?` where addresses may change that. */
const decide = (
  rules: ReadonlyArray<Rule>,
  asked: AccessRequest,
  address?: string,
  fallback: Rule["action"] = "allow"
) => {
  const { action, rule, undecided } = RuleEngine.compile(rules, fallback)
    .decide(asked, address === undefined ? undefined : ip(address), noon)
  return `${action} by ${rule}${undecided ? "?" : ""}`
}

const verdictOf = (...rules: ReadonlyArray<Rule>) =>
  RuleEngine.compile(rules, "allow").decide(request("site.test:443"), undefined, noon).verdict

const window = (days: string) =>
  Result.getOrThrow(TimeWindow.make({ days: Result.getOrThrow(TimeWindow.daysFromString(days)), zone: "UTC" }))

const office = list("office", "10.0.0.0/8", "intra.test")

interface Case {
  readonly conditions: Conditions
  readonly matches: ReadonlyArray<readonly [asked: AccessRequest, address?: string]>
  readonly others: ReadonlyArray<readonly [asked: AccessRequest, why: string, address?: string]>
}

const site = (more: Partial<AccessRequest>) => request("site.test:443", more)
const client = (address: string) => site({ client: NetAddress.inetAddressUnsafe(ip(address), 1) })

const cases: Readonly<Record<string, Case>> = {
  "users": {
    conditions: { users: ["ann", "bob"] },
    matches: [[site({})], [site({ user: "bob" })]],
    others: [
      [site({ user: "eve" }), "user eve is none of ann, bob"],
      [site({ user: undefined }), "user (none) is none of ann, bob"]
    ]
  },
  "groups": {
    conditions: { groups: ["staff"] },
    matches: [[site({})], [site({ groups: ["other", "staff"] })]],
    others: [
      [site({ groups: ["other", "more"] }), "group other, more is not staff"],
      [site({ groups: [] }), "group (none) is not staff"],
      [site({ groups: undefined }), "group (none) is not staff"]
    ]
  },
  "clients": {
    conditions: { clients: [...networks("192.0.2.0/24", "2001:db8::/32"), office] },
    matches: [[client("192.0.2.9")], [client("::ffff:192.0.2.9")], [client("2001:db8::1")], [client("10.1.1.1")]],
    others: [
      [client("198.51.100.1"), "client 198.51.100.1 is in none of 192.0.2.0/24, 2001:db8::/32, office"],
      [site({ client: undefined }), "client (no address) is in none of 192.0.2.0/24, 2001:db8::/32, office"]
    ]
  },
  "listeners": {
    conditions: { listeners: ["unix:/run/sluice"] },
    matches: [[site({ listener: "unix:/run/sluice" })]],
    others: [[site({}), "listener 127.0.0.1:1080 is not unix:/run/sluice"]]
  },
  "protocols": {
    conditions: { protocols: ["http"] },
    matches: [[site({ protocol: "http" })]],
    others: [[site({}), "protocol socks5 is not http"], [site({ protocol: undefined }), "protocol (none) is not http"]]
  },
  "commands": {
    conditions: { commands: ["bind", "associate"] },
    matches: [[site({ command: "bind" })]],
    others: [[site({}), "command connect is none of bind, associate"]]
  },
  "networks": {
    conditions: { to: to("10.0.0.0/8", "192.0.2.7") },
    matches: [[request("10.1.2.3:80")], [request("192.0.2.7:80")], [site({}), "10.1.2.3"]],
    others: [
      [request("192.0.2.8:80"), "192.0.2.8 is in none of 10.0.0.0/8, 192.0.2.7/32"],
      [site({}), "site.test (11.1.1.1) is in none of 10.0.0.0/8, 192.0.2.7/32", "11.1.1.1"]
    ]
  },
  "domains": {
    conditions: { to: to("exact.test", ".corp", "*.db.*") },
    matches: [
      [request("exact.test:80")],
      [request("EXACT.test.:80"), "10.1.1.1"],
      [request("corp:80")],
      [request("a.b.corp:80")],
      [request("x.db.y:80")]
    ],
    others: [
      [request("a.exact.test:80"), "a.exact.test is in none of exact.test, .corp, *.db.*"],
      [request("xcorp:80"), "xcorp (10.1.1.1) is in none of exact.test, .corp, *.db.*", "10.1.1.1"],
      [request("10.1.1.1:80"), "10.1.1.1 is in none of exact.test, .corp, *.db.*"]
    ]
  },
  "networks and domains": {
    conditions: { to: to("10.0.0.0/8", ".corp") },
    matches: [[request("a.corp:1")], [request("a.corp:1"), "11.1.1.1"], [site({}), "10.1.1.1"], [
      request("10.1.1.1:1")
    ]],
    others: [[site({}), "site.test (11.1.1.1) is in none of 10.0.0.0/8, .corp", "11.1.1.1"]]
  },
  "lists": {
    conditions: { to: [office] },
    matches: [[request("intra.test:1")], [request("10.1.1.1:1")], [site({}), "10.1.1.1"]],
    others: [[site({}), "site.test (11.1.1.1) is not in office", "11.1.1.1"]]
  },
  "ports": {
    conditions: { ports: [{ from: 80, to: 443 }, { from: 5432, to: 5432 }] },
    matches: [[request("a.test:80")], [request("a.test:443")], [request("a.test:5432")]],
    others: [[request("a.test:79"), "port 79 is none of 80-443, 5432"], [
      request("a.test:444"),
      "port 444 is none of 80-443, 5432"
    ]]
  },
  "days of the week": {
    conditions: { when: window("sun") },
    matches: [[site({})]],
    others: []
  },
  "other days of the week": {
    conditions: { when: window("mon-fri") },
    matches: [],
    others: [[site({}), "it is sun 12:00 in UTC, which is not mon, tue, wed, thu, fri 00:00-24:00"]]
  },
  "several, which have to hold together": {
    conditions: { users: ["ann"], ports: [{ from: 443, to: 443 }], to: to(".test") },
    matches: [[site({})]],
    others: [
      [site({ user: "bob" }), "user bob is not ann"],
      [request("site.test:80"), "port 80 is not 443"],
      [request("site.example:443"), "site.example is not in .test"]
    ]
  }
}

describe("RuleEngine", () => {
  for (const [name, { conditions, matches, others }] of Object.entries(cases)) {
    it(`judges by ${name}`, () => {
      const rules = [deny(conditions)]
      for (const [asked, address] of matches) {
        assert.strictEqual(decide(rules, asked, address), "deny by rule 1", Host.formatHostPort(asked.destination))
      }
      for (const [asked, why, address] of others) {
        assert.strictEqual(decide(rules, asked, address), "allow by default allow")
        const explained = RuleEngine.compile(rules, "allow")
          .explain(asked, address === undefined ? [] : [ip(address)], noon).at(-1)
        assert.deepStrictEqual(explained?.steps, [{ rule: "rule 1", index: 0, outcome: "passed over", why }])
      }
    })

    // Of several, any one keeps a rule from matching: that is another thing.
    if (Object.keys(conditions).length > 1) continue
    it(`judges by the opposite of ${name}`, () => {
      // An allowance's exceptions and a denial's conditions look at addresses alike.
      const rules = [allow({}, { not: conditions })]
      for (const [asked, address] of matches) {
        assert.strictEqual(decide(rules, asked, address, "deny"), "deny by default deny")
      }
      for (const [asked, , address] of others) {
        assert.strictEqual(decide(rules, asked, address, "deny"), "allow by rule 1")
      }
    })
  }

  it("lets the first that matches decide, else the default", () => {
    const rules = [deny({ users: ["bob"] }, { name: "no-bob" }), allow({ to: to(".test") }), deny({})]
    assert.strictEqual(decide(rules, site({ user: "bob" })), "deny by rule no-bob")
    assert.strictEqual(decide(rules, site({})), "allow by rule 2")
    assert.strictEqual(decide(rules, request("a.example:1")), "deny by rule 3")
    assert.strictEqual(decide([], site({}), undefined, "deny"), "deny by default deny")
    assert.strictEqual(decide([], site({}), undefined, "allow"), "allow by default allow")
  })

  it("has any condition of not keep a rule from matching", () => {
    const rules = [deny({}, { not: { users: ["ann"], to: to("ok.corp") } })]
    assert.strictEqual(decide(rules, request("a.test:1")), "allow by default allow")
    assert.strictEqual(decide(rules, request("ok.corp:1", { user: "bob" })), "allow by default allow")
    assert.strictEqual(decide(rules, request("a.test:1", { user: "bob" })), "deny by rule 1")
    const [explained] = RuleEngine.compile(rules, "allow").explain(request("a.test:1"), [], noon)
    assert.strictEqual(explained?.steps[0]?.why, "user ann is excepted by not")
  })

  it("holds nothing of a list that is empty, or of conditions without items", () => {
    assert.strictEqual(decide([deny({ to: [list("empty")] })], site({})), "allow by default allow")
    assert.strictEqual(decide([deny({ users: [] })], site({})), "allow by default allow")
  })

  describe("a name that is not looked up", () => {
    const inside = deny({ to: to("10.0.0.0/8") }, { name: "inside" })

    it("is denied at once where nothing before waits for the address", () => {
      assert.strictEqual(decide([deny({ to: to(".test") }), inside], site({})), "deny by rule 1")
    })

    it("stays undecided where something before waits for the address", () => {
      const rules = [allow({ to: to("10.0.0.0/8") }, { name: "inside" }), deny({})]
      assert.strictEqual(decide(rules, site({})), "deny by rule 2?")
      assert.strictEqual(decide(rules, site({}), "10.1.1.1"), "allow by rule inside")
      assert.strictEqual(decide(rules, site({}), "11.1.1.1"), "deny by rule 2")
    })

    it("does not wait for rules that can't match otherwise", () => {
      const rules = [
        allow({ to: to("10.0.0.0/8"), users: ["bob"] }),
        allow({
          to: to("10.0.0.0/8"),
          ports: [{ from: 1, to: 2 }]
        }),
        deny({})
      ]
      assert.strictEqual(decide(rules, site({})), "deny by rule 3")
    })

    it("waits for exceptions that need the address", () => {
      const rules = [deny({ to: to(".test") }, { not: { to: to("192.0.2.0/24") } })]
      assert.strictEqual(decide(rules, site({})), "allow by default allow?")
      assert.strictEqual(decide(rules, site({}), "192.0.2.1"), "allow by default allow")
      assert.strictEqual(decide(rules, site({}), "198.51.100.1"), "deny by rule 1")
    })

    it("goes to no upstreams as it is while something waits", () => {
      assert.deepStrictEqual(verdictOf(inside, allow({}, { via: "pool-de" })), {
        rule: "rule 2",
        via: "pool-de",
        undecided: true
      })
      assert.deepStrictEqual(verdictOf(allow({}, { via: "pool-de" }), inside), { rule: "rule 1", via: "pool-de" })
      assert.deepStrictEqual(verdictOf(inside, allow({})), { rule: "rule 2", undecided: true })
      assert.deepStrictEqual(verdictOf(inside, allow({}, { via: "direct" })), {
        rule: "rule 2",
        via: "direct",
        undecided: true
      })
      assert.deepStrictEqual(verdictOf(inside, deny({})), { undecided: true })
      assert.deepStrictEqual(verdictOf(allow({}), inside), { rule: "rule 1" })
    })
  })

  it("takes what an IPv6 address carries for what denies, not for what allows", () => {
    const nat64 = request("[64:ff9b::c000:201]:80")
    const network = { to: to("192.0.2.0/24") }
    assert.strictEqual(decide([deny(network)], nat64), "deny by rule 1")
    assert.strictEqual(decide([allow(network)], nat64, undefined, "deny"), "deny by default deny")
    assert.strictEqual(decide([deny({}, { not: network })], nat64), "deny by rule 1")
    assert.strictEqual(decide([allow({}, { not: network })], nat64, undefined, "deny"), "deny by default deny")
    // The mapped form is no other address.
    assert.strictEqual(decide([allow(network)], site({}), "::ffff:192.0.2.1", "deny"), "allow by rule 1")
  })

  it("says how what is allowed is served, with one object for each rule", () => {
    const egress = Egress.make([ip("192.0.2.9")])
    const how = { via: "pool-de", egress, limits: "heavy", log: "Debug", proxyHeader: true } as const
    const engine = RuleEngine.compile([allow({}, { name: "all", ...how })], "deny")
    const { verdict } = engine.decide(site({}), undefined, noon)
    assert.deepStrictEqual(verdict, { rule: "rule all", ...how })
    assert.strictEqual(engine.decide(request("10.1.1.1:1"), undefined, noon).verdict, verdict)
  })

  it("says how a denial is answered", () => {
    const engine = RuleEngine.compile([deny({ users: ["ann"] }, { reply: 5, log: "None" }), deny({})], "deny")
    const { reply, verdict } = engine.decide(site({}), undefined, noon)
    assert.deepStrictEqual([reply, verdict.log], [5, "None"])
    assert.strictEqual(engine.decide(site({ user: "bob" }), undefined, noon).reply, undefined)
  })

  it("only watches shadow rules that come before the one that decides", () => {
    const rules = [
      deny({ to: to("10.0.0.0/8") }, { shadow: true }),
      deny({ users: ["ann"] }, { shadow: true }),
      allow({ to: to(".test") }),
      deny({}, { shadow: true })
    ]
    const engine = RuleEngine.compile(rules, "deny")
    const seen = (asked: AccessRequest, address?: string) => {
      const { rule, shadows, undecided } = engine.decide(asked, address === undefined ? undefined : ip(address), noon)
      return [rule, undecided, ...shadows]
    }
    assert.deepStrictEqual(seen(site({})), ["rule 3", false, 1])
    assert.deepStrictEqual(seen(site({}), "10.1.1.1"), ["rule 3", false, 0, 1])
    assert.deepStrictEqual(seen(request("a.example:1", { user: "bob" })), ["default deny", false, 3])
  })

  it("explains what becomes of each rule, as a name and at each address", () => {
    const rules = [
      deny({ users: ["bob"] }, { name: "no-bob" }),
      deny({ ports: [{ from: 443, to: 443 }] }, { name: "trial", shadow: true }),
      deny({ to: to("10.0.0.0/8") }, { name: "inside" }),
      allow({ to: to(".test") }),
      deny({}, { name: "rest" })
    ]
    const explained = RuleEngine.compile(rules, "deny").explain(site({}), [ip("10.1.1.1"), ip("192.0.2.1")], noon)
    assert.deepStrictEqual(
      explained.map(({ address, decision, steps }) => [
        address && NetAddress.formatIp(address),
        decision.rule,
        steps.map(({ outcome, rule, why }) => `${rule}: ${outcome}${why && `, ${why}`}`)
      ]),
      [
        [
          undefined,
          "rule 4",
          [
            "rule no-bob: passed over, user ann is not bob",
            "rule trial: watched",
            "rule inside: undecided, the address of site.test is not known yet",
            "rule 4: decides",
            "rule rest: not reached"
          ]
        ],
        [
          "10.1.1.1",
          "rule inside",
          [
            "rule no-bob: passed over, user ann is not bob",
            "rule trial: watched",
            "rule inside: decides",
            "rule 4: not reached",
            "rule rest: not reached"
          ]
        ],
        [
          "192.0.2.1",
          "rule 4",
          [
            "rule no-bob: passed over, user ann is not bob",
            "rule trial: watched",
            "rule inside: passed over, site.test (192.0.2.1) is not in 10.0.0.0/8",
            "rule 4: decides",
            "rule rest: not reached"
          ]
        ]
      ]
    )
    assert.strictEqual(RuleEngine.compile(rules, "deny").explain(request("10.1.1.1:1"), [], noon).length, 1)
  })

  it("names a few of many items", () => {
    const many = Array.from({ length: 1000 }, (_, index) => `user${index}`)
    const [explained] = RuleEngine.compile([deny({ users: many })], "allow").explain(site({}), [], noon)
    assert.strictEqual(
      explained?.steps[0]?.why,
      "user ann is none of user0, user1, user2, user3, user4 and 995 more"
    )
  })
})
