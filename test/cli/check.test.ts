import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import * as Program from "../support/Program.ts"
import { closedPort, echo } from "../support/Targets.ts"

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLWV4YW1wbGU$F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk"
const folder = mkdtempSync(join(tmpdir(), "sluice-check-"))

const write = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return name
}

/** Runs in the folder, so that paths are short. */
const check = (name: string, text: string) => Cli.run(["check", write(name, text)], { cwd: folder })

const fine = (name: string, text: string, summary: string, ...warnings: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* check(name, text), {
      code: 0,
      stdout: [...warnings.map((warning) => `warning: ${name}:${warning}\n`), `${name} is fine: ${summary}\n`].join(""),
      stderr: ""
    })
  })

const wrong = (name: string, text: string, ...lines: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* check(name, text), {
      code: 1,
      stdout: "",
      stderr: lines.map((line) => `sluice: ${name}:${line}\n`).join("")
    })
  })

const stateFileProblem = (path: string, words: string) =>
  `1:11 limits.stateFile: a restart will forget what was used: "${path}" ${words}`

describe("sluice check", () => {
  it.live("is content with a good file, and runs its tests", () =>
    Effect.flatMap(echo(), ({ port }) =>
      fine(
        "good.yaml",
        `
users:
  - { name: ann, password: "${hash}", groups: staff }
  - { name: bob, password: "${hash}" }
lists: { office: [10.1.0.0/16] }
userOptions: { to: { kind: pool, values: { de: pool-de } } }
upstreams: { pool-de: { proxies: "socks5h://127.0.0.1:${port}" } }
default: deny
rules:
  - { name: no-databases, groups: staff, to: .corp, ports: 5432, action: deny, reply: 5 }
  - { clients: office, to: 10.2.0.0/16, action: allow }
  - { name: workday, to: .shop.test, when: { days: mon-fri, hours: 08:00-18:00, zone: UTC }, action: allow }
  - { to: [.example, 192.0.2.0/24], action: allow }
  - { name: by-pool, to: .pool.test, via: pool-de, action: allow }
tests:
  - { user: ann, connect: "db.corp:5432", expect: deny rule no-databases }
  - { user: ann+to-de, connect: "db.corp:5432", expect: deny rule no-databases }
  - { groups: staff, connect: "db.corp:5432", expect: deny rule no-databases }
  - { user: bob, connect: "db.corp:5432", resolvesTo: 198.51.100.1, expect: deny default }
  - { connect: "db.corp:5432", resolvesTo: 198.51.100.1, expect: deny default deny }
  - { client: 10.1.2.3, connect: "10.2.0.1:80", expect: allow rule 2 }
  - { client: 10.3.0.1, connect: "10.2.0.1:80", expect: deny default }
  - { connect: "a.shop.test:80", resolvesTo: 198.51.100.1, at: 2027-01-04T10:00:00Z, expect: allow rule workday }
  - { connect: "a.shop.test:80", resolvesTo: 198.51.100.1, at: 2027-01-03T10:00:00Z, expect: deny }
  - { connect: "a.example:80", resolvesTo: 10.0.0.1, expect: deny internal network }
  - { connect: "a.example:80", resolvesTo: [10.0.0.1, 198.51.100.1], expect: allow rule 4 }
  - { connect: "b.pool.test:80", resolvesTo: 198.51.100.1, expect: allow rule by-pool }
`,
        "5 rules, 12 tests passed"
      )))

  it.live("tells each test that fails, and why", () =>
    wrong(
      "tests.yaml",
      `rules:
  - { name: a, to: 192.0.2.0/24, action: deny }
userOptions: { to: { kind: session } }
tests:
  - { connect: "192.0.2.1:80", expect: allow }
  - { connect: "192.0.2.1:80", expect: deny rule b }
  - { connect: "192.0.2.1:80", expect: deny rule a }
  - { connect: "198.51.100.1:80", expect: deny }
  - { connect: "a.test:80", expect: allow }
  - { user: ann+at-x, connect: "a.test:80", expect: allow }
`,
      "5:5 tests[0]: expected allow, but 192.0.2.1:80 is denied by rule a",
      "6:5 tests[1]: expected deny rule b, but 192.0.2.1:80 is denied by rule a",
      "8:5 tests[3]: expected deny, but 198.51.100.1:80 is allowed by default allow",
      "9:5 tests[4]: a.test:80 is undecided: a rule needs to know the addresses of the host; add resolvesTo: [ADDRESS]",
      "10:5 tests[5]: unknown option \"at-x\" in the user name; known: to"
    ))

  it.live("tells what the schema complains about, each on its line", () =>
    wrong(
      "schema.yaml",
      "lisen: 1\nworkers: 0\n",
      "1:1 lisen: no such key; did you mean listen?",
      "2:1 workers: \"0\" is not a whole number from 1 to 1024, or auto"
    ))

  it.live("warns of a state file that can't be kept, without which the proxy runs", () => {
    mkdirSync(join(folder, "state"), { recursive: true })
    return Effect.all([
      fine(
        "state.yaml",
        "limits: { stateFile: state }\n",
        "0 rules, 0 tests passed",
        stateFileProblem("state", "is no regular file; give another path")
      ),
      fine(
        "itself.yaml",
        "limits: { stateFile: itself.yaml }\n",
        "0 rules, 0 tests passed",
        stateFileProblem("itself.yaml", "is another kind of file; give another path")
      ),
      fine(
        "nowhere.yaml",
        "limits: { stateFile: no/such/usage.json }\n",
        "0 rules, 0 tests passed",
        stateFileProblem("no/such/usage.json", "is in no folder that can be written to; create it, or correct the path")
      )
    ])
  })

  it.live("looks at all files", () =>
    Effect.gen(function*() {
      write("users.txt", "ann\n")
      yield* wrong(
        "files.yaml",
        `listen: ["tls://127.0.0.1:1?cert=c.pem&key=k.pem", "127.0.0.1:2", "localhost:2", "unix:no/such/socket"]
users: users.txt
`,
        "1:1 listen: 127.0.0.1:2 is given twice; give it once",
        "1:10 listen[0]: tls://127.0.0.1:1: cert c.pem: no such file; correct the path",
        "1:82 listen[3]: unix:no/such/socket can't be listened on (ENOENT); choose a path in a directory that exists " +
          "and may be written to",
        "2:1 users: users.txt:1: no colon after the name; write NAME:HASH, and for the hash run: sluice hash"
      )
    }))

  it.live.each<readonly [what: string, text: string, line: RegExp]>([
    ["its own address as upstream", "upstream: \"socks5://localhost:1080\"\n", /1:1 upstream: localhost:1080 is where/],
    [
      "its own address in a pool",
      "upstreams: { a: { proxies: [\"socks5://192.0.2.1\", \"http://127.0.0.1:1080\"] } }\n",
      /1:\d+ upstreams\.a\.proxies\[1\]: 127\.0\.0\.1:1080 is where this proxy itself listens/
    ],
    [
      "a name that is cut off at its plus",
      "user: \"a+b:x\"\nuserOptions: { a: { kind: session } }\n",
      /1:1 user: name "a\+b" has a plus/
    ],
    ["another kind of file for a socket", "listen: \"unix:kind.yaml\"\n", /unix:kind\.yaml is another kind of file; /],
    ["a folder for a socket", "listen: \"unix:.\"\n", /unix:\. is another kind of file; /],
    [
      "an address beside all addresses",
      "listen: [\"0.0.0.0:1080\", \"127.0.0.1:1080\"]\nopenProxy: true\n",
      /1:1 listen: 0\.0\.0\.0:1080 takes in 127\.0\.0\.1:1080 too; /
    ],
    [
      "an address of another machine",
      "listen: 203.0.113.5:1080\nopenProxy: true\n",
      /1:1 listen: 203\.0\.113\.5:1080 is not an address of this machine; /
    ]
  ])("refuses what serve refuses: %s", ([, text, line]) =>
    Effect.gen(function*() {
      const checked = yield* check("kind.yaml", text)
      const served = yield* Cli.run(["serve", "--config", "kind.yaml"], { cwd: folder })
      assert.notStrictEqual(served.code, 0)
      assert.match(checked.stderr, line)
      assert.deepStrictEqual([checked.code, checked.stderr], [1, served.stderr])
    }))

  it.live("warns of rules that can never match", () =>
    fine(
      "dead.yaml",
      `users:
  - { name: ann, password: "${hash}", groups: staff }
  - { name: old, password: "${hash}", expires: 2020-01-01 }
lists: { none: [], office: 10.0.0.0/8 }
rules:
  - { name: web, ports: 1-1000, action: allow }
  - { ports: [80, 443], users: ann, action: deny }
  - { to: none, action: deny }
  - { users: [an], groups: staf, action: deny }
  - { to: ofice, action: deny }
  - { listeners: "127.0.0.1:99", action: deny }
`,
      "6 rules, 0 tests passed",
      "7:5 rules[1]: can never match: rule web before it matches all that it would",
      "8:7 rules[2].to: can never match: has nothing in it: list none",
      "9:15 rules[3].users[0]: there is no user \"an\", as far as is known here",
      "9:20 rules[3].groups: no user is in the group \"staf\", as far as is known here",
      "3:5 users[1]: \"old\" can't log in any more: expired 2020-01-01",
      "10:7 rules[4].to: \"ofice\" is taken for a domain; did you mean the list office?",
      "11:7 rules[5].listeners: \"127.0.0.1:99\" is none of 127.0.0.1:1080"
    ))

  it.live("warns of names of lists and files that are taken for domains", () =>
    fine(
      "domains.yaml",
      `lists:
  office: 10.0.0.0/8
  ads: ads.txt
  both: [office, intranet, .office, b.hosts]
rules:
  - { to: ofice, action: deny }
  - { to: [both, office.test], not: { to: adz }, action: deny }
`,
      "2 rules, 0 tests passed",
      "6:7 rules[0].to: \"ofice\" is taken for a domain; did you mean the list office?",
      "7:39 rules[1].not.to: \"adz\" is taken for a domain; did you mean the list ads?",
      "3:3 lists.ads: \"ads.txt\" is taken for a domain; to read a file write ads: { file: ads.txt }",
      "4:10 lists.both[0]: \"office\" is taken for a domain, since lists hold no lists; name both where they are used",
      "4:37 lists.both[3]: \"b.hosts\" is taken for a domain; to read a file write both: { file: b.hosts }"
    ))

  it.live("warns of rules that several before leave nothing of, and of those for what clients can't speak", () =>
    fine(
      "several.yaml",
      `protocols: [socks5, socks4]
rules:
  - { to: 10.0.0.0/8, action: deny }
  - { name: corp, to: .corp.example, action: deny }
  - { to: [10.1.0.0/16, db.corp.example], action: allow }
  - { protocols: http, action: deny }
  - { to: "::/0", ports: 25, action: deny }
  - { to: 198.51.100.0/24, ports: 25, action: deny }
`,
      "6 rules, 0 tests passed",
      "5:5 rules[2]: can never match: rule 1 and rule corp before it match all that it would",
      "6:7 rules[3].protocols: can never match: clients can speak nothing but socks5, socks4 here"
    ))

  it.live("warns of rules for users where there are none, and of those behind one that matches all that is served", () =>
    Effect.gen(function*() {
      yield* fine(
        "nobody.yaml",
        `rules:
  - { users: ann, action: deny }
  - { groups: staff, action: deny }
  - { not: { when: { days: mon-sun } }, action: deny }
  - { listeners: "127.0.0.1:1080", not: { users: ann, ports: 25 }, action: allow }
  - { ports: 443, action: deny }
`,
        "5 rules, 0 tests passed",
        "2:7 rules[0].users: can never match: there are no users, as far as is known here",
        "3:7 rules[1].groups: can never match: there are no users, as far as is known here",
        "4:7 rules[2].not: can never match: excepts all of it by its when",
        "6:5 rules[4]: can never match: rule 4 before it matches all that it would"
      )
      yield* fine(
        "service.yaml",
        `auth: { http: "http://127.0.0.1:1/" }
rules: [{ users: ann, action: deny }, { groups: staff, action: deny }]
`,
        "2 rules, 0 tests passed",
        "1:9 auth.http: can't connect to 127.0.0.1:1: ECONNREFUSED"
      )
    }))

  it.live("says nothing of users whom a certificate names, and of groups that they are in none", () =>
    Effect.gen(function*() {
      const { cert, key } = yield* Certificates.make(yield* Certificates.directory, "server", "127.0.0.1")
      const listen = `listen: "tls://127.0.0.1:1443?cert=${cert}&key=${key}&clientCa=${cert}"\n`
      const rules = "rules: [{ users: host-1, action: deny }, { groups: staff, action: deny }]\n"
      yield* fine(
        "mutual.yaml",
        listen + rules,
        "2 rules, 0 tests passed",
        "2:44 rules[1].groups: can never match: there are no users, as far as is known here"
      )
      yield* fine(
        "both.yaml",
        `${listen}users: [{ name: ann, password: "${hash}" }]\n${rules}`,
        "2 rules, 0 tests passed",
        "3:44 rules[1].groups: no user is in the group \"staff\", as far as is known here"
      )
    }))

  it.live("refuses what serve would for an open proxy, and warns of one that is meant, unless the rules close it", () =>
    Effect.gen(function*() {
      yield* fine(
        "open.yaml",
        "listen: 0.0.0.0:1080\nopenProxy: true\n",
        "0 rules, 0 tests passed",
        "1:1 listen: 0.0.0.0:1080 is an open proxy: whoever reaches it may use it"
      )
      for (const more of ["", "default: deny\nrules: [{ clients: 192.0.2.0/24, action: allow }]\n"]) {
        const { code, stderr } = yield* check("refused.yaml", `listen: ["[::]:1080"]\n${more}`)
        assert.strictEqual(code, 1)
        assert.match(stderr, /^sluice: refused\.yaml:1:1 listen: \[::\]:1080 would be an open proxy; add /)
      }
      yield* fine(
        "ports.yaml",
        "listen: 0.0.0.0:1080\nopenProxy: true\ndefault: deny\nrules: [{ ports: 80, action: allow }]\n",
        "1 rule, 0 tests passed",
        "1:1 listen: 0.0.0.0:1080 is an open proxy: whoever reaches it may use it"
      )
      yield* fine(
        "closed.yaml",
        "listen: 0.0.0.0:1080\nopenProxy: true\ndefault: deny\nrules: [{ clients: 192.0.2.0/24, action: allow }]\n",
        "1 rule, 0 tests passed"
      )
      yield* fine("local.yaml", "listen: 127.0.0.1:1080\n", "0 rules, 0 tests passed")
      write("all.txt", `ann:${hash}\n`)
      yield* fine("users.yaml", "listen: 0.0.0.0:1080\nusers: all.txt\n", "0 rules, 0 tests passed")
    }))

  it.live("has whom it tests log in, if it is somebody in particular", () =>
    Effect.gen(function*() {
      const users = `users:
  - { name: old, password: "${hash}", expires: 2037-01-01 }
  - { name: near, password: "${hash}", from: 192.0.2.0/24 }
tests:
`
      yield* fine(
        "logins.yaml",
        `${users}  - { user: old, connect: "203.0.113.1:80", expect: allow }
  - { user: old, connect: "203.0.113.1:80", at: 2037-01-02T00:00:00Z, expect: deny login }
  - { user: near, client: 192.0.2.1, connect: "203.0.113.1:80", expect: allow }
  - { connect: "203.0.113.1:80", listener: "127.0.0.1:99", expect: allow }
`,
        "0 rules, 4 tests passed",
        "8:34 tests[3].listener: \"127.0.0.1:99\" is none of 127.0.0.1:1080"
      )
      const denied = "expected allow, but 203.0.113.1:80 is denied by login"
      yield* wrong(
        "refused.yaml",
        `${users}  - { user: old, connect: "203.0.113.1:80", at: 2037-01-02T00:00:00Z, expect: allow }
  - { user: near, client: 198.51.100.1, connect: "203.0.113.1:80", expect: allow }
  - { user: near, connect: "203.0.113.1:80", expect: allow }
`,
        `5:5 tests[0]: ${denied} (the user expired at 2037-01-01)`,
        `6:5 tests[1]: ${denied} (the user may not log in from 198.51.100.1)`,
        `7:5 tests[2]: ${denied} (the user may log in from some networks only, and the client's address is unknown)`
      )
    }))

  it.live("knows who is tested, and who could never log in", () =>
    Effect.gen(function*() {
      yield* wrong(
        "ghost.yaml",
        `users: [{ name: ann, password: "${hash}" }]
tests:
  - { user: ann, connect: "192.0.2.1:80", expect: allow }
  - { user: anm, connect: "192.0.2.1:80", expect: allow }
`,
        "4:5 tests[1]: there is no user \"anm\"; did you mean ann?"
      )
      yield* fine(
        "strangers.yaml",
        `users: [{ name: ann, password: "${hash}" }]
userOptions: { to: { kind: session } }
tests:
  - { user: anm, connect: "192.0.2.1:80", expect: deny login }
  - { user: ann+at-x, connect: "192.0.2.1:80", expect: deny }
`,
        "0 rules, 2 tests passed"
      )
      yield* fine(
        "anybody.yaml",
        "tests: [{ user: ann, connect: \"192.0.2.1:80\", expect: allow }]\n",
        "0 rules, 1 test passed"
      )
      write("plus.txt", `ann:${hash}\nann+b:${hash}\n`)
      yield* wrong(
        "plus.yaml",
        "users: plus.txt\nuserOptions: { a: { kind: session } }\n",
        "1:1 users: plus.txt:2: name \"ann+b\" has a plus, behind which are options of a user; choose another name"
      )
      yield* fine("plain.yaml", "users: plus.txt\n", "0 rules, 0 tests passed")
    }))

  it.live("warns of addresses to go out from that are not this machine's", () =>
    fine(
      "egress.yaml",
      `egress: [127.0.0.9, 192.0.2.1, 198.51.100.0/24]
users: [{ name: ann, password: "${hash}", egress: 198.51.100.2 }]
rules: [{ to: 203.0.113.0/24, action: allow, egress: { from: 192.0.2.3 } }]
`,
      "1 rule, 0 tests passed",
      ...[
        "1:1 egress: this machine has no address 192.0.2.1",
        "2:130 users[0].egress: this machine has no address 198.51.100.2",
        "3:46 rules[0].egress: this machine has no address 192.0.2.3"
      ].map((line) => `${line}, as far as its interfaces tell`)
    ))

  it.live("warns of those of a users file too, of each once", () => {
    const egress = "egress=192.0.2.1,127.0.0.9"
    writeFileSync(join(folder, "egress.txt"), `ann:${hash}:${egress}\nbob:${hash}:${egress} groups=a\n`)
    return fine(
      "egress-file.yaml",
      "users: egress.txt\n",
      "0 rules, 0 tests passed",
      "1:1 users: user \"bob\": this machine has no address 192.0.2.1, as far as its interfaces tell"
    )
  })

  it.live("warns of certificates that are good no more, or not yet", () =>
    Effect.gen(function*() {
      const request =
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout aged.key -subj /CN=here -out aged.csr"
      yield* Program.run("openssl", request.split(" "), { cwd: folder })
      const signing = "x509 -req -in aged.csr -signkey aged.key -days -1 -out aged.pem"
      const ended = yield* Program.run("openssl", signing.split(" "), { cwd: folder })
      assert.strictEqual(ended.code, 0, ended.stderr)
      const { code, stdout } = yield* check("aged.yaml", "listen: \"tls://127.0.0.1:1?cert=aged.pem&key=aged.key\"\n")
      assert.strictEqual(code, 0)
      assert.match(stdout, /^warning: aged\.yaml:1:1 listen: cert aged\.pem expired at \d{4}-/)
    }))

  it.live("warns of what is odd about users", () =>
    Effect.gen(function*() {
      write("nobody.txt", "# nobody yet\n")
      yield* fine(
        "nobody.yaml",
        "users: nobody.txt\n",
        "0 rules, 0 tests passed",
        "1:1 users: no user can log in: \"nobody.txt\" has none"
      )
      yield* fine(
        "sessions.yaml",
        `users: [{ name: ann, password: "${hash}", egress: { from: 127.0.0.9, by: session } }]
limits: { groups: { staf: { devices: 1 } } }
rules: [{ to: 192.0.2.0/24, action: allow, egress: { from: 127.0.0.9, by: session } }]
`,
        "1 rule, 0 tests passed",
        "2:21 limits.groups.staf: no user is in the group \"staf\", as far as is known here",
        ...["1:130 users[0].egress", "3:44 rules[0].egress"].map((place) =>
          `${place}: egress by session takes turns, since no client can name a session; add one to userOptions`
        )
      )
    }))

  it.live("finds a login service that is nowhere, and takes no URL with a password", () =>
    Effect.gen(function*() {
      const closed = yield* closedPort
      const { code, stdout } = yield* check("service.yaml", `auth: { http: "http://127.0.0.1:${closed}/login" }\n`)
      assert.strictEqual(code, 0)
      assert.match(stdout, /^warning: service\.yaml:1:9 auth\.http: can't connect to 127\.0\.0\.1:\d+: ECONNREFUSED\n/)
      const { stderr } = yield* check("secret.yaml", "auth: { http: \"http://svc:S3cr3t@127.0.0.1/\" }\n")
      assert.strictEqual(
        stderr,
        "sluice: secret.yaml:1:9 auth.http: has a user or a password, which would not be sent; write what the service " +
          "asks for into a tokenFile\n"
      )
    }))

  it.live("warns of classes of limits that a users file names and that are not there", () => {
    writeFileSync(
      join(folder, "classes.txt"),
      `ann:${hash}:limits=heavy\nbob:${hash}:limits=hevay\ncid:${hash}:limits=hevay\n`
    )
    return fine(
      "classes.yaml",
      "users: classes.txt\nlimits: { classes: { heavy: { devices: 1 } } }\n",
      "0 rules, 0 tests passed",
      "1:1 users: user \"bob\": there is no class of limits \"hevay\", so the limits of users hold; did you mean heavy?"
    )
  })

  it.live("warns of upstreams that are nowhere", () =>
    Effect.gen(function*() {
      const { port } = yield* echo()
      const closed = yield* closedPort
      const proxies = [port, closed].map((port) => `    - socks5://127.0.0.1:${port}\n`).join("")
      const { code, stdout } = yield* check(
        "nowhere.yaml",
        `upstreams:\n  a:\n    proxies:\n${proxies}    - socks5://nowhere.invalid\n`
      )
      assert.strictEqual(code, 0)
      const [first, second, third] = stdout.split("\n")
      const place = "warning: nowhere.yaml"
      assert.strictEqual(
        first,
        `${place}:5:7 upstreams.a.proxies[1]: can't connect to 127.0.0.1:${closed}: ECONNREFUSED`
      )
      const unresolved = `${place}:6:7 upstreams.a.proxies[2]: can't resolve nowhere.invalid: `
      assert.strictEqual(second?.slice(0, unresolved.length), unresolved)
      assert.strictEqual(third, "nowhere.yaml is fine: 0 rules, 0 tests passed")
    }))

  it.live("needs a file", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Cli.run(["check"]), {
        code: 2,
        stdout: "",
        stderr: "sluice: FILE: is missing; see sluice check --help\n"
      })
      assert.deepStrictEqual(yield* Cli.run(["check", "--quiet", "x"]), {
        code: 2,
        stdout: "",
        stderr: "sluice: --quiet: no such flag; see sluice check --help\n"
      })
    }))
})
