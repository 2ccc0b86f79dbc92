import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as ProxyUrl from "../../src/client/ProxyUrl.ts"
import * as ConfigFile from "../../src/config/ConfigFile.ts"
import { escape } from "../../src/config/Escape.ts"
import * as Example from "../../src/config/Example.ts"
import * as Settings from "../../src/config/Settings.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLWV4YW1wbGU$F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk"

const parse = (text: string) => Effect.map(ConfigFile.parse("sluice.yaml", text), ({ config }) => config)

const linesOf = (text: string) => Effect.map(Effect.flip(parse(text)), ({ lines }) => lines)

const loadLines = (path: string) => Effect.map(Effect.flip(ConfigFile.load(path)), ({ lines }) => lines)

const rejects = (text: string, ...lines: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const all: ReadonlyArray<string> = yield* linesOf(text)
    assert.deepStrictEqual(all, lines.map((line) => `sluice.yaml:${line}`))
  })

/** A rule with this in it, on line 2. */
const rule = (condition: string): string => `rules:\n  - ${condition}\n    action: deny`

const folder = mkdtempSync(join(tmpdir(), "sluice-config-"))

const write = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe("a configuration file", () => {
  it.effect("bans by default, but nobody on this machine", () =>
    Effect.gen(function*() {
      const allowed = Effect.fnUntraced(function*(text: string) {
        const { bans } = yield* parse(text)
        return bans?.allow?.map(IpNetwork.format)
      })
      const loopback = ["127.0.0.0/8", "::1/128"]
      assert.deepStrictEqual(yield* allowed("{}"), loopback)
      assert.deepStrictEqual(yield* allowed("bans: { after: 3 }"), loopback)
      assert.deepStrictEqual(yield* allowed("bans: { allow: [] }"), [])
      assert.isUndefined((yield* parse("bans: off")).bans)
    }))

  it.effect("may have nothing but comments, and is never just empty", () =>
    Effect.gen(function*() {
      for (const text of ["# nothing\n", "---\n", "{}"]) {
        const config = yield* parse(text)
        assert.deepStrictEqual([config.settings, config.rules, config.default], [{}, [], "allow"])
      }
      for (const text of ["", "\n"]) {
        assert.strictEqual(
          (yield* Effect.flip(parse(text))).message,
          "sluice.yaml:1:1 is empty; write KEY: VALUE on each line, or {} for nothing but defaults"
        )
      }
    }))

  it.effect("has every setting under its key, with the text that the flag takes", () =>
    Effect.gen(function*() {
      const { settings } = yield* parse(`
listen: ["127.0.0.1:1080", "[::1]:1080"]
protocols: [socks5, http]
workers: 2
openProxy: yes
udpFragments: true
connectTimeout: 1h30m
idleTimeout: 0
bindTimeout: 5
allow: 10.20.0.0/16
logLevel: warn
maxConnections: 12000
user: [ann:sesame]
upstream: socks5h://ann:sesame@a.test
`)
      const flags = yield* Settings.decode({
        listen: ["127.0.0.1:1080", "[::1]:1080"],
        protocols: "socks5,http",
        workers: "2",
        openProxy: "yes",
        udpFragments: "true",
        connectTimeout: "1h30m",
        idleTimeout: "0",
        bindTimeout: "5s",
        allow: ["10.20.0.0/16"],
        logLevel: "warn",
        maxConnections: "12000",
        user: [Redacted.make("ann:sesame")],
        upstream: [Redacted.make("socks5h://ann:sesame@a.test")]
      })
      for (const [key, value] of Object.entries(settings)) {
        assert.deepStrictEqual(value, flags[key as keyof Settings.Settings], key)
      }
      assert.strictEqual(Object.keys(settings).length, 13)
    }))

  it.effect("is JSON as well", () =>
    Effect.gen(function*() {
      const { rules, settings } = yield* parse(
        JSON.stringify({ workers: 3, rules: [{ ports: [443], action: "deny" }] })
      )
      assert.strictEqual(settings.workers, 3)
      assert.deepStrictEqual(rules[0]?.conditions.ports, [{ from: 443, to: 443 }])
    }))

  it.effect("starts relative paths from its folder", () =>
    Effect.gen(function*() {
      const { config } = yield* ConfigFile.parse(
        "/etc/sluice/sluice.yaml",
        `
listen: ["tls://127.0.0.1:1?cert=c.pem&key=/k.pem", "unix:s.sock"]
users: users.txt
limits: { stateFile: usage.json }
lists: { ads: { file: ../ads.txt } }
`
      )
      assert.deepStrictEqual(config.settings.listen, [
        ListenAddress.tls({
          address: NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, 1),
          cert: "/etc/sluice/c.pem",
          key: "/k.pem"
        }),
        ListenAddress.unix("/etc/sluice/s.sock")
      ])
      assert.strictEqual(config.settings.users, "/etc/sluice/users.txt")
      assert.strictEqual(config.limits.stateFile, "/etc/sluice/usage.json")
      assert.deepStrictEqual(config.lists, { ads: { file: "/etc/ads.txt" } })
    }))

  it.effect("has users, limits, bans and upstreams", () =>
    Effect.gen(function*() {
      const config = yield* parse(`
users:
  - name: ann
    password: ${hash}
    groups: staff
    expires: 2027-06-30
    from: 192.0.2.0/24
    limits: heavy
  - { name: bob, passwords: [{ hash: "${hash}", label: laptop, expires: 2027-01-01T12:00:00Z }] }
limits:
  user: { connections: 3, newConnections: 20/m, up: 10MB/s, down: 10MiB/s, bytesPerDay: 5 GB, bytesPerMonth: 1KB }
  groups: { staff: { devices: 2 } }
  classes: { heavy: { udpPackets: 5/h } }
bans: { after: 3, for: 2h, delay: 0, allow: 192.0.2.0/24 }
upstreams:
  one: { proxies: "socks5h://a.test" }
  two: { proxies: [http://b.test, [socks5://c.test, "https://d.test"]], choose: user, ejectFor: 1m }
`)
      const [ann, bob] = config.users ?? []
      assert.deepStrictEqual(
        [ann?.name, ann?.groups, ann?.limits, ann?.from?.map(IpNetwork.format), ann?.expires],
        ["ann", ["staff"], "heavy", ["192.0.2.0/24"], Date.UTC(2027, 5, 30)]
      )
      assert.deepStrictEqual(ann?.passwords.map(({ hash }) => Redacted.value(hash)), [hash])
      assert.deepStrictEqual(bob?.passwords.map(({ expires, label }) => [label, expires]), [
        ["laptop", Date.UTC(2027, 0, 1, 12)]
      ])
      assert.deepStrictEqual(config.limits.user, {
        connections: 3,
        newConnections: { count: 20, per: 60_000 },
        up: 10_000_000,
        down: 10_485_760,
        bytesPerDay: 5_000_000_000,
        bytesPerMonth: 1000
      })
      assert.deepStrictEqual(config.limits.groups, new Map([["staff", { devices: 2 }]]))
      assert.deepStrictEqual(config.limits.classes, new Map([["heavy", { udpPackets: { count: 5, per: 3_600_000 } }]]))
      assert.strictEqual(config.bans?.after, 3)
      assert.strictEqual(config.bans?.for && Duration.toMillis(config.bans.for), 7_200_000)
      const chains = (name: string) =>
        config.upstreams[name]?.chains.map((chain) => chain.map((url) => ProxyUrl.format(url)))
      assert.deepStrictEqual(chains("one"), [["socks5h://a.test:1080"]])
      assert.deepStrictEqual(chains("two"), [["http://b.test:1080"], ["socks5://c.test:1080", "https://d.test:443"]])
      assert.strictEqual(config.upstreams["two"]?.choose, "user")
    }))

  it.effect("reads secrets from files and from the environment", () =>
    Effect.gen(function*() {
      write("hash", `${hash}\n`)
      write("token", "t0ken\n")
      write(
        "config.yaml",
        `
users: [{ name: ann, passwordFile: hash }, { name: bob, passwords: { passwordFile: hash, label: a } }]
auth: { http: "https://auth.test/login", tokenFile: token }
upstreams:
  a: { proxies: { url: socks5h://a.test, user: "a:n", passwordFile: token } }
  b: { proxies: [{ url: "http://bob@b.test:8080", passwordEnv: PROXY_PASSWORD }] }
upstream: [socks5://c.test, { url: "socks5h://d.test", user: dan, passwordFile: token }]
`
      )
      const { config, files } = yield* ConfigFile.load(join(folder, "config.yaml")).pipe(
        Effect.provideService(
          ConfigProvider.ConfigProvider,
          ConfigProvider.fromEnvRecord({ PROXY_PASSWORD: "p@ss:/%" })
        )
      )
      const secretOf = (name: string) => {
        const { password, user } = config.upstreams[name]?.chains[0][0].credentials ?? {}
        return [user, password && Redacted.value(password)]
      }
      assert.strictEqual(
        config.users?.[0] && Redacted.value(config.users[0].passwords[0]?.hash ?? Redacted.make("")),
        hash
      )
      assert.deepStrictEqual(
        config.users?.[1]?.passwords.map(({ hash, label }) => [Redacted.value(hash), label]),
        [[hash, "a"]]
      )
      assert.strictEqual(config.auth?.tokenFile && Redacted.value(config.auth.tokenFile), "t0ken")
      assert.deepStrictEqual([secretOf("a"), secretOf("b")], [["a:n", "t0ken"], ["bob", "p@ss:/%"]])
      const [first, second] = config.settings.upstream ?? []
      assert.strictEqual(first && ProxyUrl.format(first), "socks5://c.test:1080")
      assert.deepStrictEqual(
        [second?.credentials?.user, Redacted.value(second?.credentials?.password ?? Redacted.make(""))],
        ["dan", "t0ken"]
      )
      assert.sameMembers([...files], ["config.yaml", "hash", "token"].map((name) => join(folder, name)))
    }))

  it.effect("puts lists in the place of their names", () =>
    Effect.gen(function*() {
      write("ads.txt", "0.0.0.0 ads.test\n10.9.0.0/16\n")
      const { files, lists, rules } = yield* ConfigFile.load(write(
        "lists.yaml",
        `
lists:
  ads: { file: ads.txt }
  office: [10.0.0.0/8, .corp.test]
rules:
  - { clients: [office, 192.0.2.7], to: [ads, office, other], not: { to: ads }, action: deny }
`
      ))
      const [first] = rules
      const [ads, office] = [lists.get("ads"), lists.get("office")]
      assert.isDefined(ads)
      assert.isDefined(office)
      assert.deepStrictEqual(first?.conditions.to, [
        ads,
        office,
        { _tag: "Domain", kind: "exact", text: "other" }
      ])
      assert.deepStrictEqual(first?.conditions.clients, [
        office,
        IpNetwork.fromStringUnsafe("192.0.2.7/32")
      ])
      assert.deepStrictEqual(first?.not?.to, [ads])
      assert.deepStrictEqual([ads.size, office.size], [2, 2])
      assert.deepStrictEqual(files, [join(folder, "lists.yaml"), join(folder, "ads.txt")])
    }))

  it.effect("says where a key stands", () =>
    Effect.gen(function*() {
      const loaded = yield* ConfigFile.load(
        write("where.yaml", "workers: 1\nrules:\n  - action: deny\n    ports: [1, 2]\n")
      )
      const path = join(folder, "where.yaml")
      assert.strictEqual(loaded.sourceOf(["workers"]), `${path}:1:1 workers`)
      assert.strictEqual(loaded.sourceOf(["rules", 0, "ports", 1]), `${path}:4:16 rules[0].ports[1]`)
      assert.strictEqual(loaded.sourceOf(["listen"]), `${path}:1:1 listen`)
    }))
})

describe("a mistake in a configuration file", () => {
  it.effect.each<readonly [text: string, ...lines: ReadonlyArray<string>]>([
    // Keys.
    ["workers: 1\n\nlisen: x", "3:1 lisen: no such key; did you mean listen?"],
    ["connect-timeout: 1s", "1:1 connect-timeout: no such key; did you mean connectTimeout?"],
    ["zzzzzz: 1", "1:1 zzzzzz: no such key; sluice config example has all of them"],
    ["config: other.yaml", "1:1 config: no such key; sluice config example has all of them"],
    [
      "bans: { bogus: 1 }",
      "1:9 bans.bogus: no such key; write one of after, within, for, delay, maxDelay, allow, remember"
    ],
    ["limits: { user: { connectoins: 1 } }", "1:19 limits.user.connectoins: no such key; did you mean connections?"],
    ["rules:\n  - action: deny\n    port: 80", "3:5 rules[0].port: no such key; did you mean ports?"],
    ["rules:\n  - ports: 80", "2:5 rules[0].action: is missing; add it"],
    ["auth: {}", "1:1 auth.http: is missing; add it"],
    // Kinds.
    ["- listen", "1:1 is a list; write a map of settings: KEY: VALUE on each line"],
    ["listen", "1:1 is a text; write a map of settings: KEY: VALUE on each line"],
    ["connectTimeout: [1s]", "1:1 connectTimeout: is a list; write TIME"],
    ["listen: { a: b }", "1:1 listen: is a map; write HOST:PORT, or a list of them"],
    ["rules: allow", "1:1 rules: is a text; write a list of rules"],
    ["rules:", "1:1 rules: is empty; write a list of rules"],
    ["rules: null", "1:1 rules: is empty; write a list of rules"],
    ["rules: \"null\"", "1:1 rules: is a text; write a list of rules"],
    ["rules: 5", "1:1 rules: is a number; write a list of rules"],
    ["rules: false", "1:1 rules: is false; write a list of rules"],
    ["rules: [allow]", "1:9 rules[0]: is a text; write a map with action"],
    ["lists: [a]", "1:1 lists: is a list; write a map of lists"],
    ["users: { ann: x }", "1:1 users: is a map; write a list of users, or the path of a users file"],
    ["users:", "1:1 users: is empty; give the path of a file"],
    // Values.
    ["workers: 0", "1:1 workers: \"0\" is not a whole number from 1 to 1024, or auto"],
    [
      "allow: [10.0.0.0/8, lan]",
      "1:21 allow[1]: \"lan\" is not a network, such as 10.0.0.0/8, fd00::/8 or 192.168.1.7"
    ],
    ["logLevel: loud", "1:1 logLevel: \"loud\" is not one of trace, debug, info, warn, error, none"],
    ["openProxy: maybe", "1:1 openProxy: \"maybe\" is not true or false"],
    ["default: maybe", "1:1 default: \"maybe\" is not one of allow, deny"],
    [
      "limits: { user: { up: 10 } }",
      "1:19 limits.user.up: \"10\" is not a number of bytes a second, such as 500kB/s, 10MB/s or 1GiB/s"
    ],
    [
      "limits: { user: { up: 0B/s } }",
      "1:19 limits.user.up: \"0B/s\" is not a number of bytes a second, such as 500kB/s, 10MB/s or 1GiB/s"
    ],
    [
      "limits: { client: { bytesPerDay: lots } }",
      "1:21 limits.client.bytesPerDay: \"lots\" is not a number of bytes, such as 500MB, 10GB or 10GiB"
    ],
    [
      "limits: { client: { newConnections: 5 } }",
      "1:21 limits.client.newConnections: \"5\" is not a rate, such as 20/s, 600/m or 10000/h"
    ],
    ["bans: { for: ever }", "1:9 bans.for: \"ever\" is not a duration, such as 500ms, 10s, 1h30m or 0"],
    // Rules.
    ["listen: []", "1:1 listen: is empty; give an address, or leave it out for 127.0.0.1:1080"],
    [rule("when: { days: [] }"), "2:13 rules[0].when.days: is empty; write mon-fri, or leave it out for all days"],
    ["users: []", "1:1 users: is empty; name a user, or leave it out to ask for no login"],
    ...["egress: []", "egress: { from: [] }"].map((egress) =>
      [
        `rules: [{ action: allow, ${egress} }]`,
        `1:${egress.includes("from") ? "36 rules[0].egress.from" : "26 rules[0].egress"}: ` +
        "is empty; write an address of this machine, or leave egress out"
      ] as const
    ),
    [
      `users: [{ name: ann, password: "${hash}", from: [], egress: [], groups: ["", "a b"] }]`,
      "1:130 users[0].from: is empty; write a network, or leave it out for all of them",
      "1:140 users[0].egress: is empty; write an address of this machine, or leave egress out",
      "1:161 users[0].groups[0]: \"\" is not a group; write letters, digits and any of _.@-",
      "1:165 users[0].groups[1]: \"a b\" is not a group; write letters, digits and any of _.@-"
    ],
    [rule("ports: 80-"), "2:5 rules[0].ports: \"80-\" is not a port range; write 80-65535"],
    [rule("ports: -80"), "2:5 rules[0].ports: \"-80\" is not a port range; write 1-80"],
    [rule("ports: [1, 443-80]"), "2:16 rules[0].ports[1]: \"443-80\" is not a port range; write 80-443"],
    [rule("ports: 123456"), "2:5 rules[0].ports: \"123456\" is not a port range; write 80-443, or 443 alone"],
    [rule("ports: 0"), "2:5 rules[0].ports: \"0\" is not a port range; write 80-443, or 443 alone"],
    [rule("ports: http"), "2:5 rules[0].ports: \"http\" is not a port range; write 80-443, or 443 alone"],
    [rule("to: 10.0.0.1/8"), "2:5 rules[0].to: \"10.0.0.1/8\" is an address in a network; write 10.0.0.0/8"],
    [
      rule("when: { days: funday }"),
      "2:13 rules[0].when.days: \"funday\" is no day; write mon, tue, wed, thu, fri, sat, sun or a range as mon-fri"
    ],
    [
      rule("when: { hours: 10:00-10:00 }"),
      "2:13 rules[0].when.hours: \"10:00-10:00\" is no range of hours; write 08:00-18:00"
    ],
    [rule("name: 2"), "2:5 rules[0].name: \"2\" is a number, as rules without a name are called by; choose a word"],
    [rule("name: \"\""), "2:5 rules[0].name: is empty; write a name, or leave it out"],
    [rule("groups: [a, ~]"), "2:17 rules[0].groups[1]: is empty; write a name, or leave it out"],
    [rule("groups:"), "2:5 rules[0].groups: is empty; write a name, or leave it out"],
    [rule("users: [ann, \"\"]"), "2:18 rules[0].users[1]: is empty; write a name, or leave it out"],
    [rule("ports: -1"), "2:5 rules[0].ports: \"-1\" is not a port range; write 80-443, or 443 alone"],
    ["protocols: []", "1:1 protocols: is empty; name a protocol, or leave it out for all of them"],
    [
      "bans: { delay: 10s, maxDelay: 1s }",
      "1:1 bans: has a delay that is longer than its maxDelay; raise maxDelay, or lower delay"
    ],
    [
      "users: [{ name: ann, passwords: [{ label: a }] }]",
      "1:34 users[0].passwords[0]: has no hash; add hash: with what `sluice hash` prints, or passwordFile: PATH"
    ],
    [rule("when: { hours: 8-18 }"), "2:13 rules[0].when.hours: \"8-18\" is no range of hours; write 08:00-18:00"],
    [
      rule("when: { zone: Mars/One }"),
      "2:13 rules[0].when.zone: \"Mars/One\" is no time zone; write one of IANA's names, as Europe/Berlin"
    ],
    [
      rule("listeners: [\"1080\"]"),
      "2:17 rules[0].listeners[0]: \"1080\" is not a listener, such as 127.0.0.1:1080, tls://0.0.0.0:1443 or unix:/run/sluice.sock"
    ],
    [
      rule("commands: udp"),
      "2:5 rules[0].commands: \"udp\" is not one of connect, bind, associate, resolve, resolve-ptr, forward"
    ],
    [rule("reply: 9"), "2:5 rules[0].reply: \"9\" is not a reply code from 1 to 8"],
    ["rules: [{ action: allow, reply: 1 }]", "1:9 rules[0]: has reply, which only a deny can have"],
    ["rules: [{ action: deny, via: direct }]", "1:9 rules[0]: has via, which only an allow can have"],
    // Names that lead nowhere.
    [
      "lists: { office: 10.0.0.0/8 }\nrules: [{ clients: ofice, action: deny }]",
      "2:11 rules[0].clients: there is no network or list \"ofice\"; did you mean office?"
    ],
    [
      "upstreams: { pool-de: { proxies: [socks5://a] } }\nrules: [{ via: pool-d, action: allow }]",
      "2:11 rules[0].via: there is no pool of upstreams \"pool-d\"; did you mean pool-de?"
    ],
    [
      "rules: [{ limits: heavy, action: allow }]",
      "1:11 rules[0].limits: there is no class of limits \"heavy\"; define it in limits.classes"
    ],
    [
      "userOptions: { c: { kind: pool, values: { de: x } } }",
      "1:43 userOptions.c.values.de: there is no pool of upstreams \"x\"; define it in upstreams"
    ],
    [
      "rules: [{ name: a, action: deny }, { name: a, action: allow }]",
      "1:38 rules[1].name: \"a\" is there twice; choose another name"
    ],
    ["lists: { \"a b\": [10.0.0.0/8] }", "1:1 lists: \"a b\" is no name for a list; take letters, digits, - and _"],
    [
      "upstreams: { direct: { proxies: [socks5://a] } }",
      "1:1 upstreams: \"direct\" means no upstream; choose another name"
    ],
    // Tests.
    [
      "tests: [{ connect: db.corp, expect: deny }]",
      "1:11 tests[0].connect: \"db.corp\" is not HOST:PORT, such as example.com:443, 192.0.2.1:22 or [2001:db8::1]:22"
    ],
    [
      "tests: [{ connect: \"a.test:1\", expect: denied }]",
      "1:32 tests[0].expect: \"denied\" is not what can be expected; write allow, deny, or with what decides: deny rule NAME"
    ],
    [
      "tests: [{ connect: \"a.test:1\", expect: deny, at: noon }]",
      "1:46 tests[0].at: \"noon\" is not a moment, such as 2027-01-04T10:30:00Z"
    ],
    // Several at once: keys that are not known first, else in their order.
    [
      "rules: [{ acton: deny }]",
      "1:11 rules[0].acton: no such key; did you mean action?",
      "1:9 rules[0].action: is missing; add it"
    ],
    [
      "workers: 0\nlisen: 1\nlogLevel: x\nruls: []",
      "2:1 lisen: no such key; did you mean listen?",
      "4:1 ruls: no such key; did you mean rules?",
      "1:1 workers: \"0\" is not a whole number from 1 to 1024, or auto",
      "3:1 logLevel: \"x\" is not one of trace, debug, info, warn, error, none"
    ]
  ])("is told in %j", ([text, ...lines]) => rejects(text, ...lines))

  it.effect.each<readonly [text: string, ...lines: ReadonlyArray<string>]>([
    ["a: 1\na: 2", "2:1 this key is there twice; remove one of them"],
    ["rules:\n\t- x", "2:1 a tab at the start of a line; indent with spaces"],
    ["a: 1\n---\nb: 2", "2:1 a second document begins; keep one"],
    [
      "allow: [10.0.0.0/8",
      "1:19 something is missing here: a colon with a space behind it, a comma, or a closing bracket"
    ],
    ["a: \"S3cr3t", "1:11 a quote that nothing closes"],
    ["a: S3cr3t: b", "1:4 a colon with a space behind it in a value; put the value in quotes"],
    ["rules: [{ to: *.db.* }]", "1:15 * makes an alias in YAML, and there is no such anchor; put it in quotes"],
    ["a: !S3cr3t b", "1:4 ! means a type to YAML, which is not known here; put the value in quotes"],
    ["a: 1\nb: [1, !!int 2]", "2:8 ! means a type to YAML, which is not known here; put the value in quotes"],
    ["a: !x { b: c }", "1:4 ! means a type to YAML, which is not known here; put the value in quotes"],
    ["a: @S3cr3t", "1:4 a value can't start with this character; put it in quotes"],
    ["a: \"\\S3cr3t\"", "1:5 no such escape in double quotes; write \\\\ for a backslash, or use single quotes"],
    ["a: 1\n b: 2", "1:4 a colon with a space behind it in a value; put the value in quotes"]
  ])("in YAML is told in %j", ([text, ...lines]) =>
    Effect.gen(function*() {
      const all = yield* linesOf(text)
      assert.deepStrictEqual(all.slice(0, lines.length), lines.map((line) => `sluice.yaml:${line}`))
      assert.notInclude(all.join(), "S3cr3t")
    }))

  it.effect.each<readonly [text: string, ...lines: ReadonlyArray<string>]>([
    ["user: S3cr3t-canary", "1:1 user: no colon after the user name; write NAME:PASSWORD"],
    ["user: [ann:x, {S3cr3t: a}]", "1:15 user[1]: is a map; write a text"],
    [
      "users: [{ name: ann, password: S3cr3t }]",
      "1:22 users[0].password: is not an argon2id hash; write what `sluice hash` prints"
    ],
    ["users: [{ name: ann, password: [S3cr3t] }]", "1:22 users[0].password: is a list; write a text"],
    [
      "users: [{ name: ann:S3cr3t, password: x }]",
      "1:11 users[0].name: has a colon; choose another name",
      "1:29 users[0].password: is not an argon2id hash; write what `sluice hash` prints"
    ],
    [
      `userOptions: { a: { kind: session } }\nusers: [{ name: ann+b, password: "${hash}" }]`,
      "2:11 users[0].name: \"ann+b\" has a plus, behind which are options of a user; choose another name"
    ],
    [
      `egressBy: session\nusers: [{ name: ann+b, password: "${hash}" }]`,
      "2:11 users[0].name: \"ann+b\" has a plus, behind which are options of a user; choose another name"
    ],
    [
      "users: [{ name: ann }]",
      "1:9 users[0]: has no password; add password: with what `sluice hash` prints, or passwordFile: PATH"
    ],
    [
      `users: [{ name: ann, password: ${hash} }]`,
      "1:9 users[0]: has what is no key; put values with commas or colons in quotes",
      "1:22 users[0].password: is an argon2id hash that is malformed; write what `sluice hash` prints, in quotes within braces"
    ],
    [
      "users: [{ name: ann, passwordEnv: S3cr3t! }]",
      "1:22 users[0].passwordEnv: is not the name of an environment variable; write the name alone, such as PROXY_PASSWORD"
    ],
    [
      "users: [{ name: ann, passwordEnv: NOT_SET_HERE }]",
      "1:22 users[0].passwordEnv: the environment variable NOT_SET_HERE is not set; set it, or name another one"
    ],
    [
      "users: [{ name: ann, passwordFile: no/such }]",
      "1:22 users[0].passwordFile: no/such: no such file; correct the path"
    ],
    [
      `users: [{ name: ann, password: "${hash}", passwordEnv: HASH }]`,
      "1:9 users[0]: has password and passwordEnv; keep one"
    ],
    [
      `users: [{ name: ann, password: "${hash}", passwords: [{ hash: "${hash}", label: a }, { hash: "${hash}" }] }]`,
      "1:9 users[0]: has several passwords without a label; give each a label of its own"
    ],
    [
      `users: [{ name: ann, passwords: [{ hash: "${hash}", label: a }, { hash: "${hash}", label: a }] }]`,
      "1:9 users[0]: has two passwords with the label \"a\"; choose another one"
    ],
    [
      `users: [{ name: ann, passwords: [${
        Array.from({ length: 17 }, (_, label) => `{ hash: "${hash}", label: ${label} }`).join()
      }] }]`,
      "1:9 users[0]: has more than 16 passwords; remove some"
    ],
    [
      `user: ann:S3cr3t\nusers: [{ name: ann, password: "${hash}" }]`,
      "2:11 users[0].name: \"ann\" is taken by user; remove one of them"
    ],
    [
      "upstream: { url: \"socks5://bob:S3cr3t@a.test\", user: ann }",
      "1:1 upstream: has user, and a user in its url; keep one"
    ],
    [
      "upstream: { url: \"socks5://bob:S3cr3t@a.test\", passwordEnv: HASH }",
      "1:1 upstream: has passwordEnv, and a password in its url; keep one"
    ],
    [
      `users: [{ name: ann, passwords: [{ hash: "${hash}", label: "a,b" }] }]`,
      "1:140 users[0].passwords[0].label: \"a,b\" is not a label; write letters, digits and any of _.@-"
    ],
    ["auth: { http: S3cr3t }", "1:9 auth.http: is not the URL of a service, such as https://auth.internal/login"],
    ["auth: { http: \"http://a\", tokenFile: . }", "1:27 auth.tokenFile: .: is a directory; name a file"],
    [
      "upstreams: { a: { proxies: \"socks5://ann:S3cr3t@\" } }",
      "1:19 upstreams.a.proxies: not the URL of a proxy; give PROTOCOL://HOST:PORT, PROTOCOL being one of socks5, socks5h, " +
      "socks4, socks4a, http, https, with USER:PASSWORD@ before the host if the proxy asks for them"
    ],
    ["upstreams: { a: { proxies: [] } }", "1:19 upstreams.a.proxies: is empty; give the URL of a proxy"]
  ])("quotes no secret: %j", ([text, ...lines]) =>
    Effect.gen(function*() {
      yield* rejects(text, ...lines)
      assert.notInclude(lines.join(), "S3cr3t")
    }).pipe(
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnvRecord({ HASH: hash }))
    ))

  it.effect("in a secret's file, or in a list, names the key and the file", () =>
    Effect.gen(function*() {
      write("two-lines", "S3cr3t\nS3cr3t\n")
      write("empty", "\n")
      write("bad-list", "a.test\nnot a name\n")
      const path = write(
        "files.yaml",
        "upstreams:\n  a: { proxies: { url: socks5://ann@a, passwordFile: two-lines } }\nauth: { http: http://a, tokenFile: empty }\n"
      )
      const { lines } = yield* Effect.flip(ConfigFile.load(path))
      assert.deepStrictEqual(lines, [
        `${path}:2:40 upstreams.a.proxies.passwordFile: ${folder}/two-lines: has more than one line; leave one, the secret`,
        `${path}:3:25 auth.tokenFile: ${folder}/empty: is empty; write the secret on its first line`
      ])
      const listed = write("bad-list.yaml", "lists:\n  a: { file: bad-list }\n  b: { file: nowhere }\n")
      assert.deepStrictEqual((yield* Effect.flip(ConfigFile.load(listed))).lines, [
        `${listed}:2:8 lists.a.file: ${folder}/bad-list:2: "not a name" is more than one entry; ` +
        "write each on a line of its own, or ADDRESS NAME as hosts files do",
        `${listed}:3:8 lists.b.file: ${folder}/nowhere: no such file; correct the path`
      ])
    }))

  it.effect("is one of twenty lines at most, of which the message has the first", () =>
    Effect.gen(function*() {
      const keys = Array.from({ length: 25 }, (_, index) => `qqqqqqqqq${index}: 1`)
      const error = yield* Effect.flip(parse(keys.join("\n")))
      assert.lengthOf(error.lines, 20)
      assert.strictEqual(error.lines[19], "sluice.yaml: 6 more mistakes are not shown")
      assert.strictEqual(
        error.message,
        "sluice.yaml:1:1 qqqqqqqqq0: no such key; sluice config example has all of them (and 19 more)"
      )
    }))

  it.effect("cuts what is too long to be read", () =>
    Effect.gen(function*() {
      const long = "x".repeat(100_000)
      const start = "x".repeat(100)
      yield* rejects(
        `logLevel: ${long}`,
        `1:1 logLevel: "${start}…" is not one of trace, debug, info, warn, error, none`
      )
      yield* rejects(`${long.slice(0, 1000)}: 1`, `1:1 ${start}…: no such key; sluice config example has all of them`)
      yield* rejects(
        rule(`ports: ${long}`),
        `2:5 rules[0].ports: "${start}…" is not a port range; write 80-443, or 443 alone`
      )
      const [line = ""] = yield* linesOf(`auth: { http: "http://a", tokenFile: "${long}" }`)
      assert.match(line, /^sluice\.yaml:1:27 auth\.tokenFile: x+…x+: .*; /)
      assert.isAtMost(line.length, 1001)
    }))

  it.effect("may be the file itself", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* loadLines("/nonexistent/a\nb.yaml"), [
        "/nonexistent/a\\nb.yaml: no such file; correct the path"
      ])
      assert.deepStrictEqual(yield* loadLines(folder), [`${folder}: is a directory; name a file`])
      writeFileSync(join(folder, "binary"), Uint8Array.of(0xff, 0xfe, 0x00))
      assert.deepStrictEqual(yield* loadLines(join(folder, "binary")), [
        `${folder}/binary: is not UTF-8 text; save it as UTF-8`
      ])
    }))

  it.effect("may be a bomb of aliases, or of nesting", () =>
    Effect.gen(function*() {
      const levels = Array.from({ length: 12 }, (_, level) =>
        `a${level}: &a${level} [${
          Array.from({ length: 9 }, () => level === 0 ? "x" : `*a${level - 1}`).join(", ")
        }]`)
      const [first = ""] = yield* linesOf(levels.join("\n"))
      assert.match(first, /^sluice\.yaml:\d+:\d+ aliases repeat too much$/)
      const [circle = ""] = yield* linesOf("lists: &a [*a]")
      assert.match(circle, /aliases repeat too much|nested too deeply/)
      const [deep = ""] = yield* linesOf(`lists: ${"[".repeat(5000)}`)
      assert.match(deep, /^sluice\.yaml:1:\d+ /)
      const reused = yield* parse("lists: { a: &a [10.0.0.0/8], b: *a }")
      assert.deepStrictEqual(reused.lists["a"], reused.lists["b"])
    }))

  const example = Example.example().replaceAll(/^# /gm, "").replaceAll("carol:secret", "carol:S3cr3t-canary")

  it.effect.prop(
    "anywhere in the example is told in lines of their own, without secrets",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: example.length })),
      Schema.Literals(["", "\"", "{", "]", ":", "- ", "\t", "*", "\n", "x", "\u001b[2K\r"])
    ],
    ([at, text]) =>
      Effect.gen(function*() {
        const result = yield* Effect.result(parse(example.slice(0, at) + text + example.slice(at + 1)))
        if (Result.isSuccess(result)) return
        assert.isAtMost(result.failure.lines.length, 20)
        for (const line of result.failure.lines) {
          assert.match(line, /^sluice\.yaml:\d+:\d+ |^sluice\.yaml: \d+ more mistakes are not shown$/)
          assert.strictEqual(line, escape(line))
          assert.notInclude(line, "S3cr3t")
          assert.notInclude(line, "F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk")
        }
      }),
    { arbitrary: { runs: 150 } }
  )
})
