/** HAProxy in front of the program, which tells it whose the connections are; and behind it, which is told. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import { greeting, httpOrigin } from "../support/HttpOrigin.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { proxy } from "../support/Proxy.ts"
import { refusesConnections } from "../support/RawClient.ts"
import { closedPort } from "../support/Targets.ts"

const haproxy = "/usr/sbin/haproxy"

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-haproxy-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const settings = `
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
`

/** Runs one with these sections for the scope, and waits until it listens on one of its ports. */
const start = Effect.fnUntraced(function*(port: number, sections: string) {
  const file = Path.join(yield* temporaryFolder, "haproxy.cfg")
  Fs.writeFileSync(file, settings + sections)
  const checked = yield* Program.run(haproxy, ["-c", "-q", "-f", file])
  assert.deepStrictEqual(checked, { code: 0, stdout: "", stderr: "" })
  // Without `-db` it would go to the background.
  yield* ChildProcess.make(haproxy, ["-db", "-q", "-f", file], { stdin: "ignore", forceKillAfter: "2 seconds" }).pipe(
    Effect.provide(NodeServices.layer)
  )
  const listens = Effect.map(refusesConnections(port), (refuses) => !refuses)
  assert.isTrue(yield* within(listens, "5 seconds"), "haproxy does not listen")
})

/** What the tests share: the program, and an HAProxy before it for each version of the header. */
class Fixture extends Context.Service<Fixture, {
  readonly sluice: Cli.Cli
  readonly origin: number
  /** Ports of HAProxy on 127.0.0.1, and on ::1. */
  readonly ports: Readonly<Record<"v1" | "v1Ipv6" | "v2" | "v2Ipv6" | "checksum", number>>
}>()("test/clients/Haproxy/Fixture") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const sluice = yield* Cli.serve({ args: ["--proxy-protocol", "127.0.0.1", "--proxy-protocol", "192.0.2.0/24"] })
      const ports = yield* Effect.all({
        v1: closedPort,
        v1Ipv6: closedPort,
        v2: closedPort,
        v2Ipv6: closedPort,
        checksum: closedPort
      })
      const server = `server sluice 127.0.0.1:${sluice.port}`
      yield* start(
        ports.checksum,
        `
listen version1
  bind 127.0.0.1:${ports.v1}
  bind [::1]:${ports.v1Ipv6}
  ${server} send-proxy
listen version2
  bind 127.0.0.1:${ports.v2}
  bind [::1]:${ports.v2Ipv6}
  ${server} send-proxy-v2
listen checksum
  bind 127.0.0.1:${ports.checksum}
  ${server} send-proxy-v2 proxy-v2-options crc32c,unique-id
  unique-id-format %{+X}o%ci:%cp
`
      )
      return { sluice, ports, origin: yield* httpOrigin() }
    })
  )
}

const curl = (...args: ReadonlyArray<string>) => Program.run("curl", ["-q", "-sS", "--max-time", "20", ...args])

layer(Fixture.layer, { excludeTestServices: true })("haproxy", (it) => {
  it.effect.each(
    [["v1", "127.0.0.3"], ["v2", "127.0.0.4"], ["checksum", "127.0.0.5"]] as const
  )("says who the client is, by IPv4: %s", ([version, client]) =>
    Effect.gen(function*() {
      const { origin, ports, sluice } = yield* Fixture
      const balancer = `socks5h://127.0.0.1:${ports[version]}`
      const ended = yield* curl("--interface", client, "--proxy", balancer, `http://127.0.0.1:${origin}/`)
      assert.deepStrictEqual(ended, { code: 0, stdout: greeting, stderr: "" })
      const line = yield* sluice.takeLine(new RegExp(`connection ended.* client=${client}:`))
      assert.include(line, ` destination=127.0.0.1:${origin} `)
      assert.include(line, " reason=done")
    }))

  it.effect.each(["v1Ipv6", "v2Ipv6"] as const)(
    "says who the client is, by IPv6: %s",
    (version) =>
      Effect.gen(function*() {
        const { origin, ports, sluice } = yield* Fixture
        const ended = yield* curl("--proxy", `socks5h://[::1]:${ports[version]}`, `http://127.0.0.1:${origin}/`)
        assert.deepStrictEqual(ended, { code: 0, stdout: greeting, stderr: "" })
        const line = yield* sluice.takeLine(/connection ended.* client="?\[::1\]:/)
        assert.include(line, " reason=done")
      })
  )

  it.effect("may not be left out by one who should be there", () =>
    Effect.gen(function*() {
      const { origin, sluice } = yield* Fixture
      const direct = yield* curl("--proxy", `socks5h://127.0.0.1:${sluice.port}`, `http://127.0.0.1:${origin}/`)
      assert.notStrictEqual(direct.code, 0)
      assert.strictEqual(direct.stdout, "")
      const line = yield* sluice.takeLine(/connection ended.*PROXY header/)
      assert.include(line, "there is none: byte 1 is 0x05")
    }))

  it.effect("is not needed from others", () =>
    Effect.gen(function*() {
      const { origin, sluice } = yield* Fixture
      const balancer = `socks5h://127.0.0.1:${sluice.port}`
      const ended = yield* curl("--interface", "127.0.0.6", "--proxy", balancer, `http://127.0.0.1:${origin}/`)
      assert.deepStrictEqual(ended, { code: 0, stdout: greeting, stderr: "" })
      yield* sluice.takeLine(/connection ended.*client=127\.0\.0\.6:\d+ /)
    }))

  it.effect("says so before the TLS that it passes through", () =>
    Effect.gen(function*() {
      const { origin } = yield* Fixture
      const { cert, key } = yield* Certificates.make(yield* Certificates.directory, "server", "server")
      const sluice = yield* Cli.serve({
        args: ["--listen", `tls://127.0.0.1:0?cert=${cert}&key=${key}`, "--proxy-protocol", "127.0.0.1"]
      })
      const get = (port: number, ...args: ReadonlyArray<string>) =>
        curl("--proxy", `https://127.0.0.1:${port}`, "--proxy-cacert", cert, ...args, `http://127.0.0.1:${origin}/`)
      // First, since few of those that fail are logged.
      const direct = yield* get(sluice.port)
      assert.notStrictEqual(direct.code, 0)
      assert.strictEqual(direct.stdout, "")
      assert.include(yield* sluice.takeLine(/no TLS/), "PROXY header: there is none: byte 1 is 0x16")
      const [v1, v2] = yield* Effect.all([closedPort, closedPort])
      yield* start(
        v2,
        `
listen tls1
  bind 127.0.0.1:${v1}
  server sluice 127.0.0.1:${sluice.port} send-proxy
listen tls2
  bind 127.0.0.1:${v2}
  server sluice 127.0.0.1:${sluice.port} send-proxy-v2
`
      )
      for (const [port, client] of [[v1, "127.0.0.9"], [v2, "127.0.0.10"]] as const) {
        for (const tunnel of [[], ["-p"]]) {
          const ended = yield* get(port, "--interface", client, ...tunnel)
          assert.deepStrictEqual(ended, { code: 0, stdout: greeting, stderr: "" })
          const line = yield* sluice.takeLine(new RegExp(`connection ended.* client=${client}:`))
          assert.include(line, " reason=done")
        }
      }
      const other = yield* get(sluice.port, "--interface", "127.0.0.11")
      assert.deepStrictEqual(other, { code: 0, stdout: greeting, stderr: "" })
      yield* sluice.takeLine(/connection ended.* client=127\.0\.0\.11:/)
    }))

  it.effect("checks our health with connections of its own", () =>
    Effect.gen(function*() {
      const { origin, sluice } = yield* Fixture
      const port = yield* closedPort
      yield* start(
        port,
        `
listen checked
  bind 127.0.0.1:${port}
  option tcp-check
  tcp-check send-binary 050100
  tcp-check expect binary 0500
  server sluice 127.0.0.1:${sluice.port} send-proxy-v2 check inter 50ms fall 1 rise 99
`
      )
      const checks = Effect.sync(() => sluice.stderr().split("client=127.0.0.1:").length > 5)
      assert.isTrue(yield* within(checks, "5 seconds"))
      // After one that had failed it would send nobody here any more.
      const balancer = `socks5h://127.0.0.1:${port}`
      const ended = yield* curl("--interface", "127.0.0.8", "--proxy", balancer, `http://127.0.0.1:${origin}/`)
      assert.deepStrictEqual(ended, { code: 0, stdout: greeting, stderr: "" })
    }))

  it.effect("is told who the client is, where the policy says so", () =>
    Effect.gen(function*() {
      const [port, plain] = yield* Effect.all([closedPort, closedPort])
      yield* start(
        plain,
        `
frontend told
  mode http
  bind 127.0.0.1:${port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]"
frontend untold
  mode http
  bind 127.0.0.1:${plain}
  http-request return status 200 content-type text/plain lf-string "%[src]"
`
      )
      const sluice = yield* proxy({
        services: Layer.succeed(AccessPolicy, {
          authorize: () => AccessPolicy.permit,
          authorizeAddress: ({ client, destination }) =>
            Effect.succeed({
              proxyHeader: destination.port === port && client !== undefined && NetAddress.isIpv4Address(client.address)
            })
        })
      })
      const balancer = `socks5h://127.0.0.1:${sluice.port}`
      const get = (port: number) => curl("--interface", "127.0.0.7", "--proxy", balancer, `http://127.0.0.1:${port}/`)
      const told = yield* get(port)
      assert.isTrue(yield* within(Effect.sync(() => sluice.records.length === 1)))
      const client = sluice.records[0]?.client ?? ""
      assert.match(client, /^127\.0\.0\.7:/)
      assert.deepStrictEqual(told, { code: 0, stdout: `${client} 127.0.0.1:${port}`, stderr: "" })
      assert.deepStrictEqual(yield* get(plain), { code: 0, stdout: "127.0.0.1", stderr: "" })
    }))
})
