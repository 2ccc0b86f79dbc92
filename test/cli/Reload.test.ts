/** A configuration that changes while the program serves. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { createHash } from "node:crypto"
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { children, processorSeconds } from "../support/ProcessInfo.ts"
import * as Program from "../support/Program.ts"
import { ask, AU, C4, connect, connectThrough, G0, hex, probe, type RawClient } from "../support/RawClient.ts"
import { echo, stalled, target } from "../support/Targets.ts"
import { associated, U4, udpEcho } from "../support/Udp.ts"

/** A file that can be written again, by renaming as editors do. */
const file = (text: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-reload-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    ),
    (folder) => {
      const path = join(folder, "sluice.yaml")
      const write = (text: string) => {
        writeFileSync(`${path}.new`, text)
        renameSync(`${path}.new`, path)
      }
      write(text)
      return { folder, path, write: (text: string) => Effect.sync(() => write(text)) }
    }
  )

const listen = "listen: 127.0.0.1:0\n"

const deny = (name: string, port: number) => `  - { name: ${name}, ports: [${port}], action: deny }\n`

const setup = Effect.fnUntraced(function*(text: string, args: ReadonlyArray<string> = []) {
  const config = yield* file(text)
  const proxy = yield* Cli.serve({ args: ["--config", config.path, ...args], inherits: 1 })
  /** Writes another text, and waits until it is in force, or has been refused. */
  const change = (text: string) =>
    Effect.andThen(config.write(text), proxy.takeLine(/msg="configuration (?:not )?loaded/))
  return { ...config, change, proxy }
})

const echoes = (client: RawClient): Effect.Effect<boolean> =>
  client.send("ping").pipe(
    Effect.andThen(client.read(4)),
    Effect.match({ onFailure: () => false, onSuccess: (bytes) => bytes.toString() === "ping" })
  )

/** Whether it ends within a second. */
const ends = (client: RawClient) =>
  Effect.map(Effect.timeoutOption(Effect.exit(client.readToEnd), "1 second"), (exit) => exit._tag === "Some")

describe("a changed configuration", () => {
  it.live("is taken by itself, and judges those who are being served: nobody else notices", () =>
    Effect.gen(function*() {
      const [one, two] = yield* Effect.all([echo(), echo()])
      const { change, proxy } = yield* setup(listen)
      const [denied, stays] = [yield* connectThrough(proxy.port, one.port), yield* connectThrough(proxy.port, two.port)]
      assert.match(yield* change(`${listen}rules:\n${deny("no-one", one.port)}`), / path=\S+sluice\.yaml ended=1$/)
      assert.isTrue(yield* ends(denied))
      assert.isTrue(yield* echoes(stays))
      assert.match(yield* proxy.takeLine(/connection ended/), /reason="denied: rule no-one"/)
      assert.strictEqual((yield* ask(proxy.port, C4(one.port)))[1], 2)
      assert.isTrue(yield* probe(proxy.port, two.port))
      assert.match(yield* change(listen), /configuration loaded/)
      assert.isTrue(yield* probe(proxy.port, one.port))
    }))

  it.live("that is wrong is told of in one line, and the one before stays; SIGHUP asks again", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { change, proxy, write } = yield* setup(`${listen}rules:\n${deny("no-mail", 25)}`)
      const running = yield* connectThrough(proxy.port, origin.port)
      const line = yield* change(`${listen}rules:\n  - { ports: [80-], action: deny }\n`)
      assert.match(line, /level=error msg="configuration not loaded, the one before stays" reason="\S+sluice\.yaml:3:/)
      assert.include(line, "rules[0].ports")
      assert.strictEqual((yield* ask(proxy.port, C4(25)))[1], 2)
      assert.isTrue(yield* echoes(running))
      yield* proxy.signal("SIGHUP")
      yield* proxy.takeLine(/configuration not loaded/)
      // As an editor leaves it for a moment, or a full disk for longer.
      assert.match(yield* change(""), /configuration not loaded.* reason="\S+sluice\.yaml:1:1 is empty; /)
      assert.strictEqual((yield* ask(proxy.port, C4(25)))[1], 2)
      yield* write(listen)
      yield* proxy.signal("SIGHUP")
      yield* proxy.takeLine(/configuration loaded/)
      assert.strictEqual((yield* ask(proxy.port, C4(25)))[1], 5)
      assert.isTrue(yield* echoes(running))
    }))

  it.live("says what it can't change without a restart", () =>
    Effect.gen(function*() {
      const { change, proxy } = yield* setup(listen)
      yield* change(`${listen}logLevel: debug\nworkers: 2\n`)
      assert.match(yield* proxy.takeLine(/takes a restart/), /setting="\S+sluice\.yaml:3:1 workers" stays=1$/)
      assert.match(yield* proxy.takeLine(/takes a restart/), /setting="\S+sluice\.yaml:2:1 logLevel" stays=info$/)
    }))

  it.live("opens and closes listeners, and keeps those that stay", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port: free } = yield* Effect.scoped(echo())
      const { change, proxy } = yield* setup("listen: [127.0.0.1:0]\n")
      const running = yield* connectThrough(proxy.port, origin.port)
      yield* change(`listen: ["127.0.0.1:0", "127.0.0.1:${free}"]\n`)
      assert.isTrue(yield* probe(proxy.port, origin.port))
      assert.isTrue(yield* probe(free, origin.port))
      assert.match(
        yield* change(`listen: ["127.0.0.1:0", "127.0.0.1:${origin.port}"]\n`),
        /not loaded, .* reason="\S+ listen: 127\.0\.0\.1:\d+ is in use/
      )
      assert.isTrue(yield* probe(free, origin.port))
      yield* change("listen: [127.0.0.1:0]\n")
      assert.strictEqual((yield* Effect.flip(connect(free))).code, "ECONNREFUSED")
      assert.isTrue(yield* echoes(running))
    }))

  it.live("takes users in and out, and does not become an open proxy", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      const user = (name: string) => `  - { name: ${name}, password: "${hash}" }\n`
      const { change, proxy } = yield* setup(`${listen}users:\n${user("ann")}${user("bob")}`)
      const [ann, bob] = yield* Effect.forEach(["ann", "bob"], (name) =>
        connectThrough(proxy.port, origin.port, AU(name, "sesame")))
      assert.match(yield* change(`${listen}users:\n${user("bob")}${user("cid")}`), / ended=1$/)
      assert.isTrue(ann !== undefined && (yield* ends(ann)))
      assert.match(yield* proxy.takeLine(/connection ended/), / user=ann .*reason="the user may not log in any more"/)
      assert.isTrue(bob !== undefined && (yield* echoes(bob)))
      assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, origin.port, AU("cid", "sesame"))))
      assert.match(yield* change("listen: 0.0.0.0:0\n"), /not loaded, .*would be an open proxy/)
      assert.isTrue(bob !== undefined && (yield* echoes(bob)))
    }))

  it.live("judges by whom a BIND is connected with", () =>
    Effect.gen(function*() {
      const { change, proxy } = yield* setup(listen)
      const bound = Effect.fnUntraced(function*(ip: string, localAddress: string) {
        const client = yield* connect(proxy.port)
        yield* client.send(G0, hex(`05 02 00 01 ${ip} 0000`))
        const first = yield* client.read(12)
        const peer = yield* connect(first.readUInt16BE(10), { localAddress })
        assert.strictEqual((yield* client.read(10))[1], 0)
        return { client, peer }
      })
      const [named, anybody] = [yield* bound("7f000001", "127.0.0.1"), yield* bound("00000000", "127.0.0.2")]
      assert.match(
        yield* change(`${listen}rules:\n  - { name: no-two, to: 127.0.0.2, action: deny }\n`),
        / ended=1$/
      )
      assert.isTrue(yield* ends(anybody.client))
      yield* proxy.takeLine(/connection ended.* reason="denied: rule no-two"$/)
      yield* named.peer.send("ping")
      assert.strictEqual((yield* named.client.read(4)).toString(), "ping")
    }))

  it.live("judges who is still on the way: dialled, waiting for a peer, or logging in", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const full = yield* stalled
      // Says yes, after a while.
      const service = yield* target((socket) => {
        socket.once("data", () => setTimeout(() => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), 1500))
      })
      const auth = `${listen}auth: { http: "http://127.0.0.1:${service.port}/", timeout: 5s }\n`
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      const { change, proxy } = yield* setup(listen)
      const dialled = yield* connect(proxy.port)
      yield* dialled.send(G0, C4(full))
      yield* dialled.read(2)
      const waiting = yield* connect(proxy.port)
      yield* waiting.send(G0, hex("05 02 00 01 7f000002 0000"))
      yield* waiting.read(12)
      const rules = `rules:\n${deny("no-full", full)}  - { name: no-two, to: 127.0.0.2, action: deny }\n`
      assert.match(yield* change(`${listen}${rules}`), / ended=2$/)
      assert.isTrue(yield* ends(dialled))
      assert.isTrue(yield* ends(waiting))
      yield* proxy.takeLine(/connection ended.* reason="denied: rule no-full"$/)
      yield* proxy.takeLine(/connection ended.* reason="denied: rule no-two"$/)
      yield* change(auth)
      const bob = yield* connect(proxy.port)
      yield* bob.send(hex("05 01 02"), AU("bob", "any"), C4(origin.port))
      assert.isTrue(yield* within(Effect.sync(() => service.accepted() > 0)))
      yield* change(`${listen}users: [{ name: ann, password: "${hash}" }]\n`)
      assert.deepStrictEqual((yield* bob.read(6)).subarray(2), hex("01 00 05 02"))
      yield* proxy.takeLine(/ user=bob .*reason="denied: the user may not log in any more"$/)
    }))

  it.live("ends who has picked a pool that can't be picked any more", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      const users = `${listen}users: [{ name: ann, password: "${hash}" }]\n`
      const upstream = yield* Cli.serve()
      const { change, proxy } = yield* setup(
        `${users}userOptions: { by: { kind: pool, values: { one: one } } }\n` +
          `upstreams: { one: { proxies: "socks5://127.0.0.1:${upstream.port}" } }\n`
      )
      const running = yield* connectThrough(proxy.port, origin.port, AU("ann+by-one", "sesame"))
      const other = yield* connectThrough(proxy.port, origin.port, AU("ann", "sesame"))
      const early = yield* connect(proxy.port)
      yield* early.send(hex("05 01 02"), AU("ann+by-one", "sesame"))
      yield* early.read(4)
      assert.match(yield* change(users), / ended=2$/)
      assert.isTrue(yield* ends(running))
      assert.isTrue(yield* ends(early))
      assert.isTrue(yield* echoes(other))
      assert.notInclude(proxy.stderr(), "died")
    }))

  it.live("knows a pipe, and files that change while they are read", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { path, proxy, write } = yield* setup(listen)
      yield* Effect.sync(() => rmSync(path))
      yield* Program.run("mkfifo", [path])
      yield* proxy.takeLine(/not loaded, .*is a pipe, which is not read again; put a file there"$/)
      for (let count = 0; count < 20; count++) {
        yield* write(`${listen}rules:\n${deny(`no-${count}`, origin.port)}`)
        yield* proxy.signal("SIGHUP")
        yield* Effect.sleep("20 millis")
      }
      yield* Effect.sleep("1500 millis")
      assert.strictEqual((yield* ask(proxy.port, C4(origin.port)))[1], 2)
      yield* proxy.takeLine(/connection ended.* reason="denied: rule no-19"$/)
      assert.strictEqual(proxy.stderr().split("not loaded").length, 2)
    }))

  it.live("waits for no pipe or device that is named as a file", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { change, path, proxy } = yield* setup(listen)
      const pipe = `${path}.pipe`
      yield* Program.run("mkfifo", [pipe])
      const running = yield* connectThrough(proxy.port, origin.port)
      for (const file of [pipe, "/dev/zero"]) {
        const fault = (place: string) => `1:\\d+ ${place}: ${file}: is a pipe or a device; name a file"`
        assert.match(
          yield* change(`lists: { a: { file: ${file} } }\n`),
          new RegExp(`not loaded, .*:${fault("lists.a.file")}`)
        )
        assert.match(
          yield* change(`users: [{ name: ann, passwordFile: ${file} }]\n`),
          new RegExp(`not loaded, .*:${fault("users\\[0\\].passwordFile")}`)
        )
        assert.match(yield* change(`users: ${file}\n`), /not loaded, .*: is a pipe/)
        const checked = yield* Cli.run(["check", path])
        assert.match(checked.stderr, /users: \S+: is a pipe or a device; name a file$/m)
      }
      assert.match(yield* change(listen), /"configuration loaded"/)
      assert.isTrue(yield* echoes(running))
      assert.strictEqual(yield* proxy.stop, 0)
    }))

  it.live("ends who has not logged in, where all have to now", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { change, proxy } = yield* setup(listen)
      const running = yield* connectThrough(proxy.port, origin.port)
      // It has been told that it needs no login, and asks for nothing yet.
      const early = yield* connect(proxy.port)
      yield* early.send(G0)
      assert.deepStrictEqual([...yield* early.read(2)], [5, 0])
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      const loaded = yield* change(`${listen}users: [{ name: ann, password: "${hash}" }]\n`)
      assert.match(loaded, /configuration loaded.* ended=1$/)
      assert.isTrue(yield* ends(running))
      yield* proxy.takeLine(/connection ended.* reason="a login is needed now"$/)
      yield* early.send(C4(origin.port))
      assert.strictEqual((yield* early.read(10))[1], 2)
      yield* early.end
      yield* proxy.takeLine(/connection ended.* reason="denied: a login is needed"$/)
      assert.isTrue(yield* probe(proxy.port, origin.port, AU("ann", "sesame")))
    }))

  it.live("ends who has another password now, may not come from there, or expires", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const [old, fresh] = yield* Effect.forEach(
        ["sesame", "simsim"],
        (password) => PasswordHash.hash(Redacted.make(password))
      )
      const text = (hash: string | undefined, ...others: ReadonlyArray<string>) =>
        `${listen}users:\n  - ${["name: ann", `password: "${hash}"`, ...others].join("\n    ")}\n` +
        `  - { name: bob, password: "${old}" }\n`
      const { change, proxy } = yield* setup(text(old))
      const bob = yield* connectThrough(proxy.port, origin.port, AU("bob", "sesame"))
      const ann = (password: string) => connectThrough(proxy.port, origin.port, AU("ann", password))
      const reason = /connection ended.* user=ann .*reason="the user may not log in any more"/
      const first = yield* ann("sesame")
      assert.match(yield* change(text(fresh)), / ended=1$/)
      assert.isTrue(yield* ends(first))
      yield* proxy.takeLine(reason)
      const second = yield* ann("simsim")
      assert.match(yield* change(text(fresh, "from: [192.0.2.0/24]")), / ended=1$/)
      assert.isTrue(yield* ends(second))
      yield* proxy.takeLine(reason)
      const soon = `${new Date(Date.now() + 5000).toISOString().slice(0, 19)}Z`
      assert.match(yield* change(text(fresh, `expires: ${soon}`)), /configuration loaded/)
      const third = yield* ann("simsim")
      assert.isTrue(yield* echoes(third))
      yield* Effect.exit(third.readToEnd)
      yield* proxy.takeLine(reason)
      assert.isTrue(yield* echoes(bob))
    }))

  it.live("A38 loses no byte of 500 transfers and refuses no client", () =>
    Effect.gen(function*() {
      const size = 200_000
      const block = Buffer.alloc(size, "sluice")
      const expected = createHash("sha256").update(block).digest("hex")
      const origin = yield* target((socket) => {
        // Slow enough to be under way during all of it.
        let sent = 0
        const timer = setInterval(() => {
          socket.write(block.subarray(sent, sent + size / 10))
          sent += size / 10
          if (sent < size) return
          clearInterval(timer)
          socket.end()
        }, 200)
        socket.on("error", () => clearInterval(timer))
      })
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      const users = (...names: ReadonlyArray<string>) =>
        `${listen}users:\n${names.map((name) => `  - { name: ${name}, password: "${hash}" }\n`).join("")}` +
        `rules:\n${deny("no-mail", 25)}`
      const { change, proxy } = yield* setup(users("ann"))
      const datagrams = yield* udpEcho()
      const quick = yield* echo()
      const association = yield* associated(proxy.port, { login: AU("ann", "sesame") })
      const transfer = Effect.scoped(Effect.gen(function*() {
        const client = yield* connectThrough(proxy.port, origin.port, AU("ann", "sesame"))
        return createHash("sha256").update(yield* client.readToEnd).digest("hex")
      }))
      const transfers = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 500 }), () => transfer, { concurrency: "unbounded" })
      )
      const connects = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 1000 }), () =>
          Effect.scoped(Effect.gen(function*() {
            return yield* echoes(yield* connectThrough(proxy.port, quick.port, AU("ann", "sesame")))
          })), { concurrency: 16 })
      )
      for (const names of [["ann", "bob"], ["ann", "bob", "cid"]]) {
        assert.match(yield* change(users(...names)), /configuration loaded" path=\S+$/)
        assert.isTrue(yield* echoes(yield* connectThrough(proxy.port, quick.port, AU(names.at(-1) ?? "", "sesame"))))
        assert.deepStrictEqual(
          (yield* association.exchange(U4(datagrams.port, "x"))).bytes,
          U4(datagrams.port, "x")
        )
      }
      const hashes = yield* Fiber.join(transfers)
      assert.deepStrictEqual([...new Set(hashes)], [expected])
      assert.deepStrictEqual([...new Set(yield* Fiber.join(connects))], [true])
    }), 60_000)
})

const twoOn = (...listen: ReadonlyArray<string>) => `workers: 2\nlisten: ${JSON.stringify(listen)}\n`

describe("a changed configuration, with workers", () => {
  it.live("is taken by each of them, or by none, and running connections stay", () =>
    Effect.gen(function*() {
      const [one, two] = yield* Effect.all([echo(), echo()])
      const text = `workers: 2\n${listen}`
      const { change, proxy } = yield* setup(text)
      const stays = yield* Effect.forEach(
        Array.from({ length: 6 }),
        () => connectThrough(proxy.port, two.port)
      )
      const denied = yield* Effect.forEach(Array.from({ length: 6 }), () => connectThrough(proxy.port, one.port))
      assert.match(yield* change(`${text}rules:\n${deny("no-one", one.port)}`), /configuration loaded.* ended=6$/)
      for (const client of denied) assert.isTrue(yield* ends(client))
      const codes = yield* Effect.forEach(Array.from({ length: 8 }), () => ask(proxy.port, C4(one.port)))
      assert.deepStrictEqual(codes.map((reply) => reply[1]), Array.from({ length: 8 }, () => 2))
      assert.match(yield* change(`${text}rules: none\n`), /configuration not loaded/)
      const still = yield* Effect.forEach(Array.from({ length: 4 }), () => ask(proxy.port, C4(one.port)))
      assert.deepStrictEqual(still.map((reply) => reply[1]), [2, 2, 2, 2])
      for (const client of stays) assert.isTrue(yield* echoes(client))
    }))

  it.live("that was refused reaches nobody: who takes a worker's place serves by the one before", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const text = (name: string) =>
        `workers: 2\n${listen}lists: { ours: { file: ours.txt } }\nrules:\n  - { name: ${name}, to: ours, action: deny }\n`
      const { change, folder, proxy } = yield* setup(`workers: 2\n${listen}`)
      const list = (content: string) => Effect.sync(() => writeFileSync(join(folder, "ours.txt"), content))
      const replaceAll = Effect.gen(function*() {
        const pids = children(proxy.pid)
        assert.lengthOf(pids, 2)
        for (const pid of pids) {
          process.kill(pid, "SIGKILL")
          yield* proxy.takeLine(/worker crashed/)
          yield* proxy.takeLine(/worker listens/)
        }
      })
      yield* Effect.forEach([1, 2], () => proxy.takeLine(/worker listens/))
      yield* list("127.0.0.1\n")
      assert.match(yield* change(text("ours")), /configuration loaded/)

      yield* list("one two\n")
      assert.match(yield* proxy.takeLine(/configuration not loaded/), /ours\.txt:1/)
      yield* replaceAll
      assert.match(yield* change("workers: two\n"), /configuration not loaded/)
      yield* replaceAll
      const replies = yield* Effect.forEach(Array.from({ length: 8 }), () => ask(proxy.port, C4(origin.port)))
      assert.deepStrictEqual(replies.map((reply) => reply[1]), Array.from({ length: 8 }, () => 2))
      assert.match(yield* proxy.takeLine(/connection ended/), /denied: rule ours/)

      yield* list("192.0.2.1\n")
      assert.match(yield* change(text("theirs")), /configuration loaded/)
      yield* replaceAll
      for (let i = 0; i < 8; i++) assert.isTrue(yield* probe(proxy.port, origin.port))
    }))

  it.live("gives each of them its share of the connections", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { change, proxy } = yield* setup(`workers: 2\n${listen}`)
      yield* change(`workers: 2\nmaxConnections: 4\n${listen}`)
      const clients = yield* Effect.forEach(
        Array.from({ length: 12 }),
        () => Effect.option(connectThrough(proxy.port, origin.port))
      )
      assert.isAtMost(clients.filter(({ _tag }) => _tag === "Some").length, 4)
    }))

  it.live("may open another listener: no client of those that stay notices, and all are judged as before", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port: free } = yield* Effect.scoped(echo())
      const { change, proxy } = yield* setup("workers: 2\nlisten: [127.0.0.1:0]\n", ["--drain-timeout", "100ms"])
      const pids = children(proxy.pid)
      const running = yield* Effect.forEach(Array.from({ length: 6 }), () => connectThrough(proxy.port, origin.port))
      const visits = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 300 }), () => probe(proxy.port, origin.port), { concurrency: 4 })
      )
      const both = `workers: 2\nlisten: ["127.0.0.1:0", "127.0.0.1:${free}"]\n`
      assert.match(yield* change(both), /configuration loaded/)
      assert.deepStrictEqual([...new Set(yield* Fiber.join(visits))], [true])
      for (let i = 0; i < 8; i++) assert.isTrue(yield* probe(free, origin.port))
      // Longer than a worker would have that is told to stop.
      yield* Effect.sleep("500 millis")
      for (const client of running) assert.isTrue(yield* echoes(client))
      assert.deepStrictEqual(children(proxy.pid), pids)
      assert.match(yield* change(`${both}rules:\n${deny("no-one", origin.port)}`), /configuration loaded.* ended=6$/)
      for (const client of running) assert.isTrue(yield* ends(client))
    }))

  it.live("closes listeners, moves them to another address of the port, or keeps them all where one can't be had", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port: free } = yield* Effect.scoped(echo())
      const { change, proxy } = yield* setup(twoOn("127.0.0.1:0", `127.0.0.1:${free}`))
      yield* Effect.forEach([1, 2], () => proxy.takeLine(/worker listens/))
      const running = yield* Effect.forEach(Array.from({ length: 4 }), () => connectThrough(free, origin.port))
      const isServed = Effect.gen(function*() {
        for (let i = 0; i < 8; i++) {
          assert.isTrue(yield* probe(proxy.port, origin.port))
          assert.isTrue(yield* probe(free, origin.port))
        }
      })
      const inUse = new RegExp(`not loaded, .* reason="\\S+ listen: 127\\.0\\.0\\.1:${origin.port} is in use; .*"$`)
      assert.match(yield* change(twoOn("127.0.0.1:0", `127.0.0.1:${origin.port}`)), inUse)
      yield* isServed
      const anywhere = (...listen: ReadonlyArray<string>) => `openProxy: true\n${twoOn("127.0.0.1:0", ...listen)}`
      // What `::` takes is another's while there is 0.0.0.0.
      for (
        const listen of [[`[::]:${free}`], [`[::]:${free}`, `0.0.0.0:${free}`], [`[::]:${free}`], [`0.0.0.0:${free}`]]
      ) {
        assert.match(yield* change(anywhere(...listen)), /configuration loaded/)
        yield* isServed
      }
      // It has let go of the place when it finds that it can't have another.
      assert.match(yield* change(twoOn("127.0.0.1:0", `127.0.0.1:${free}`, `127.0.0.1:${origin.port}`)), inUse)
      yield* isServed
      assert.match(yield* change(twoOn("127.0.0.1:0", `127.0.0.1:${free}`)), /configuration loaded/)
      yield* isServed
      for (const pid of children(proxy.pid)) {
        process.kill(pid, "SIGKILL")
        yield* proxy.takeLine(/worker crashed/)
        yield* proxy.takeLine(/worker listens/)
      }
      yield* isServed
      yield* Effect.forEach(running, (client) => client.readToEnd)
      assert.match(yield* change(twoOn("127.0.0.1:0")), /configuration loaded/)
      assert.strictEqual((yield* Effect.flip(connect(free))).code, "ECONNREFUSED")
      for (let i = 0; i < 8; i++) assert.isTrue(yield* probe(proxy.port, origin.port))
    }))

  it.live("is taken though a worker dies meanwhile, whose successor serves by it too", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const names = Array.from({ length: 400_000 }, (_, index) => `name-${index}.test\n`).join("")
      const text = "workers: 2\nlogLevel: debug\n" + listen
      const { change, folder, proxy } = yield* setup(text)
      writeFileSync(join(folder, "names.txt"), names)
      yield* Effect.forEach([1, 2], () => proxy.takeLine(/worker listens/))
      const [pid = 0] = children(proxy.pid)
      const idle = yield* processorSeconds(pid)
      const rules = `lists: { names: { file: names.txt } }\nrules:\n  - { name: names, to: names, action: deny }\n`
      const changed = yield* Effect.forkChild(change(`${text}${rules}${deny("no-one", origin.port)}`))
      // Reading so many names takes them longer than this.
      assert.isTrue(yield* within(Effect.map(processorSeconds(pid), (used) => used > idle + 0.05), "5 seconds"))
      process.kill(pid, "SIGKILL")
      assert.match(yield* Fiber.join(changed), /configuration loaded/)
      yield* proxy.takeLine(/worker listens/)
      const replies = yield* Effect.forEach(Array.from({ length: 8 }), () => ask(proxy.port, C4(origin.port)))
      assert.deepStrictEqual(replies.map((reply) => reply[1]), Array.from({ length: 8 }, () => 2))
    }))
})

describe("a configuration", () => {
  const canary = "S3cr3t-canary"

  it.live("A36 shows no password, in whatever it has one", () =>
    Effect.gen(function*() {
      const hash = yield* PasswordHash.hash(Redacted.make(canary))
      const text = `logLevel: trace
${listen}users:
  - { name: ann, password: "${hash}" }
upstreams:
  out: { proxies: ["socks5h://ann:${canary}@127.0.0.1:9"] }
rules:
  - { ports: [9], action: allow, via: out }
`
      const { change, proxy } = yield* setup(text)
      for (const password of [canary, `${canary}!`]) {
        yield* Effect.exit(Effect.scoped(connectThrough(proxy.port, 9, AU("ann", password))))
      }
      yield* change(`${text}bad: ${canary}\n`)
      yield* change(text.replace(hash, canary))
      yield* change(text.replace("socks5h:", "socks9:"))
      yield* change(`${text}\n`)
      assert.strictEqual(yield* proxy.stop, 0)
      const all = proxy.stdout() + proxy.stderr()
      assert.match(all, /bad: no such key/)
      for (const shown of [canary, hash, Buffer.from(canary).toString("hex"), Buffer.from(canary).toString("base64")]) {
        assert.notInclude(all, shown)
      }
    }))

  it.live("A33 A34 keeps other machines off what is inside, whatever the rules allow, unless they say so", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { change, proxy } = yield* setup(
        `listen: 127.0.0.1:0\nproxyProtocol: [127.0.0.1]\nrules:\n  - { name: all, action: allow }\n`
      )
      const outsider = Buffer.from("PROXY TCP4 203.0.113.7 127.0.0.1 4711 1080\r\n")
      const mapped = Buffer.concat([
        Buffer.from("05010004 00000000 00000000 0000ffff 7f000001".replaceAll(" ", ""), "hex"),
        C4(origin.port).subarray(-2)
      ])
      const codes = Effect.forEach([C4(origin.port), mapped], (request) =>
        Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(proxy.port)
          yield* client.send(outsider, G0, request)
          return (yield* client.read(4))[3]
        })))
      assert.deepStrictEqual(yield* codes, [2, 2])
      assert.match(
        yield* proxy.takeLine(/connection ended/),
        /reason="denied: internal network 127\.0\.0\.0\/8 \(loopback\)"/
      )
      yield* change(
        `listen: 127.0.0.1:0\nproxyProtocol: [127.0.0.1]\nrules:\n  - { name: all, action: allow, internal: true }\n`
      )
      assert.deepStrictEqual(yield* codes, [0, 0])
      yield* change(
        `listen: 127.0.0.1:0\nproxyProtocol: [127.0.0.1]\nrules:\n  - { to: [127.0.0.0/8], action: deny }\n` +
          `  - { action: allow, internal: true }\n`
      )
      assert.deepStrictEqual(yield* codes, [2, 2])
      assert.isTrue(yield* within(Effect.sync(() => /denied: rule 1"/.test(proxy.stderr()))))
    }))
})
