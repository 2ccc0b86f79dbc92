import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cli from "../support/Cli.ts"

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLWV4YW1wbGU$F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk"
const folder = mkdtempSync(join(tmpdir(), "sluice-explain-"))
const config = join(folder, "sluice.yaml")

writeFileSync(
  config,
  `users:
  - { name: ann, password: "${hash}", groups: [staff, crawlers], limits: heavy, egress: 192.0.2.7 }
  - { name: gus, password: "${hash}", expires: 2026-01-01 }
  - { name: hal, password: "${hash}", from: 192.0.2.0/24 }
userOptions:
  session: { kind: session }
  country: { kind: pool, values: { de: pool-de } }
lists: { office: [10.0.0.0/8] }
upstreams:
  pool-de: { proxies: ["socks5h://ann:S3cr3t@a.test", ["http://b.test:8080", "socks5h://c.test"]] }
  here: { proxies: socks5://a.test }
egress: 192.0.2.1
limits:
  global: { connections: 9000 }
  user: { connections: 10 }
  client: { newConnections: 600/m }
  groups: { staff: { bytesPerMonth: 100GB } }
  classes: { heavy: { down: 10MB/s, udpPackets: 100/s }, light: { devices: 1 } }
rules:
  - { name: no-databases, users: ann, to: .corp, ports: 5432, action: deny, reply: 5 }
  - { name: guests, users: [bob, carl], action: deny }
  - { name: watched, ports: 80, action: deny, shadow: true }
  - { name: by-pool, to: .pool.test, via: pool-de, limits: light, action: allow }
  - { name: by-here, to: .here.test, via: here, egress: 192.0.2.9, action: allow }
  - { to: 198.51.100.0/24, action: deny }
`
)

const explain = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const { code, stderr, stdout } = yield* Cli.run(["explain", "--config", config, ...args])
  assert.deepStrictEqual([code, stderr], [0, ""])
  assert.notInclude(stdout, "S3cr3t")
  return stdout.trimEnd().split("\n")
})

const complains = (args: ReadonlyArray<string>, complaint: string) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* Cli.run(["explain", ...args]), {
      code: 2,
      stdout: "",
      stderr: `sluice: ${complaint}\n`
    })
  })

const refused = (why: string) => [`result: denied by login (${why})`, "the rules alone: allowed by default allow"]

describe("sluice explain", () => {
  it.live("says which rule denies, without looking anything up", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* explain("--user", "ann", "--client", "192.0.2.5", "connect", "db.corp:5432"),
        [
          "connect db.corp:5432 by user ann (staff, crawlers) from 192.0.2.5",
          "as sent:",
          "  rule no-databases: decides: deny",
          "  not reached: 5 more",
          "result: denied by rule no-databases, reply 5"
        ]
      )
    }))

  it.live("says why rules are passed over, the way out, and the limits", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* explain(
          "--user",
          "ann",
          "--client",
          "2001:db8::1",
          "--resolves-to",
          "203.0.113.5",
          "connect",
          "a.test:80"
        ),
        [
          "connect a.test:80 by user ann (staff, crawlers) from 2001:db8::1",
          "as sent:",
          "  rule no-databases: passed over: port 80 is not 5432",
          "  rule guests: passed over: user ann is none of bob, carl",
          "  rule watched: matches, but is a shadow",
          "  rule by-pool: passed over: a.test is not in .pool.test",
          "  rule by-here: passed over: a.test is not in .here.test",
          "  rule 6: undecided: the address of a.test is not known yet",
          "  default allow: decides: allow",
          "203.0.113.5:",
          "  rule no-databases: passed over: port 80 is not 5432",
          "  rule guests: passed over: user ann is none of bob, carl",
          "  rule watched: matches, but is a shadow",
          "  rule by-pool: passed over: a.test (203.0.113.5) is not in .pool.test",
          "  rule by-here: passed over: a.test (203.0.113.5) is not in .here.test",
          "  rule 6: passed over: a.test (203.0.113.5) is not in 198.51.100.0/24",
          "  default allow: decides: allow",
          "result: allowed by default allow",
          "upstream: none, it is dialled from here",
          "egress: 192.0.2.7 (by user)",
          "limits:",
          "  all clients together: 9000 connections",
          "  group staff: 100GB a month",
          "  user ann (class heavy): 100 UDP packets a second, 10MB a second down",
          "  client 2001:db8::/64: 600 new connections a minute"
        ]
      )
    }))

  it.live("knows upstreams that look names up, and those that don't", () =>
    Effect.gen(function*() {
      const pool = "upstream: pool pool-de: socks5h://ann@a.test:1080, or http://b.test:8080 then socks5h://c.test:1080"
      const byRule = yield* explain("--user", "dora", "connect", "x.pool.test:443")
      assert.includeMembers([...byRule], [
        "connect x.pool.test:443 by user dora",
        "result: denied by login (there is no user \"dora\")",
        "the rules alone: allowed by rule by-pool",
        pool,
        "  user dora (class light): 1 device"
      ])
      assert.include(
        yield* explain("--user", "ann+session-1+country-de", "--resolves-to", "203.0.113.5", "connect", "a.test:443"),
        `${pool}; for session 1 always the same`
      )
      const here = yield* explain(
        "--resolves-to",
        "10.0.0.1",
        "--resolves-to",
        "203.0.113.5",
        "connect",
        "x.here.test:443"
      )
      assert.includeMembers([...here], [
        "connect x.here.test:443 by somebody who has not logged in",
        "10.0.0.1:",
        "203.0.113.5:",
        "result: denied by login (one is needed, and no user is given)",
        "the rules alone: allowed by rule by-here",
        "upstream: pool here: socks5://a.test:1080",
        "egress: 192.0.2.9 (by rule)"
      ])
    }))

  it.live("says how a session, or a user, sticks to one of several", () =>
    Effect.gen(function*() {
      const path = join(folder, "sticky.yaml")
      writeFileSync(
        path,
        `userOptions:
  session: { kind: session, stickFor: 10m }
  keep: { kind: session }
  own: { kind: pool, values: { yes: own } }
upstreams:
  pair: { proxies: [socks5h://a.test, socks5h://b.test] }
  own: { proxies: [socks5h://a.test, socks5h://b.test], choose: user }
egress: [192.0.2.1, 192.0.2.2, 192.0.2.3]
rules:
  - { ports: 1, action: allow, via: pair }
  - { ports: 2, action: allow, egress: { from: 198.51.100.0/24, by: user } }
  - { ports: 3, action: allow, egress: ["192.0.2.9", "2001:db8::9"] }
`
      )
      const route = (user: string, port: number) =>
        Effect.map(
          Cli.run([
            "explain",
            "--config",
            path,
            "--user",
            user,
            "connect",
            `a.test:${port}`,
            "--resolves-to",
            "203.0.113.5"
          ]),
          ({ stderr, stdout }) => {
            assert.strictEqual(stderr, "")
            return stdout.split("\n").filter((line) => /^(?:upstream|egress): /.test(line))
          }
        )
      const all = "192.0.2.1, 192.0.2.2, 192.0.2.3"
      const here = "upstream: none, it is dialled from here"
      const two = "socks5h://a.test:1080, or socks5h://b.test:1080"
      assert.deepStrictEqual(yield* route("ann", 1), [
        `upstream: pool pair: ${two}`,
        `egress: one of ${all} (by egress)`
      ])
      const until = "for session 7 the same until 10m after its last login"
      assert.deepStrictEqual(yield* route("ann+session-7", 1), [
        `upstream: pool pair: ${two}; ${until}`,
        `egress: one of ${all} (by egress; ${until})`
      ])
      assert.deepStrictEqual(yield* route("ann+own-yes", 4), [
        `upstream: pool own: ${two}; for user ann always the same`,
        `egress: one of ${all} (by egress)`
      ])
      const [upstream, kept] = yield* route("ann+keep-7", 4)
      assert.strictEqual(upstream, here)
      assert.match(kept ?? "", /^egress: 192\.0\.2\.[123] \(by egress; for session 7 always the same\)$/)
      const [, byUser] = yield* route("ann", 2)
      assert.match(byUser ?? "", /^egress: 198\.51\.100\.\d+ \(by rule; for user ann always the same\)$/)
      assert.deepStrictEqual((yield* route("ann+keep-7", 2))[1], byUser)
      assert.deepStrictEqual(yield* route("ann+session-7", 3), [here, "egress: 192.0.2.9, 2001:db8::9 (by rule)"])
    }))

  it.live("knows what users of a users file go out from", () =>
    Effect.gen(function*() {
      writeFileSync(
        join(folder, "egress.txt"),
        `ann:${hash}:egress=192.0.2.1,192.0.2.2 egress-by=user\nbob:${hash}\n`
      )
      const path = join(folder, "egress.yaml")
      writeFileSync(path, `users: egress.txt\negress: 192.0.2.9\n`)
      const wayOf = (user: string) =>
        Effect.map(
          Cli.run(["explain", "--config", path, "--user", user, "connect", "203.0.113.5:80"]),
          ({ stdout }) => stdout.split("\n").find((line) => line.startsWith("egress: "))
        )
      assert.match(
        (yield* wayOf("ann")) ?? "",
        /^egress: 192\.0\.2\.[12] \(by user; for user ann always the same\)$/
      )
      assert.strictEqual(yield* wayOf("bob"), "egress: 192.0.2.9 (by egress)")
    }))

  it.live("knows the limits of associations, of clients without a user, and of classes that are not there", () =>
    Effect.gen(function*() {
      writeFileSync(join(folder, "limited.txt"), `ann:${hash}:limits=nope\n`)
      const path = join(folder, "limited.yaml")
      writeFileSync(
        path,
        `users: limited.txt
limits: { user: { devices: 7 }, classes: { few: { connections: 2 }, dns: { connections: 1 } } }
rules:
  - { commands: associate, ports: 53, action: allow, limits: dns }
  - { commands: associate, action: allow, limits: few }
  - { ports: 80, action: allow, limits: few }
`
      )
      const limits = (...args: ReadonlyArray<string>) =>
        Effect.map(
          Cli.run(["explain", "--config", path, ...args]),
          ({ stdout }) => stdout.split("\n").filter((line) => / (?:connections?|devices)$/.test(line))
        )
      assert.deepStrictEqual(yield* limits("--client", "192.0.2.5", "associate", "203.0.113.5:54"), [])
      assert.deepStrictEqual(yield* limits("--client", "192.0.2.5", "connect", "203.0.113.5:80"), [
        "  client 192.0.2.5 (class few): 2 connections"
      ])
      assert.deepStrictEqual(yield* limits("--user", "ann", "connect", "203.0.113.5:81"), ["  user ann: 7 devices"])
    }))

  it.live("tells what is inside, and what can't be found", () =>
    Effect.gen(function*() {
      const inside = yield* explain("--user", "ann", "--client", "192.0.2.5", "connect", "10.1.2.3:443")
      assert.strictEqual(inside.at(-1), "result: denied by internal network 10.0.0.0/8 (private), reply 2")
      const bind = yield* explain("--user", "ann", "bind", "203.0.113.5:443")
      assert.include(bind, "result: allowed by default allow")
      const nowhere = yield* explain("connect", "nowhere.invalid:443")
      assert.match(nowhere[1] ?? "", /^can't resolve nowhere\.invalid: \w+$/)
    }))

  it.live("says which of the addresses is inside", () =>
    Effect.gen(function*() {
      const lines = yield* explain(
        "--resolves-to",
        "127.0.0.1",
        "--resolves-to",
        "203.0.113.5",
        "connect",
        "a.test:443"
      )
      const inside = lines.indexOf("127.0.0.1:")
      const outside = lines.indexOf("203.0.113.5:")
      assert.strictEqual(lines[outside - 1], "  internal network 127.0.0.0/8 (loopback): denies it all the same")
      assert.isBelow(inside, outside)
      assert.notInclude(lines.slice(outside).join("\n"), "all the same")
    }))

  it.live("says that a login would be refused, and why", () =>
    Effect.gen(function*() {
      const login = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
        const lines = yield* explain(...args, "connect", "203.0.113.5:443")
        return lines.filter((line) => /^(?:result|the rules alone): /.test(line))
      })
      const allowed = ["result: allowed by default allow"]
      assert.deepStrictEqual(yield* login("--user", "gus"), refused("the user expired at 2026-01-01"))
      assert.deepStrictEqual(yield* login("--user", "gus", "--at", "2025-12-31T23:59:59Z"), allowed)
      const elsewhere = refused("the user may not log in from 203.0.113.9")
      assert.deepStrictEqual(yield* login("--user", "hal", "--client", "203.0.113.9"), elsewhere)
      assert.deepStrictEqual(yield* login("--user", "hal", "--client", "192.0.2.9"), allowed)
      const socks4 = refused("one is needed, and SOCKS4 has no passwords")
      assert.deepStrictEqual(yield* login("--user", "ann", "--protocol", "socks4"), socks4)
      assert.deepStrictEqual(yield* login(), refused("one is needed, and no user is given"))
    }))

  it.live("knows who needs no login, and whose is a service's to judge", () =>
    Effect.gen(function*() {
      const result = Effect.fnUntraced(function*(text: string, ...args: ReadonlyArray<string>) {
        const path = join(folder, "logins.yaml")
        writeFileSync(path, text)
        const { stdout } = yield* Cli.run(["explain", "--config", path, ...args, "connect", "203.0.113.5:443"])
        return /^result: (.*)$/m.exec(stdout)?.[1]
      })
      const allowed = "allowed by default allow"
      assert.strictEqual(yield* result("default: allow\n"), allowed)
      assert.strictEqual(yield* result("default: allow\n", "--user", "ann"), allowed)
      const vouched = `listen: [127.0.0.1:1080, "tls://127.0.0.1:1443?cert=c&key=k&clientCa=a"]
users: [{ name: ann, password: "${hash}" }]
`
      assert.strictEqual(
        yield* result(vouched, "--user", "carol"),
        "denied by login (there is no user \"carol\")"
      )
      assert.strictEqual(yield* result(vouched, "--user", "carol", "--listener", "tls://127.0.0.1:1443"), allowed)
      const service = "auth: { http: \"http://127.0.0.1:1/\" }\n"
      assert.strictEqual(yield* result(service, "--user", "carol"), allowed)
      assert.strictEqual(yield* result(service), "denied by login (one is needed, and no user is given)")
      const rules = `${service}limits: { classes: { heavy: { devices: 2 } } }
rules: [{ name: staff, groups: staff, action: deny }]
`
      assert.strictEqual(
        yield* result(rules, "--user", "ann", "--groups", "staff, dba"),
        "denied by rule staff, reply 2"
      )
      const path = join(folder, "logins.yaml")
      const asked = ["explain", "--config", path, "--user", "ann", "connect", "203.0.113.5:443"]
      assert.include(
        (yield* Cli.run(asked)).stdout,
        "\nwhat the login service says of the user is not known here: --groups and --limits stand for that, "
      )
      assert.include(
        (yield* Cli.run([...asked, "--limits", "heavy"])).stdout,
        "\n  user ann (class heavy): 2 devices\n"
      )
    }))

  it.live("knows where clients come in", () =>
    Effect.gen(function*() {
      const lines = yield* explain("--listener", "localhost:99", "connect", "203.0.113.5:443")
      assert.include(lines, "nobody comes in by 127.0.0.1:99: it is none of 127.0.0.1:1080")
    }))

  it.live("takes the file from the variable too", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* Cli.run(["explain", "connect", "203.0.113.5:443"], {
        env: { SLUICE_CONFIG: config }
      })
      assert.strictEqual(code, 0)
      assert.include(stdout, "the rules alone: allowed by default allow")
    }))

  it.live("says what is wrong with what was given", () =>
    Effect.gen(function*() {
      const given = ["--config", config]
      yield* complains(["connect", "a.test:1"], "--config: is missing; see sluice explain --help")
      yield* complains(
        [...given, "connect", "a.test"],
        "HOST:PORT: \"a.test\" is not HOST:PORT, such as example.com:443, 192.0.2.1:22 or [2001:db8::1]:22"
      )
      yield* complains(
        [...given, "dial", "a.test:1"],
        "COMMAND: \"dial\" is not one of connect, bind, associate, resolve, resolve-ptr, forward"
      )
      yield* complains(
        [...given, "--client", "x", "connect", "a.test:1"],
        "--client: \"x\" is not an IP address, such as 192.0.2.1 or 2001:db8::1"
      )
      yield* complains(
        [...given, "--listener", "door", "connect", "a.test:1"],
        "--listener: \"door\" is not a listener, such as 127.0.0.1:1080, tls://0.0.0.0:1443 or unix:/run/sluice.sock"
      )
      yield* complains(
        [...given, "--at", "noon", "connect", "a.test:1"],
        "--at: \"noon\" is not a moment, such as 2027-01-04T10:30:00Z"
      )
      yield* complains(
        [...given, "--user", "ann+x-1", "connect", "a.test:1"],
        "--user: unknown option \"x-1\" in the user name; known: session, country"
      )
      yield* complains(
        ["--config", "/nonexistent.yaml", "connect", "a.test:1"],
        "/nonexistent.yaml: no such file; correct the path"
      )
    }))
})
