/** Field reports on security: A33, A34, A35, A36, A37. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { timingSafeEqual } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { networkInterfaces, tmpdir } from "node:os"
import { join } from "node:path"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import * as InternalNetworks from "../../src/policy/InternalNetworks.ts"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Users from "../../src/policy/Users.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { DialError } from "../../src/transport/Transport.ts"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import * as Elsewhere from "../support/Elsewhere.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { proxy } from "../support/Proxy.ts"
import { AU, C4, C6, CD, connect, connectThrough, G0, G2, hex, probe, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const notAllowed = "05020001000000000000"
const succeeded = "0500"

/** A request for an address, in the form that its family has. */
const request = (ip: string, port: number) => {
  const address = NetAddress.ipFromStringUnsafe(ip)
  return NetAddress.isIpv4Address(address)
    ? C4(port, NetAddress.ipv4ToOctets(address))
    : C6(port, Uint8Array.from(NetAddress.ipv6ToOctets(address)))
}

/**
 * A proxy whose clients come from elsewhere, with the policy that ships, and targets on 127.0.0.1 and ::1. It dials
 * loopback for real; all else refuses, so that nothing leaves this machine. `dialed` has everything that was tried.
 */
const guarded = Effect.fnUntraced(function*(options?: InternalNetworks.Options) {
  const dns = yield* DnsServer.make
  const dialed: Array<string> = []
  const dialer = Layer.effect(
    Dialer,
    Effect.map(Dialer, ({ dial }) => ({
      dial: (addresses, port) => {
        dialed.push(...addresses.map(NetAddress.formatIp))
        if (addresses.every((ip) => NetAddress.isLoopback(NetAddress.toCanonical(ip)))) return dial(addresses, port)
        const address = NetAddress.inetAddressUnsafe(addresses[0], port)
        return Effect.fail(new DialError({ reason: "Refused", address, code: "ECONNREFUSED" }))
      }
    }))
  ).pipe(Layer.provide(Dialer.layer()), Layer.provide(NodeTransport.layer()))
  const origin = yield* echo()
  const origin6 = yield* echo("::1")
  const { port, records } = yield* proxy({
    services: Layer.mergeAll(
      Elsewhere.layer,
      dialer,
      DnsServer.resolver(dns),
      ...options === undefined ? [] : [InternalNetworks.layer(options)]
    )
  })

  /** The reply to a request, in hex. */
  const ask = Effect.fnUntraced(function*(message: Uint8Array) {
    const client = yield* connect(port)
    yield* client.send(G0, message)
    assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
    return (yield* readReply(client)).toString("hex")
  }, Effect.scoped)
  const refuses = (message: Uint8Array) =>
    Effect.map(ask(message), (reply) => assert.strictEqual(reply, notAllowed, Buffer.from(message).toString("hex")))
  const opens = (message: Uint8Array) =>
    Effect.map(
      ask(message),
      (reply) => assert.strictEqual(reply.slice(0, 4), succeeded, Buffer.from(message).toString("hex"))
    )

  return { dns, dialed, origin, origin6, port, records, ask, refuses, opens }
})

/** Nothing has been dialled, and the proxy serves its own clients on. */
const nothingDialed = Effect.fnUntraced(function*(
  { dialed, origin, origin6 }: Effect.Success<ReturnType<typeof guarded>>
) {
  assert.deepStrictEqual(dialed, [])
  assert.strictEqual(origin.accepted() + origin6.accepted(), 0)
  assert.isTrue(yield* probe((yield* proxy()).port, origin.port))
})

describe("internal networks", () => {
  it.live("A33 a client from elsewhere is refused every internal address, and none is dialled", () =>
    Effect.gen(function*() {
      const house = yield* guarded()
      const { origin, origin6, records, refuses } = house
      yield* refuses(C4(origin.port))
      yield* refuses(request("::1", origin6.port))
      yield* refuses(CD("localhost", origin.port))
      yield* refuses(request("10.0.0.1", 80))
      yield* refuses(request("169.254.169.254", 80))
      const more = [
        "127.8.9.10",
        "0.0.0.0",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1"
      ]
      const own = Object.values(networkInterfaces()).flatMap((entries = []) => entries.map(({ address }) => address))
      assert.isNotEmpty(own)
      for (const ip of [...more, ...own]) {
        yield* refuses(request(ip, origin.port))
        yield* refuses(CD(ip, origin.port))
      }
      yield* refuses(CD("LOCALHOST.", origin.port))
      yield* refuses(CD("anything.localhost", origin.port))
      assert.isTrue(records.every(({ client }) => client?.startsWith(`${Elsewhere.address}:`)))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 7 + 2 * (more.length + own.length))))
      for (const { address, reason, reply } of records) {
        assert.deepStrictEqual([address, reply], [undefined, 2])
        assert.match(reason, /^denied: (internal network|own address) /)
      }
      yield* nothingDialed(house)
    }))

  it.live("A33 no name of the client's own leads inside either", () =>
    Effect.gen(function*() {
      const house = yield* guarded()
      const { dns, refuses } = house
      const inside = {
        "loopback.test": ["127.0.0.1"],
        "private.test": ["10.0.0.1"],
        "metadata.test": ["169.254.169.254"],
        "several.test": ["10.0.0.1", "192.168.0.1"],
        "zero.test": ["0.0.0.0"],
        "loopback6.test": ["::1"],
        "local6.test": ["fd00::1"],
        "link6.test": ["fe80::1"],
        "mapped6.test": ["::ffff:127.0.0.1"],
        "nat64.test": ["64:ff9b::10.0.0.1"]
      }
      for (const [name, addresses] of Object.entries(inside)) {
        const family = name.includes("6") ? "AAAA" : "A"
        dns.set(name, { [family]: DnsServer.records(addresses) })
        yield* refuses(CD(name, house.origin.port))
        assert.isAbove(dns.count(name), 0)
      }
      yield* nothingDialed(house)
    }))

  it.live("A33 a name that changes its address after the first answer is judged by what is dialled", () =>
    Effect.gen(function*() {
      const house = yield* guarded()
      const { ask, dialed, dns, origin, refuses } = house
      dns.set("rebind.test", { A: DnsServer.records(["198.51.100.1"], 0) })
      assert.strictEqual(yield* ask(CD("rebind.test", origin.port)), "05050001000000000000")
      assert.deepStrictEqual(dialed.splice(0), ["198.51.100.1"])
      for (const ip of ["127.0.0.1", "10.0.0.1", "169.254.169.254"]) {
        dns.set("rebind.test", { A: DnsServer.records([ip], 0) })
        yield* refuses(CD("rebind.test", origin.port))
      }
      assert.deepStrictEqual([dialed, origin.accepted()], [[], 0])

      // Of a name with addresses of both kinds only the public ones are tried.
      dns.set("mixed.test", { A: DnsServer.records(["127.0.0.1", "198.51.100.2", "10.0.0.1"]) })
      assert.strictEqual(yield* ask(CD("mixed.test", origin.port)), "05050001000000000000")
      assert.deepStrictEqual([dialed, origin.accepted()], [["198.51.100.2"], 0])
      assert.isTrue(yield* probe((yield* proxy()).port, origin.port))
    }))

  it.live("A33 an allowed range is open, and nothing beside it", () =>
    Effect.gen(function*() {
      const { dialed, dns, opens, origin, origin6, refuses } = yield* guarded({
        allow: [IpNetwork.fromStringUnsafe("127.0.0.0/31")]
      })
      dns.set("loopback.test", { A: DnsServer.records(["127.0.0.1"]) })
      dns.set("next.test", { A: DnsServer.records(["127.0.0.2"]) })
      const open = [
        C4(origin.port),
        CD("127.0.0.1", origin.port),
        request("::ffff:127.0.0.1", origin.port)
      ]
      for (const message of [...open, CD("loopback.test", origin.port), CD("localhost", origin.port)]) {
        yield* opens(message)
      }
      assert.deepStrictEqual(dialed, Array(5).fill("127.0.0.1"))
      assert.strictEqual(origin.accepted(), 5)
      const beside = ["127.0.0.2", "127.255.255.255", "10.0.0.1", "169.254.169.254", "::1"]
      for (const ip of beside) yield* refuses(request(ip, origin6.port))
      yield* refuses(CD("next.test", origin.port))
      assert.deepStrictEqual([dialed.length, origin6.accepted()], [5, 0])
      assert.isTrue(yield* probe((yield* proxy()).port, origin.port))
    }))

  it.live("A33 allowing private networks opens all of them", () =>
    Effect.gen(function*() {
      const { ask, dialed, opens, origin, origin6 } = yield* guarded({ allowPrivate: true })
      yield* opens(C4(origin.port))
      yield* opens(request("::1", origin6.port))
      yield* opens(CD("localhost", origin.port))
      assert.deepStrictEqual(dialed.splice(0), ["127.0.0.1", "::1", "::1", "127.0.0.1"])
      for (const ip of ["10.0.0.1", "169.254.169.254"]) {
        assert.strictEqual(yield* ask(request(ip, 80)), "05050001000000000000")
      }
      assert.deepStrictEqual(dialed, ["10.0.0.1", "169.254.169.254"])
      assert.isTrue(yield* probe((yield* proxy()).port, origin.port))
    }))

  it.live("A34 an IPv4 address inside an IPv6 address is judged as the IPv4 address that it is", () =>
    Effect.gen(function*() {
      const house = yield* guarded()
      const { origin, records, refuses } = house
      const literal = request("::ffff:127.0.0.1", origin.port)
      assert.deepStrictEqual(literal.subarray(0, 20), hex("05 01 00 04 00000000000000000000 ffff 7f000001"))
      yield* refuses(literal)
      yield* refuses(request("::ffff:169.254.169.254", 80))
      const names = [
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "[::ffff:7f00:1]",
        "::ffff:a9fe:a9fe",
        "0:0:0:0:0:FFFF:7F00:1"
      ]
      for (const name of names) yield* refuses(CD(name, origin.port))
      // NAT64, 6to4, IPv4-compatible, IPv4-translated, Teredo.
      const carriers = ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1", "::ffff:0:7f00:1"]
      for (const ip of [...carriers, "2001:0:cb00:7101:0:0:80ff:fffe"]) yield* refuses(request(ip, origin.port))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 13)))
      for (const { reason } of records) assert.match(reason, /\((loopback|link-local)\)$/)
      yield* nothingDialed(house)
    }))
})

/** Runs the program where it should end at once. */
const serve = (args: ReadonlyArray<string>, user?: string) =>
  Program.run(process.execPath, [Cli.path, "serve", "--log-level", "trace", ...args], { env: { SLUICE_USER: user } })

describe("secrets", () => {
  it.live("A35 6,000 refused logins all have the same answer and cost the same work", () =>
    Effect.gen(function*() {
      const users = [{ name: "ann", password: "sesame" }, { name: "bob", password: "S3cr3t" }]
      const compared: Array<number> = []
      const authenticator = Layer.effect(
        Authenticator,
        Users.make(
          { users: users.map(({ name, password }) => ({ name, password: Redacted.make(password) })) },
          {
            equal: (a, b) => {
              compared.push(a.length, b.length)
              return timingSafeEqual(a, b)
            }
          }
        )
      ).pipe(Layer.orDie)
      const { port, records } = yield* proxy({ services: authenticator })
      const origin = yield* echo()
      const attempts = [
        { name: "ann", password: "Xesame" },
        { name: "ann", password: "sesamX" },
        { name: "eve", password: "sesame" }
      ]
      const rounds = 2000
      let inOrder = 0
      for (let i = 0; i < rounds * attempts.length; i++) {
        const { name, password } = attempts[i % attempts.length] ?? { name: "", password: "" }
        compared.length = 0
        const answer = yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(port)
          yield* client.send(G2, AU(name, password))
          return yield* client.readToEnd
        }))
        // Every user's name and password, as digests of 32 bytes, whatever was right or wrong before.
        const same = compared.length === 2 * 2 * users.length && compared.every((size) => size === 32)
        if (answer.equals(hex("05 02 01 01")) && same) inOrder++
      }
      assert.strictEqual(inOrder, 3 * rounds)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3 * rounds)))
      assert.deepStrictEqual([...new Set(records.map(({ reason }) => reason))], ["authentication failed"])
      assert.strictEqual(origin.accepted(), 0)
      assert.isTrue(yield* probe(port, origin.port, AU("ann", "sesame")))
    }), 60_000)

  const canary = "S3cr3t-canary"
  const forms = [
    canary,
    Buffer.from(canary).toString("hex"),
    Buffer.from(canary).toString("hex").toUpperCase(),
    Array.from(Buffer.from(canary), (byte) => byte.toString(16)).join(" "),
    // In base64 a text looks one of three ways, by its place; the first and the last digits hold its neighbours' bits.
    ...[0, 1, 2].map((before) => Buffer.from(" ".repeat(before) + canary).toString("base64").slice(before + 1, -4))
  ]

  /** Logs in well, badly, and in ways that are not even a login; then goes. */
  const knock = Effect.fnUntraced(function*(port: number, target: number) {
    yield* Effect.scoped(connectThrough(port, target, AU("ann", canary)))
    const wrongVersion = Buffer.from(AU("ann", canary))
    wrongVersion[0] = 5
    const bad = [
      AU("ann", `${canary}x`),
      AU("ann", `x${canary}`),
      AU("nobody", canary),
      AU("", canary),
      AU("ann", Buffer.concat([Buffer.from(canary), hex("ff fe")])),
      wrongVersion
    ]
    for (const login of bad) {
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connect(port)
        yield* client.send(G2, login)
        assert.deepStrictEqual(yield* client.readToEnd, hex("05 02 01 01"))
      }))
    }
    // One that leaves in the middle of it.
    yield* Effect.scoped(Effect.gen(function*() {
      const client = yield* connect(port)
      yield* client.send(G2, AU("ann", canary).subarray(0, -1))
      yield* client.read(2)
      yield* client.reset
    }))
    return 1 + bad.length + 1
  })

  const usersFile = Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-canary-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    const path = join(folder, "users")
    const hash = yield* PasswordHash.hash(Redacted.make(canary))
    yield* Effect.sync(() => writeFileSync(path, `ann:${hash}\n`))
    return { path, hash }
  })

  const ways = [
    { way: "a flag", format: "pretty" },
    { way: "a variable", format: "json" },
    { way: "a users file", format: "logfmt" }
  ]
  for (const { format, way } of ways) {
    it.live(`A36 a password from ${way} is in no output, at the most verbose level and in the format ${format}`, () =>
      Effect.gen(function*() {
        const { hash, path } = yield* usersFile
        const login = `ann:${canary}`
        const cli = yield* Cli.serve({
          args: [
            "--log-level",
            "trace",
            "--log-format",
            format,
            ...way === "a flag" ? ["--user", login] : way === "a users file" ? ["--users", path] : []
          ],
          env: way === "a variable" ? { SLUICE_USER: login } : {}
        })
        const origin = yield* echo()
        const connections = yield* knock(cli.port, origin.port)
        const all = within(
          Effect.sync(() => cli.stderr().split("connection ended").length - 1 === connections),
          "5 seconds"
        )
        assert.isTrue(yield* all)
        assert.isTrue(yield* probe(cli.port, origin.port, AU("ann", canary)))
        assert.strictEqual(yield* cli.stop, 0)
        const output = cli.stdout() + cli.stderr()
        assert.include(output, "authentication failed")
        assert.include(output, "ann")
        for (const form of [...forms, hash]) assert.notInclude(output, form)
      }))
  }

  it.live("A36 a password is in no complaint about the flags, and not in their help", () =>
    Effect.gen(function*() {
      const faults = [
        ["--user", `ann:${canary}`, "--listen", "nowhere"],
        ["--user", canary],
        ["--user", `:${canary}`],
        ["--user", `ann:${canary}`, "--user", `ann:${canary}${"x".repeat(250)}`],
        ["--user", `ann:${canary}`, "--users", "/nonexistent"],
        ["--user", `ann:${canary}`, "--nonsense"]
      ]
      const complaints = yield* Effect.forEach(faults, (args) => serve(args), { concurrency: 2 })
      for (const { code, stderr } of complaints) {
        assert.strictEqual(code, 2)
        assert.match(stderr, /^sluice: .+\n$/)
      }
      const help = yield* serve(["--help"], `ann:${canary}`)
      assert.strictEqual(help.code, 0)
      for (const { stderr, stdout } of [help, ...complaints]) {
        for (const form of forms) assert.notInclude(stdout + stderr, form)
      }
    }))
})

describe("the log", () => {
  const hostile = Buffer.concat([Buffer.from("a"), hex("1b 5b 32 4b 0d 0a"), Buffer.from("OK user=root.test")])
  // What would end a line, or steer a terminal; the line feeds between events have been taken away.
  // oxlint-disable-next-line no-control-regex
  const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/

  for (const format of ["logfmt", "json", "pretty"]) {
    it.live(`A37 control characters in a name forge no line of the log (${format})`, () =>
      Effect.gen(function*() {
        const dns = yield* DnsServer.make
        const flags = ["--log-format", format, "--log-level", "trace", "--dns", NetAddress.formatInet(dns.address)]
        const open = yield* Cli.serve({ args: flags })
        const withUsers = yield* Cli.serve({ args: [...flags, "--user", "ann:sesame"] })
        const origin = yield* echo()

        const client = yield* connect(open.port)
        yield* client.send(G0, CD(hostile, 80))
        assert.deepStrictEqual(yield* client.readToEnd, hex("05 00 05 04 00 01 00000000 0000"))
        yield* client.end
        const stranger = yield* connect(withUsers.port)
        yield* stranger.send(G2, AU(hostile, "x"))
        assert.deepStrictEqual(yield* stranger.readToEnd, hex("05 02 01 01"))
        yield* stranger.end

        const ended = /connection ended/
        const logged = [yield* open.takeLine(ended), yield* withUsers.takeLine(ended)]
        assert.isTrue(yield* probe(open.port, origin.port))
        assert.isTrue(yield* probe(withUsers.port, origin.port, AU("ann", "sesame")))
        yield* open.takeLine(ended)
        yield* withUsers.takeLine(ended)
        for (const { stderr } of [open, withUsers]) {
          const all = stderr().split("\n")
          // An event for each of the two connections, and behind the last line feed nothing.
          assert.strictEqual(all.length, 3, stderr())
          for (const line of all) assert.notMatch(line, unprintable)
        }
        const starts = { logfmt: /^time=\S+ level=info msg=/, json: /^\{"time":.*\}$/, pretty: /^[\d:.]+ INFO / }
        for (const line of logged) {
          assert.match(line, starts[format === "json" || format === "pretty" ? format : "logfmt"])
          // The escape is there to be read.
          assert.match(line, /\\{1,3}(x1b|u001b)/)
          if (format === "logfmt") assert.notMatch(line.replaceAll(/"(\\.|[^"\\])*"/g, ""), /user=root/)
          if (format === "json") assert.notProperty(JSON.parse(line), "OK user")
        }
        assert.deepStrictEqual(dns.names(), [])
      }))
  }
})
