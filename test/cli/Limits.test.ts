/** Limits and bans of a configuration file, in the program itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { ask, AU, C4, connect, connectThrough, G0, hex, type RawClient } from "../support/RawClient.ts"
import { echo, target } from "../support/Targets.ts"
import { associated, U4, UA, udpEcho } from "../support/Udp.ts"

const setup = Effect.fnUntraced(function*(text: string, args: ReadonlyArray<string> = []) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-limits-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )
  const path = join(folder, "sluice.yaml")
  writeFileSync(path, `listen: 127.0.0.1:0\n${text}`)
  const serve = Cli.serve({ args: ["--config", path, ...args], inherits: 1 })
  /** Writes another text, by renaming as editors do. */
  const change = (text: string) =>
    Effect.sync(() => {
      writeFileSync(`${path}.new`, `listen: 127.0.0.1:0\n${text}`)
      renameSync(`${path}.new`, path)
    })
  return { change, folder, path, serve }
})

const users = Effect.map(
  PasswordHash.hash(Redacted.make("sesame")),
  (hash) =>
    "users:\n" + ["ann", "bob"].map((name) => `  - { name: ${name}, password: "${hash}", groups: [staff] }\n`).join("")
)

const echoes = (client: RawClient): Effect.Effect<boolean> =>
  client.send("ping").pipe(
    Effect.andThen(client.read(4)),
    Effect.match({ onFailure: () => false, onSuccess: (bytes) => bytes.toString() === "ping" })
  )

const refusal = (port: number, to: number, login?: Uint8Array) =>
  Effect.scoped(Effect.map(Effect.flip(connectThrough(port, to, login)), ({ code }) => code))

/** Limits whose counters are kept in a file. */
const keptIn = (file: string) => `limits: { client: { bytesPerDay: 1kB }, stateFile: ${file} }\n`

/** Whether it is closed before it has said anything. */
const turnedAway = (port: number): Effect.Effect<boolean> =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* connect(port)
    const ended = yield* Effect.timeoutOption(Effect.exit(client.readToEnd), "300 millis")
    return ended._tag === "Some"
  })).pipe(Effect.match({ onFailure: () => true, onSuccess: (ended) => ended }))

describe("limits:", () => {
  it.live("of a class that is not there are told of in the log, once", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { folder, serve } = yield* setup("users: users.txt\nlimits: { user: { connections: 1 } }\n")
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      writeFileSync(join(folder, "users.txt"), `ann:${hash}:limits=nope\nbob:${hash}:limits=nope\n`)
      const proxy = yield* serve
      for (const name of ["ann", "bob"]) {
        yield* connectThrough(proxy.port, origin.port, AU(name, "sesame"))
        assert.strictEqual(yield* refusal(proxy.port, origin.port, AU(name, "sesame")), "REP 2")
      }
      assert.strictEqual(yield* proxy.stop, 0)
      const told = proxy.stderr().split("\n").filter((line) => line.includes("no class of limits"))
      assert.strictEqual(told.length, 1)
      assert.match(
        told[0] ?? "",
        / level=warn msg="there is no class of limits \\"nope\\", so the limits of users hold" .*user=ann$/
      )
    }))

  it.live("of connections are each user's own, and what is left is given back", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { serve } = yield* setup(`${yield* users}limits: { user: { connections: 2 } }\n`)
      const proxy = yield* serve
      const ann = AU("ann", "sesame")
      const first = yield* connectThrough(proxy.port, origin.port, ann)
      yield* connectThrough(proxy.port, origin.port, ann)
      assert.strictEqual(yield* refusal(proxy.port, origin.port, ann), "REP 2")
      assert.match(
        yield* proxy.takeLine(/connection ended/),
        / user=ann destination=127\.0\.0\.1:\d+ reply=2 .*reason="limit: user ann has 2 of 2 connections"$/
      )
      assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, origin.port, AU("bob", "sesame"))))
      yield* first.end
      yield* first.readToEnd
      yield* proxy.takeLine(/connection ended/)
      assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, origin.port, ann)))
    }))

  it.live("are told to HTTP clients as 429", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { serve } = yield* setup(
        "rules: [{ action: allow, limits: tight }]\nlimits: { classes: { tight: { connections: 1 } } }\n"
      )
      const proxy = yield* serve
      yield* connectThrough(proxy.port, origin.port)
      const client = yield* connect(proxy.port)
      yield* client.send(`CONNECT 127.0.0.1:${origin.port} HTTP/1.1\r\n\r\n`)
      assert.match((yield* client.readToEnd).toString(), /^HTTP\/1\.1 429 Too Many Requests\r\n/)
    }))

  it.live("of a class are those of whom a rule gives it", () =>
    Effect.gen(function*() {
      const [free, tight] = yield* Effect.all([echo(), echo()])
      const { serve } = yield* setup(
        `rules:\n  - { ports: [${tight.port}], action: allow, limits: tight }\n` +
          "limits: { classes: { tight: { connections: 1 } } }\n"
      )
      const proxy = yield* serve
      yield* connectThrough(proxy.port, tight.port)
      assert.strictEqual(yield* refusal(proxy.port, tight.port), "REP 2")
      for (let count = 0; count < 3; count++) yield* connectThrough(proxy.port, free.port)
    }))

  it.live("of bytes end who has used them up, and are remembered over a restart", () =>
    Effect.gen(function*() {
      const block = Buffer.alloc(150_000, "x")
      const origin = yield* target((socket) => {
        socket.write(block)
        socket.on("error", () => {})
      })
      const { folder, serve } = yield* setup(
        "limits: { client: { bytesPerDay: 100kB }, stateFile: usage.json }\n"
      )
      const state = join(folder, "usage.json")
      const first = yield* serve
      const client = yield* connectThrough(first.port, origin.port)
      yield* Effect.exit(client.readToEnd)
      assert.match(
        yield* first.takeLine(/connection ended/),
        /reason="quota: client 127\.0\.0\.1 has used up 100kB a day, more from \d{4}-\d\d-\d\d \(UTC\)"/
      )
      assert.strictEqual((yield* ask(first.port, C4(origin.port)))[1], 2)
      assert.strictEqual(yield* first.stop, 0)
      assert.isTrue(existsSync(state))
      assert.strictEqual(statSync(state).mode & 0o777, 0o600)
      const second = yield* serve
      assert.strictEqual((yield* ask(second.port, C4(origin.port)))[1], 2)
      assert.strictEqual(yield* second.stop, 0)
      writeFileSync(state, readFileSync(state).subarray(0, 20))
      const third = yield* serve
      yield* connectThrough(third.port, origin.port)
      yield* third.takeLine(/level=warn .*usage\.json/)
    }))

  it.live("of a rule's class hold for associations and BIND", () =>
    Effect.gen(function*() {
      const { serve } = yield* setup(
        `rules:
  - { to: 192.0.2.0/24, action: deny }
  - { commands: associate, action: allow, limits: few, log: debug }
  - { commands: bind, to: 127.0.0.1, action: allow, limits: one }
limits: { classes: { one: { connections: 1 }, few: { connections: 2 } } }
`
      )
      const proxy = yield* serve
      const second = yield* Effect.scoped(Effect.gen(function*() {
        yield* associated(proxy.port)
        yield* associated(proxy.port)
        return yield* ask(proxy.port, UA)
      }))
      assert.strictEqual(second[1], 2)
      yield* proxy.takeLine(/reason="limit: client 127\.0\.0\.1 has 2 of 2 connections \(class few\)"/)
      const bind = hex("05 02 00 01 7f000001 0000")
      const first = yield* connect(proxy.port)
      yield* first.send(G0, bind)
      assert.strictEqual((yield* first.read(12))[3], 0)
      assert.strictEqual((yield* ask(proxy.port, bind))[1], 2)
      yield* proxy.takeLine(/reason="limit: client 127\.0\.0\.1 has 1 of 1 connections \(class one\)"/)
      yield* first.end
    }))

  it.live("of bandwidth keep no place for a client of HTTP that has gone", () =>
    Effect.gen(function*() {
      const origin = yield* target((socket) => {
        socket.once("data", () => {
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
          socket.end(Buffer.alloc(100_000_000))
        })
      })
      const { serve } = yield* setup("limits: { client: { down: 1MB/s, connections: 1 } }\n")
      const proxy = yield* serve
      for (let count = 0; count < 3; count++) {
        const { code } = yield* Program.run("curl", [
          "-s",
          "-m",
          "1.5",
          "-o",
          "/dev/null",
          "-x",
          `http://127.0.0.1:${proxy.port}`,
          `http://127.0.0.1:${origin.port}/`
        ])
        // That its time was over, and not that there was no room for it.
        assert.strictEqual(code, 28)
        yield* proxy.takeLine(/connection ended.* command=forward .*reason="client /)
      }
    }))

  it.live("of UDP packets drop those that are too many, and count them", () =>
    Effect.gen(function*() {
      const origin = yield* udpEcho()
      const { serve } = yield* setup("limits: { client: { udpPackets: 10/m } }\n")
      const proxy = yield* serve
      yield* Effect.scoped(Effect.gen(function*() {
        const { send } = yield* associated(proxy.port)
        for (let count = 0; count < 40; count++) yield* send(U4(origin.port, "x"))
        assert.isTrue(yield* within(Effect.sync(() => origin.received.length > 0)))
      }))
      const line = yield* proxy.takeLine(/connection ended/)
      const [, dropped = "0"] = / dropped_limited=(\d+)/.exec(line) ?? []
      assert.isAtLeast(Number(dropped), 25, line)
    }))

  it.live("hold with workers for all of them together", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { serve } = yield* setup("workers: 2\nlimits: { client: { connections: 4 } }\n")
      const proxy = yield* serve
      for (let count = 0; count < 4; count++) yield* connectThrough(proxy.port, origin.port)
      for (let count = 0; count < 4; count++) assert.isTrue(yield* turnedAway(proxy.port))
      assert.match(
        yield* proxy.takeLine(/connection ended/),
        /client=127\.0\.0\.1:\d+ up=0 .*reason="limit: client 127\.0\.0\.1 has 4 of 4 connections"/
      )
    }))

  it.live("of a rule's class hold with workers too, wherever nothing has to be looked up", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { serve } = yield* setup(
        `${yield* users}workers: 2\nrules: [{ action: allow, limits: tight }]\n` +
          "limits: { user: { connections: 9 }, classes: { tight: { connections: 1 } } }\n"
      )
      const proxy = yield* serve
      const ann = AU("ann", "sesame")
      const first = yield* connectThrough(proxy.port, origin.port, ann)
      assert.isTrue(yield* echoes(first))
      assert.strictEqual(yield* refusal(proxy.port, origin.port, ann), "REP 2")
      yield* proxy.takeLine(/reason="limit: user ann has 1 of 1 connections \(class tight\)"/)
      assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, origin.port, AU("bob", "sesame"))))
    }))

  it.live("a worker that is killed gives back what its connections had", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { serve } = yield* setup("workers: 2\nlimits: { client: { connections: 12 } }\n")
      const proxy = yield* serve
      const [, pid = ""] = / pid=(\d+)/.exec(yield* proxy.takeLine(/worker listens/)) ?? []
      const clients = yield* Effect.forEach(
        // Which worker has which is by chance: of so many, each has some.
        Array.from({ length: 12 }),
        () => connectThrough(proxy.port, origin.port)
      )
      assert.isTrue(yield* turnedAway(proxy.port))
      process.kill(Number(pid), "SIGKILL")
      yield* proxy.takeLine(/worker crashed/)
      yield* proxy.takeLine(/worker listens.* worker=3 /)
      const alive = yield* Effect.forEach(clients, echoes)
      assert.include(alive, false)
      for (let lost = alive.filter((lives) => !lives).length; lost > 0; lost--) {
        assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, origin.port)))
      }
      assert.isTrue(yield* turnedAway(proxy.port))
    }))

  for (const workers of ["", "workers: 2\n"]) {
    const where = workers === "" ? "in one process" : "with workers"

    it.live(`of clients count those who never say who they are, ${where}`, () =>
      Effect.gen(function*() {
        const origin = yield* echo()
        const { serve } = yield* setup(`${yield* users}${workers}limits: { client: { connections: 3 } }\n`)
        const proxy = yield* serve
        // Who is the one too many is for the system to say.
        const silent = yield* Effect.forEach([1, 2, 3, 4], () => connect(proxy.port))
        const gone = new Set<number>()
        yield* Effect.forEach(silent, ({ readToEnd }, at) =>
          Effect.forkScoped(Effect.ensuring(
            Effect.exit(readToEnd),
            Effect.sync(() => gone.add(at))
          )))
        assert.isTrue(yield* within(Effect.sync(() => gone.size > 0)))
        assert.isTrue(yield* turnedAway(proxy.port))
        assert.strictEqual(gone.size, 1)
        yield* Effect.forEach(silent, ({ end }) => end)
        const getsIn = Effect.isSuccess(Effect.scoped(connectThrough(proxy.port, origin.port, AU("ann", "sesame"))))
        assert.isTrue(yield* within(getsIn))
      }))

    it.live(`that a reload brings hold for those who are in, ${where}`, () =>
      Effect.gen(function*() {
        const origin = yield* target((socket) => {
          const timer = setInterval(() => socket.writableLength === 0 && socket.write(Buffer.alloc(100_000)), 10)
          socket.on("close", () => clearInterval(timer)).on("error", () => {})
        })
        const text = `${yield* users}${workers}`
        const { change, serve } = yield* setup(text)
        const proxy = yield* serve
        const ann = AU("ann", "sesame")
        const clients = yield* Effect.forEach([1, 2, 3, 4], () => connectThrough(proxy.port, origin.port, ann))
        let received = 0
        yield* Effect.forEach(clients, (client) =>
          Effect.forkScoped(Effect.ignore(client.readEach((bytes) => {
            received += bytes.length
          }))))
        const speed = Effect.suspend(() => {
          const before = received
          return Effect.map(Effect.sleep(500), () => received - before)
        })
        assert.isAbove(yield* speed, 1_000_000)
        yield* change(`${text}limits: { user: { down: 200kB/s, connections: 2 } }\n`)
        yield* proxy.takeLine(/configuration loaded/)
        // What is on its way in sockets may be a lot.
        assert.isTrue(yield* within(Effect.map(speed, (bytes) => bytes > 50_000 && bytes < 150_000), "8 seconds"))
        assert.strictEqual(yield* refusal(proxy.port, origin.port, ann), "REP 2")
        yield* change(text)
        yield* proxy.takeLine(/configuration loaded/)
        assert.isAbove(yield* speed, 1_000_000)
      }), 30_000)

    it.live(`of a group hold for those who come into it by a reload, ${where}`, () =>
      Effect.gen(function*() {
        const origin = yield* echo()
        const limits = `${workers}limits: { groups: { guests: { connections: 1 } } }\n`
        // Another hash would be another password.
        const known = yield* users
        const { change, serve } = yield* setup(`${known}${limits}`)
        const proxy = yield* serve
        const running = yield* Effect.forEach(
          [1, 2],
          () => connectThrough(proxy.port, origin.port, AU("ann", "sesame"))
        )
        yield* change(`${known.replaceAll("staff", "guests")}${limits}`)
        yield* proxy.takeLine(/configuration loaded/)
        assert.strictEqual(yield* refusal(proxy.port, origin.port, AU("bob", "sesame")), "REP 2")
        assert.match(yield* proxy.takeLine(/connection ended/), /limit: group guests has 2 of 1 connections/)
        for (const client of running) assert.isTrue(yield* echoes(client))
      }))

    it.live(`of bytes hold to little more than that, ${where}`, () =>
      Effect.gen(function*() {
        const quota = 20_000_000
        const origin = yield* target((socket) => {
          const send = () => {
            while (socket.write(Buffer.alloc(65_536)));
          }
          socket.on("drain", send).on("error", () => {}).once("data", send)
        })
        const { serve } = yield* setup(`${workers}limits: { client: { bytesPerDay: ${quota / 1e6}MB } }\n`)
        const proxy = yield* serve
        const clients = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => connectThrough(proxy.port, origin.port))
        yield* Effect.forEach(clients, ({ send }) => send("go"))
        yield* Effect.forEach(clients, (client) => Effect.exit(client.readToEnd), { concurrency: "unbounded" })
        let moved = 0
        for (const _ of clients) moved += Number(/ down=(\d+)/.exec(yield* proxy.takeLine(/connection ended/))?.[1])
        // One read of each connection; with workers, a little more that they need not tell.
        assert.isAtLeast(moved, quota)
        assert.isAtMost(moved, quota + 6 * (workers === "" ? 65_536 : 100_000))
      }))

    it.live(`of bytes are kept in another file after a reload, ${where}`, () =>
      Effect.gen(function*() {
        const origin = yield* echo()
        const { change, folder, serve } = yield* setup(`${workers}${keptIn("one.json")}`)
        const proxy = yield* serve
        const client = yield* connectThrough(proxy.port, origin.port)
        assert.isTrue(yield* echoes(client))
        yield* client.end
        yield* proxy.takeLine(/connection ended/)
        yield* change(`${workers}${keptIn("two.json")}`)
        yield* proxy.takeLine(/configuration loaded/)
        const kept = (file: string) =>
          Effect.sync(() => {
            const path = join(folder, file)
            return existsSync(path) && readFileSync(path, "utf8").includes("\"day\":8")
          })
        assert.isTrue(yield* kept("one.json"))
        assert.isTrue(yield* within(kept("two.json")))
        yield* change(`${workers}${keptIn("missing/three.json")}`)
        yield* proxy.takeLine(/level=warn msg="can't write the usage file.*missing\/three\.json/)
      }))
  }
})

/** What ann is told who logs in from an address. */
const loginFrom = Effect.fnUntraced(function*(port: number, address: string, password: string) {
  const client = yield* connect(port)
  yield* client.send(`PROXY TCP4 ${address} 192.0.2.1 5000 1080\r\n`)
  yield* client.send(Buffer.concat([hex("05 01 02"), AU("ann", password)]))
  return yield* client.read(4)
})

describe("bans:", () => {
  it.live.each([1, 2])("hold without a configuration file too, with %i workers", (workers) =>
    Effect.gen(function*() {
      const args = ["--proxy-protocol", "127.0.0.0/8", "--user", "ann:sesame", "--workers", `${workers}`]
      const proxy = yield* Cli.serve({ args })
      const wrong = () => Effect.forkScoped(loginFrom(proxy.port, "192.0.2.9", "wrong"))
      yield* Effect.forEach(Array.from({ length: 5 }), wrong)
      assert.match(yield* proxy.takeLine(/client banned/), /client=192\.0\.2\.9 /)
      assert.deepStrictEqual(yield* loginFrom(proxy.port, "192.0.2.9", "sesame"), hex("05 02 01 01"))
      assert.deepStrictEqual(yield* loginFrom(proxy.port, "192.0.2.8", "sesame"), hex("05 02 01 00"))
    }))

  it.live.each<readonly [workers: string, then: string]>([
    ["", "allow"],
    ["workers: 2\n", "allow"],
    ["", "off"],
    ["workers: 2\n", "off"]
  ])(
    "follow failed logins, and keep the right password out, until they are lifted: %j, %s",
    ([workers, then]) =>
      Effect.gen(function*() {
        const origin = yield* echo()
        const { path, serve } = yield* setup(
          `${yield* users}${workers}bans: { after: 3, delay: 50ms, for: 1h, allow: [] }\n`
        )
        const proxy = yield* serve
        for (let count = 0; count < 3; count++) {
          yield* Effect.exit(Effect.scoped(connectThrough(proxy.port, origin.port, AU("ann", "wrong"))))
        }
        yield* proxy.takeLine(/client banned for its failed logins/)
        yield* Effect.flip(Effect.scoped(connectThrough(proxy.port, origin.port, AU("ann", "sesame"))))
        yield* proxy.takeLine(/reason="authentication failed: .*ban/)
        // Whoever may not be banned is not; nor is anybody where there are no bans, whatever comes later.
        const [before = "", after = ""] = readFileSync(path, "utf8").split(/^bans: .*$/m)
        const all = { after: 3, delay: "50ms", for: "1h", allow: [] }
        const following = then === "off" ? ["off", all] : [{ ...all, allow: ["127.0.0.0/8"] }]
        for (const next of following) {
          writeFileSync(path, `${before}bans: ${JSON.stringify(next)}${after}`)
          yield* proxy.takeLine(/configuration loaded/)
        }
        assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, origin.port, AU("ann", "sesame"))))
      })
  )

  it.live.each<readonly [text: string, isOn: boolean]>([["", true], ["bans: off\n", false]])(
    "hold unless they are off, and never for this machine: %j",
    ([text, isOn]) =>
      Effect.gen(function*() {
        const { serve } = yield* setup(`${yield* users}proxyProtocol: 127.0.0.0/8\n${text}`)
        const proxy = yield* serve
        const login = (address: string, password: string) => loginFrom(proxy.port, address, password)
        const wrong = (address: string) =>
          Effect.forEach(Array.from({ length: 5 }), () => Effect.forkScoped(login(address, "wrong")))
        const refusals = yield* wrong("127.0.0.1")
        for (const refusal of refusals) assert.deepStrictEqual(yield* Fiber.join(refusal), hex("05 02 01 01"))
        const others = yield* wrong("192.0.2.9")
        // With the delays, most refusals are still to come when the ban is there.
        if (isOn) assert.match(yield* proxy.takeLine(/client banned/), /client=192\.0\.2\.9 /)
        else yield* Effect.forEach(others, Fiber.join)
        assert.deepStrictEqual(yield* login("127.0.0.1", "sesame"), hex("05 02 01 00"))
        assert.deepStrictEqual(yield* login("192.0.2.9", "sesame"), hex(isOn ? "05 02 01 01" : "05 02 01 00"))
      })
  )

  it.live("are known to a worker that takes another's place", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { serve } = yield* setup(`${yield* users}workers: 2\nbans: { after: 2, delay: 10ms, for: 1h, allow: [] }\n`)
      const proxy = yield* serve
      const pids = yield* Effect.forEach([1, 2], () => proxy.takeLine(/worker listens/))
      for (let count = 0; count < 2; count++) {
        yield* Effect.exit(Effect.scoped(connectThrough(proxy.port, origin.port, AU("ann", "wrong"))))
      }
      yield* proxy.takeLine(/client banned for its failed logins/)
      for (const line of pids) process.kill(Number(/ pid=(\d+)/.exec(line)?.[1]), "SIGKILL")
      yield* Effect.forEach([1, 2], () => proxy.takeLine(/worker listens/))
      yield* Effect.flip(Effect.scoped(connectThrough(proxy.port, origin.port, AU("ann", "sesame"))))
      yield* proxy.takeLine(/reason="authentication failed: .*ban/)
    }))
})
