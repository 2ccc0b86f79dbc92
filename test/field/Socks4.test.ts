/** Field report on SOCKS4: A40. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { AuthenticationFailed, Authenticator } from "../../src/policy/Authenticator.ts"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Users from "../../src/policy/Users.ts"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import * as Elsewhere from "../support/Elsewhere.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { AU, connect, connectThrough, G0, G2, hex, port16, probe } from "../support/RawClient.ts"
import { closedPort, echo } from "../support/Targets.ts"

const refused = hex("00 5b 00 00 00 00 00 00")

interface Request {
  readonly userId?: string | Uint8Array
  readonly ip?: string
  readonly name?: string
  readonly command?: number
}

/** A request; with a name it is one of SOCKS4a. */
const S4 = (port: number, { command = 1, ip, name, userId = "id" }: Request = {}) =>
  Buffer.concat([
    Buffer.from([4, command]),
    port16(port),
    Buffer.from((ip ?? (name === undefined ? "127.0.0.1" : "0.0.0.1")).split(".").map(Number)),
    Buffer.from(userId),
    hex("00"),
    ...name === undefined ? [] : [Buffer.from(name), hex("00")]
  ])

/** The reply, and what comes behind it once the client has half-closed. */
const ask = Effect.fnUntraced(function*(port: number, ...parts: ReadonlyArray<Uint8Array | string>) {
  const client = yield* connect(port)
  yield* client.send(...parts)
  const reply = yield* client.read(8)
  yield* client.end
  return { reply, rest: (yield* client.readToEnd).toString() }
}, Effect.scoped)

const echoes = Effect.fnUntraced(function*(port: number, request: Uint8Array) {
  const { reply, rest } = yield* ask(port, request, "HELLO")
  assert.deepStrictEqual(reply.subarray(0, 2), hex("00 5a"), Buffer.from(request).toString("hex"))
  assert.strictEqual(rest, "HELLO")
})

const isRefused = Effect.fnUntraced(function*(port: number, request: Uint8Array) {
  const { reply, rest } = yield* ask(port, request, "HELLO")
  assert.deepStrictEqual([reply, rest], [refused, ""], Buffer.from(request).toString("hex"))
})

const withUsers = (...users: ReadonlyArray<Users.User>) => Layer.orDie(Users.layer({ users }))

const user = (name: string, password: string): Users.User => ({ name, password: Redacted.make(password) })

describe("SOCKS4", () => {
  it.live("A40 the name behind the USERID is what is connected to, and data behind it is not lost", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const origin = yield* echo()
      const request = S4(origin.port, { name: "localhost" })
      const [high = 0, low = 0] = port16(origin.port)
      assert.deepStrictEqual(
        request,
        Buffer.concat([hex("04 01"), Buffer.of(high, low), hex("00 00 00 01 6964 00 6c6f63616c686f7374 00")])
      )
      yield* echoes(port, request)
      yield* echoes(port, S4(origin.port, { name: "localhost", ip: "0.0.0.255", userId: "" }))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      for (const record of records) {
        assert.deepInclude(record, {
          protocol: "socks4",
          destination: `localhost:${origin.port}`,
          address: `127.0.0.1:${origin.port}`,
          // Nobody has asked whether it is true.
          user: undefined,
          reply: 0,
          bytesUp: 5,
          bytesDown: 5,
          reason: "done"
        })
      }
    }))

  it.live("A40 the proxy resolves the name itself, and byte by byte it is the same", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set("origin.test", { A: DnsServer.records(["127.0.0.1"]) })
      const { port } = yield* proxy({ services: DnsServer.resolver(dns) })
      const origin = yield* echo()
      const client = yield* connect(port)
      for (const byte of S4(origin.port, { name: "origin.test" })) {
        yield* client.send(Buffer.of(byte))
        yield* Effect.sleep(1)
      }
      assert.deepStrictEqual((yield* client.read(8)).subarray(0, 2), hex("00 5a"))
      yield* client.send("HELLO")
      assert.strictEqual((yield* client.read(5)).toString(), "HELLO")
      assert.isAbove(dns.count("origin.test"), 0)
    }))

  it.live("A40 an address is connected to, and the reply has the address that the origin sees", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const origin = yield* echo()
      const client = yield* connect(port)
      yield* client.send(S4(origin.port))
      const reply = yield* client.read(8)
      assert.deepStrictEqual(reply.subarray(4), hex("7f 00 00 01"))
      assert.isTrue([...origin.open].some((socket) => socket.remotePort === reply.readUInt16BE(2)))
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A40 all that fails is refused with 91, and the log says why", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const elsewhere = yield* proxy({ services: Elsewhere.layer })
      const nobody = yield* closedPort
      const cases = [
        { at: port, request: S4(nobody), reply: 5 },
        { at: port, request: S4(80, { name: "nowhere.invalid" }), reply: 4 },
        { at: port, request: S4(80, { name: "a b" }), reply: 4 },
        { at: port, request: S4(80, { name: "" }), reply: 4 },
        { at: port, request: S4(80, { command: 3 }), reply: 7 },
        { at: port, request: S4(80, { userId: "x".repeat(256) }), reply: 1 },
        { at: port, request: S4(80, { userId: Buffer.of(0xff) }), reply: 1 },
        { at: elsewhere.port, request: S4(nobody), reply: 2 }
      ]
      for (const { at, request } of cases) yield* isRefused(at, request)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 7 && elsewhere.records.length === 1)))
      assert.deepStrictEqual(
        [...records, ...elsewhere.records].map(({ reply }) => reply),
        cases.map(({ reply }) => reply)
      )
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))

  it.live("A40 with users it is refused, since it can carry no password", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ services: withUsers(user("id", "secret"), user("ann", "")) })
      const origin = yield* echo()
      for (const userId of ["id", "", "secret", "id:secret", "ANN", "nobody"]) {
        yield* isRefused(port, S4(origin.port, { userId, name: "localhost" }))
      }
      assert.strictEqual(origin.accepted(), 0)
      yield* echoes(port, S4(origin.port, { userId: "ann" }))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 7)))
      assert.deepInclude(records[0], {
        user: "id",
        reply: 2,
        destination: `localhost:${origin.port}`,
        reason: "authentication failed"
      })
      assert.deepInclude(records[6], { user: "ann", reply: 0 })
      // The other way in is as it was.
      assert.isTrue(yield* probe(port, origin.port, AU("id", "secret")))
      for (const login of [AU("id", ""), AU("ann", "x"), AU("", "")]) {
        const { code } = yield* Effect.flip(connectThrough(port, origin.port, login))
        assert.match(code, /^EEND/)
      }
      const unnamed = yield* connect(port)
      yield* unnamed.send(G0)
      assert.deepStrictEqual(yield* unnamed.read(2), hex("05 ff"))
    }))

  it.live("A40 whoever judges logins without names alone lets nobody in", () =>
    Effect.gen(function*() {
      const strict = Layer.succeed(Authenticator, {
        required: true,
        authenticate: ({ username }) => Effect.succeed({ name: username })
      })
      const named = Layer.succeed(Authenticator, {
        required: true,
        authenticate: ({ username }) => Effect.fail(new AuthenticationFailed({ username })),
        identify: (username, client) =>
          client === undefined
            ? Effect.fail(new AuthenticationFailed({ username }))
            : Effect.succeed({ name: `${username}@socks4` })
      })
      const origin = yield* echo()
      yield* isRefused((yield* proxy({ services: strict })).port, S4(origin.port))
      const { port, records } = yield* proxy({ services: named })
      yield* echoes(port, S4(origin.port))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.user, "id@socks4")
    }))

  it.live("A40 a users file may say that a user needs no password", () =>
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-socks4-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const file = join(folder, "users.txt")
      const none = yield* Cli.run(["hash", "--without-password", "ann"])
      assert.deepStrictEqual([none.code, none.stderr], [0, ""])
      const secret = yield* PasswordHash.hash(Redacted.make("secret"))
      writeFileSync(file, `${none.stdout}id:${secret}\n`)
      const cli = yield* Cli.serve({ args: ["--users", file] })
      const origin = yield* echo()
      yield* echoes(cli.port, S4(origin.port, { userId: "ann" }))
      yield* isRefused(cli.port, S4(origin.port, { userId: "id" }))
      const login = yield* connect(cli.port)
      yield* login.send(G2, AU("ann", "any"))
      assert.deepStrictEqual(yield* login.readToEnd, hex("05 02 01 01"))
    }))

  it.live("A40 where it is off, the connection is closed without a word", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ protocols: ["socks5"] })
      const client = yield* connect(port)
      yield* client.send(S4(80, { name: "localhost" }))
      assert.strictEqual((yield* client.readToEnd).length, 0)
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { protocol: undefined, looksLike: "SOCKS4", reply: undefined })
    }))
})

describe("BIND of SOCKS4", () => {
  it.live("A23 it has two replies as well, and a refusal for the second when nobody comes", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ bindTimeout: 300 })
      const client = yield* connect(port)
      yield* client.send(S4(0, { command: 2 }))
      const first = yield* client.read(8)
      assert.deepStrictEqual([first.subarray(0, 2), first.subarray(4)], [hex("00 5a"), hex("7f 00 00 01")])
      const peer = yield* connect(first.readUInt16BE(2))
      const second = Buffer.concat([hex("00 5a"), port16(peer.socket.localPort ?? 0), hex("7f 00 00 01")])
      assert.deepStrictEqual(yield* client.read(8), second)
      yield* peer.send("ping")
      assert.strictEqual((yield* client.read(4)).toString(), "ping")

      const lonely = yield* connect(port)
      yield* lonely.send(S4(0, { command: 2, name: "localhost" }))
      assert.deepStrictEqual((yield* lonely.read(8)).subarray(0, 2), hex("00 5a"))
      assert.deepStrictEqual(yield* lonely.readToEnd, refused)
      yield* lonely.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { reply: 1, destination: "localhost:0" })
    }))

  it.live("A23 over IPv6 the reply leaves the address to the client, who knows it", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ listen: "[::1]:0" })
      const client = yield* connect(port, { host: "::1" })
      yield* client.send(S4(0, { command: 2, ip: "0.0.0.0" }))
      const first = yield* client.read(8)
      assert.deepStrictEqual([first.subarray(0, 2), first.subarray(4)], [hex("00 5a"), hex("00 00 00 00")])
      yield* connect(first.readUInt16BE(2), { host: "::1" })
      assert.deepStrictEqual((yield* client.read(8)).subarray(0, 2), hex("00 5a"))
    }))
})
