import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import { run as runLine } from "../../src/cli/main.ts"
import { Report } from "../../src/probe/Report.ts"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import type * as Program from "../support/Program.ts"
import { closedPort, echo, silent, target } from "../support/Targets.ts"
import * as Upstream from "../support/Upstream.ts"

type Verdicts = Readonly<Record<string, string>>

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Report))

/** The report, the exit code, and what was said beside it. */
const probe = Effect.fnUntraced(function*(args: ReadonlyArray<string>, options?: Program.RunOptions) {
  const ended = yield* Cli.run(["probe", "--json", ...args], options)
  const report = yield* decode(ended.stdout)
  const verdicts: Verdicts = Object.fromEntries(report.findings.map(({ name, verdict }) => [name, verdict]))
  const details = Object.fromEntries(report.findings.map(({ detail, name }) => [name, detail]))
  return { ...ended, report, verdicts, details }
})

/** Names exist or do not by a DNS server of our own. */
const sluice = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const dns = yield* DnsServer.make
  return yield* Cli.serve({ args: [...args, "--dns", NetAddress.formatInet(dns.address)] })
})

const login = { TLS: "skipped", login: "skipped", "wrong password": "skipped", "no login": "skipped" }

/** Of SOCKS5; only a name that is not localhost proves DNS. */
const allOk = {
  reachable: "ok",
  TLS: "ok",
  methods: "ok",
  login: "ok",
  "wrong password": "ok",
  "no login": "ok",
  "CONNECT IPv4": "ok",
  "CONNECT IPv6": "ok",
  "CONNECT name": "ok",
  "remote DNS": "skipped",
  "UDP ASSOCIATE": "ok",
  "UDP fragments": "ok",
  BIND: "ok",
  "Tor RESOLVE": "ok",
  "HTTP forwarding": "skipped",
  "half-close": "ok",
  "early data": "ok",
  "closed port": "ok",
  "unknown name": "ok",
  "unknown command": "ok",
  "unknown address type": "ok",
  "source address": "ok",
  "handshake time": "ok",
  "connect time": "ok",
  "round trip": "ok",
  download: "ok",
  upload: "ok"
}

const onlySocks5 = {
  methods: "skipped",
  "UDP ASSOCIATE": "skipped",
  "UDP fragments": "skipped",
  "Tor RESOLVE": "skipped",
  "unknown command": "skipped",
  "unknown address type": "skipped"
}

const ofHttp = { ...onlySocks5, BIND: "skipped", "HTTP forwarding": "ok" }

/** All that is skipped behind a first failure. */
const nothingBut = (own: Verdicts): Verdicts => ({
  ...Object.fromEntries(Object.keys(allOk).map((name) => [name, "skipped"])),
  ...own
})

/** A proxy for whom yes is the answer to everything, and that sends back what it gets. */
const yesSayer = target((socket) => {
  let stage = 0
  socket.on("data", (bytes) => {
    const data = Buffer.from(bytes)
    if (stage === 0) {
      stage = data[2] === 2 ? 1 : 2
      socket.write(Buffer.from([5, data[2] ?? 0]))
    } else if (stage === 1) {
      stage = 2
      socket.write(Buffer.from([1, 0]))
    } else if (stage === 2) {
      stage = 3
      socket.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
    } else socket.write(data)
  })
  socket.on("end", () => socket.end())
})

describe("sluice probe", () => {
  it.live("finds nothing to say against Sluice itself", () =>
    Effect.gen(function*() {
      const { port } = yield* sluice()
      const url = `socks5h://127.0.0.1:${port}`
      const found = yield* probe([url])
      assert.deepStrictEqual(found.verdicts, { ...allOk, ...login }, JSON.stringify(found.details))
      assert.deepStrictEqual([found.code, found.stderr], [0, ""])
      assert.deepInclude(found.report, { proxy: url, verdict: "ok" })
      assert.deepInclude(found.details, {
        "closed port": "reply 05 (connection refused)",
        "unknown name": "reply 04 (host unreachable)",
        "unknown command": "reply 07 (command not supported)",
        "unknown address type": "reply 08 (address type not supported)",
        "source address": "127.0.0.1, ::1"
      })
      for (const { millis, name } of found.report.findings) {
        assert.strictEqual(millis !== undefined, name === "reachable" || / time$|^round/.test(name), name)
      }
    }))

  it.live("prints a table, with what was skipped and why", () =>
    Effect.gen(function*() {
      const { port } = yield* sluice()
      const ended = yield* Cli.run(["probe", `socks5://127.0.0.1:${port}`])
      assert.deepStrictEqual([ended.code, ended.stderr], [0, ""])
      const lines = ended.stdout.split("\n")
      assert.strictEqual(lines[0], `socks5://127.0.0.1:${port}`)
      assert.match(ended.stdout, /^half-close {12}ok {4}kept: /m)
      assert.match(ended.stdout, /^CONNECT name .*\n +→ .*socks5h:\/\/ sends them$/m)
      assert.match(ended.stdout, /^download .* MB\/s \(/m)
      assert.include(lines, "skipped (the URL has none): TLS")
      assert.strictEqual(lines.at(-2), "21 ok, 0 warn, 0 fail, 6 skipped")
    }))

  it.live("looks at HTTP, TLS and SOCKS4 too, and takes the password from the environment", () =>
    Effect.gen(function*() {
      const folder = yield* Certificates.directory
      const { cert, key } = yield* Certificates.make(folder, "proxy", "127.0.0.1")
      const tls = `tls://127.0.0.1:0?cert=${cert}&key=${key}`
      const guarded = yield* sluice("--listen", "127.0.0.1:0", "--listen", tls, "--user", "ann:S3cr3t")
      const [port, securePort] = guarded.ports
      const env = { SLUICE_PROBE_PASSWORD: "S3cr3t", NODE_EXTRA_CA_CERTS: cert }
      for (const url of [`socks5h://ann@127.0.0.1:${port}`, `https://ann@127.0.0.1:${securePort}`]) {
        const found = yield* probe([url], { env })
        const { verdicts } = found
        const skipped = url.startsWith("https") ? ofHttp : { TLS: "skipped" }
        assert.deepStrictEqual(verdicts, { ...allOk, ...skipped }, JSON.stringify(found.details))
        assert.deepStrictEqual([found.code, found.stderr], [0, ""])
        assert.notInclude(found.stdout, "S3cr3t")
      }
      const open = yield* sluice()
      const socks4 = yield* probe([`socks4a://127.0.0.1:${open.port}`])
      const skipped = { ...login, ...onlySocks5, "CONNECT IPv6": "skipped" }
      assert.deepStrictEqual(socks4.verdicts, { ...allOk, ...skipped }, JSON.stringify(socks4.details))
    }))

  it.live("says what is wrong with a login, and with a certificate", () =>
    Effect.gen(function*() {
      const folder = yield* Certificates.directory
      const { cert, key } = yield* Certificates.make(folder, "proxy", "127.0.0.1")
      const tls = `tls://127.0.0.1:0?cert=${cert}&key=${key}`
      const guarded = yield* sluice("--listen", "127.0.0.1:0", "--listen", tls, "--user", "ann:S3cr3t")
      const [port, securePort] = guarded.ports

      const wrong = yield* probe([`socks5://ann:Wr0ng@127.0.0.1:${port}`])
      assert.deepStrictEqual(wrong.verdicts, nothingBut({ reachable: "ok", methods: "ok", login: "fail" }))
      assert.deepStrictEqual([wrong.code, wrong.stderr], [1, "sluice: failed: login\n"])
      assert.notInclude(wrong.stdout, "Wr0ng")

      const none = yield* probe([`socks5://127.0.0.1:${port}`])
      assert.deepStrictEqual(none.verdicts, nothingBut({ reachable: "ok", methods: "fail" }))
      assert.include(none.stdout, "SLUICE_PROBE_PASSWORD")
      const http = yield* probe([`http://127.0.0.1:${port}`])
      assert.deepStrictEqual(http.verdicts, nothingBut({ reachable: "ok", "CONNECT IPv4": "fail" }))
      assert.strictEqual(http.details["CONNECT IPv4"], "status 407")

      const untrusted = yield* probe([`https://ann:S3cr3t@127.0.0.1:${securePort}`])
      assert.deepStrictEqual(untrusted.verdicts, nothingBut({ reachable: "ok", TLS: "fail" }))
      assert.strictEqual(untrusted.details["TLS"], "DEPTH_ZERO_SELF_SIGNED_CERT")
      const plain = yield* probe([`https://127.0.0.1:${port}`])
      assert.deepStrictEqual(plain.verdicts, nothingBut({ reachable: "ok", TLS: "fail" }))
    }))

  it.live("knows what dante does and does not", () =>
    Effect.gen(function*() {
      const port = yield* Upstream.dante
      const found = yield* probe([`socks5h://127.0.0.1:${port}`, "--timeout", "2s"])
      // That depends on the name servers of this machine.
      const { "unknown name": unknownName, ...verdicts } = found.verdicts
      assert.include(["ok", "warn"], unknownName)
      const { "unknown name": _, ...others } = allOk
      const told = {
        "CONNECT IPv6": "warn",
        "unknown command": "warn",
        "unknown address type": "warn",
        "Tor RESOLVE": "skipped"
      }
      assert.deepStrictEqual(verdicts, { ...others, ...login, ...told }, JSON.stringify(found.details))
      assert.deepStrictEqual([found.code, found.stderr], [0, ""])
      assert.strictEqual(found.report.verdict, "warn")

      const socks4 = yield* probe([`socks4://127.0.0.1:${port}`, "--timeout", "2s"])
      assert.strictEqual(socks4.verdicts["BIND"], "ok", JSON.stringify(socks4.details))
    }))

  it.live("knows what microsocks does and does not", () =>
    Effect.gen(function*() {
      const port = yield* Upstream.microsocks()
      const found = yield* probe([`socks5h://127.0.0.1:${port}`, "--timeout", "1s"])
      assert.deepStrictEqual(found.verdicts, {
        ...allOk,
        ...login,
        "UDP ASSOCIATE": "warn",
        "UDP fragments": "skipped",
        BIND: "warn",
        "Tor RESOLVE": "skipped",
        "half-close": "fail",
        "early data": "warn",
        "unknown name": "warn"
      }, JSON.stringify(found.details))
      assert.deepStrictEqual([found.code, found.stderr], [1, "sluice: failed: half-close\n"])
    }))

  it.live("is not taken in by a proxy that says yes to everything", () =>
    Effect.gen(function*() {
      const { port } = yield* yesSayer
      const found = yield* probe([`socks5h://ann:S3cr3t@127.0.0.1:${port}`, "--timeout", "500ms"])
      assert.strictEqual(found.code, 1)
      assert.deepInclude(found.verdicts, {
        login: "ok",
        "wrong password": "fail",
        "no login": "warn",
        "UDP ASSOCIATE": "fail",
        BIND: "fail",
        "closed port": "fail",
        "unknown name": "fail",
        "unknown command": "fail",
        "unknown address type": "fail",
        "source address": "skipped"
      })
      assert.strictEqual(found.details["UDP ASSOCIATE"], "BND.PORT is 0 (0.0.0.0:0)")
    }))

  it.live("tells a dead port, garbage and silence apart, in bounded time", () =>
    Effect.gen(function*() {
      const dead = yield* probe([`socks5://127.0.0.1:${yield* closedPort}`])
      assert.deepStrictEqual(dead.verdicts, nothingBut({ reachable: "fail" }))
      assert.deepStrictEqual([dead.code, dead.details["reachable"]], [1, "connection refused"])

      const garbage = yield* target((socket) => socket.end("220 \u001b[31mmail ESMTP\r\n"))
      const quiet = yield* silent
      const cases = [garbage, quiet].flatMap(({ port }) =>
        ["socks5", "http", "socks4a"].map((scheme) => `${scheme}://127.0.0.1:${port}`)
      )
      const found = yield* Effect.forEach(cases, (url) => probe([url, "--timeout", "500ms"]), { concurrency: 3 })
      for (const { code, report: { proxy }, verdicts } of found) {
        const first = proxy.startsWith("socks5") ? "methods" : "CONNECT IPv4"
        assert.deepStrictEqual(verdicts, nothingBut({ reachable: "ok", [first]: "fail" }), proxy)
        assert.strictEqual(code, 1)
      }
    }))

  it.live("checks with a target that is given only what that can tell", () =>
    Effect.gen(function*() {
      const { port } = yield* sluice()
      const service = yield* echo()
      const found = yield* probe([`socks5h://127.0.0.1:${port}`, "--target", `127.0.0.1:${service.port}`])
      assert.deepStrictEqual(found.verdicts, {
        ...allOk,
        ...login,
        "CONNECT IPv6": "skipped",
        "CONNECT name": "skipped",
        "UDP fragments": "skipped",
        "half-close": "skipped",
        "early data": "skipped",
        "closed port": "skipped",
        "source address": "skipped",
        "round trip": "skipped",
        download: "skipped",
        upload: "skipped"
      })
      assert.strictEqual(found.code, 0)

      const dns = yield* DnsServer.make
      dns.set("probe.example", { A: DnsServer.records(["127.0.0.1"]) })
      const named = yield* Cli.serve({ args: ["--dns", NetAddress.formatInet(dns.address)] })
      const target = ["--target", `probe.example:${service.port}`]
      const { details } = yield* probe([`socks5h://127.0.0.1:${named.port}`, ...target])
      assert.deepInclude(details, {
        "remote DNS": "the proxy looks names up itself",
        "Tor RESOLVE": "probe.example is 127.0.0.1"
      })

      const refused = yield* probe([`http://127.0.0.1:${port}`, "--target", `127.0.0.1:${yield* closedPort}`])
      assert.deepStrictEqual(
        refused.verdicts,
        nothingBut({ reachable: "ok", "CONNECT IPv4": "fail", "unknown name": "ok" })
      )
      assert.match(refused.stdout, /status 502.*is the target running, and can the proxy reach it/)

      const lost = yield* probe([`socks5h://127.0.0.1:${port}`, "--target", `localhost:${yield* closedPort}`])
      assert.deepInclude(lost.verdicts, {
        "CONNECT IPv4": "skipped",
        "CONNECT name": "fail",
        "connect time": "skipped"
      })
      assert.strictEqual(lost.code, 1)
    }))

  it.live("serves its targets at the address that is given", () =>
    Effect.gen(function*() {
      const { port } = yield* sluice()
      const found = yield* probe([`socks5h://127.0.0.1:${port}`, "--own-address", "127.0.0.5"])
      assert.match(found.details["CONNECT IPv4"] ?? "", /^127\.0\.0\.5:\d+$/)
      assert.deepInclude(found.verdicts, { "UDP ASSOCIATE": "ok", "half-close": "ok", upload: "ok" })
    }))

  it.live("refuses in one line what it can't use", () =>
    Effect.gen(function*() {
      const cases = [
        [["ftp://ann:S3cr3t@127.0.0.1"], /^URL: not the URL of a proxy; give /],
        [["socks5://:S3cr3t@127.0.0.1"], /^URL: a password, but no user name; /],
        [["socks5://127.0.0.1", "--target", "12"], /^--target: "12" is not HOST:PORT, /],
        [["socks5://127.0.0.1", "--target", "a:0"], /^--target: "a:0" is not HOST:PORT, /],
        [["socks5://127.0.0.1", "--own-address", "lo"], /^--own-address: "lo" is not an IP address, /],
        [["socks5://127.0.0.1", "--own-address", "::"], /^--own-address: "::" is nowhere to connect to; /],
        [["socks5://127.0.0.1", "--timeout", "0"], /^--timeout: "0" is no time at all; /],
        [["socks5://127.0.0.1", "--target", "a:1", "--own-address", "::1"], /^--own-address: .* give one of the two$/],
        [[], /URL/]
      ] as const
      for (const [args, complaint] of cases) {
        const ending = yield* runLine(["probe", ...args])
        assert.strictEqual(ending.code, 2, args.join(" "))
        assert.match(ending.complaint ?? "", complaint)
        assert.notInclude(ending.complaint ?? "", "S3cr3t")
      }
    }))
})
