import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as ResolvConf from "../../src/transport/ResolvConf.ts"
import * as DnsServer from "../support/DnsServer.ts"

const { records } = DnsServer

/** Writes a file of its own for the test's scope. */
const file = (text: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-")), "file")
      Fs.writeFileSync(path, text)
      return path
    }),
    (path) => Effect.sync(() => Fs.rmSync(Path.dirname(path), { recursive: true }))
  )

describe("hosts file", () => {
  it.effect("comes before DNS, for this host's own name too", () =>
    Effect.gen(function*() {
      const hostsFile = yield* file("192.0.2.7 Printer.test printer # both\n2001:db8::7 printer\n127.0.1.1 myhost\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ hostsFile })
      dns.set("printer.test", { A: records(["192.0.2.99"]) })
      assert.deepStrictEqual(yield* resolve("printer.test"), ["192.0.2.7"])
      assert.deepStrictEqual(yield* resolve("PRINTER.test."), ["192.0.2.7"])
      assert.deepStrictEqual(yield* resolve("printer"), ["2001:db8::7", "192.0.2.7"])
      assert.deepStrictEqual(yield* resolve("myhost"), ["127.0.1.1"])
      assert.deepStrictEqual(dns.names(), [])
    }))

  it.effect("is read again within 5 seconds after it was changed, removed or created", () =>
    Effect.gen(function*() {
      const hostsFile = yield* file("192.0.2.1 host.test\n")
      const { resolve } = yield* DnsServer.withResolver({ hostsFile })
      assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.1"])
      Fs.writeFileSync(hostsFile, "192.0.2.2 host.test\n")
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.1"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.2"])
      Fs.rmSync(hostsFile)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Effect.flip(resolve("host.test"))).reason, "NotFound")
      Fs.writeFileSync(hostsFile, "192.0.2.3 host.test\n")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.3"])
    }))

  it.effect("localhost and all below it are loopback without DNS, unless the file says otherwise", () =>
    Effect.gen(function*() {
      const hostsFile = yield* file("127.0.0.5 app.localhost\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ hostsFile })
      dns.set("localhost", { A: records(["192.0.2.1"]) })
      for (const name of ["localhost", "LOCALHOST.", "www.localhost"]) {
        assert.deepStrictEqual(yield* resolve(name), ["::1", "127.0.0.1"], name)
      }
      assert.deepStrictEqual(yield* resolve("app.localhost"), ["127.0.0.5"])
      assert.strictEqual((yield* Effect.flip(resolve("notlocalhost"))).reason, "NotFound")
      assert.deepStrictEqual(dns.names(), ["notlocalhost"])
    }))
})

describe("search domains", () => {
  it.effect("short names are tried in them first", () =>
    Effect.gen(function*() {
      const resolvConf = yield* file("search eng.corp.test corp.test\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ resolvConf })
      dns.set("wiki.corp.test", { A: records(["192.0.2.1"]) })
      dns.set("wiki", { A: records(["192.0.2.99"]) })
      assert.deepStrictEqual(yield* resolve("wiki"), ["192.0.2.1"])
      assert.deepStrictEqual(dns.names(), ["wiki.eng.corp.test", "wiki.corp.test"])
    }))

  it.effect("names with dots are tried alone first, then in them", () =>
    Effect.gen(function*() {
      const resolvConf = yield* file("domain corp.test\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ resolvConf })
      dns.set("www.example.test", { A: records(["192.0.2.1"]) })
      dns.set("build.eng.corp.test", { A: records(["192.0.2.2"]) })
      assert.deepStrictEqual(yield* resolve("www.example.test"), ["192.0.2.1"])
      assert.deepStrictEqual(yield* resolve("build.eng"), ["192.0.2.2"])
      assert.deepStrictEqual(dns.names(), ["www.example.test", "build.eng", "build.eng.corp.test"])
    }))

  it.effect("ndots decides what is short; a trailing dot makes a name absolute", () =>
    Effect.gen(function*() {
      const resolvConf = yield* file("search svc.cluster.test\noptions ndots:5 timeout:1\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ resolvConf })
      dns.set("api.prod.svc.cluster.test", { A: records(["192.0.2.1"]) })
      dns.set("www.example.test", { A: records(["192.0.2.2"]) })
      assert.deepStrictEqual(yield* resolve("api.prod"), ["192.0.2.1"])
      assert.deepStrictEqual(yield* resolve("www.example.test"), ["192.0.2.2"])
      assert.strictEqual((yield* Effect.flip(resolve("api.prod."))).reason, "NotFound")
      assert.deepStrictEqual(dns.names(), [
        "api.prod.svc.cluster.test",
        "www.example.test.svc.cluster.test",
        "www.example.test",
        "api.prod"
      ])
    }))

  it.effect("a broken one is passed over, but then the name is not known to be absent", () =>
    Effect.gen(function*() {
      const resolvConf = yield* file("search broken.test good.test\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ resolvConf })
      const broken = { A: DnsServer.serverFailure, AAAA: DnsServer.serverFailure }
      dns.set("wiki.broken.test", broken)
      dns.set("none.broken.test", broken)
      dns.set("wiki.good.test", { A: records(["192.0.2.1"]) })
      assert.deepStrictEqual(yield* resolve("wiki"), ["192.0.2.1"])
      const error = yield* Effect.flip(resolve("none"))
      assert.deepStrictEqual([error.reason, error.name], ["Failed", "none"])
    }))

  it.effect("a changed resolv.conf is followed, and empties the cache", () =>
    Effect.gen(function*() {
      const resolvConf = yield* file("search home.test\n")
      const { dns, resolve } = yield* DnsServer.withResolver({ resolvConf })
      dns.set("wiki.home.test", { A: records(["192.0.2.1"]) })
      dns.set("wiki.corp.test", { A: records(["192.0.2.2"]) })
      assert.deepStrictEqual(yield* resolve("wiki"), ["192.0.2.1"])
      Fs.writeFileSync(resolvConf, "search corp.test\n")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* resolve("wiki"), ["192.0.2.2"])
    }))
})

describe("resolv.conf", () => {
  it("is parsed as resolv.conf(5) says", () => {
    assert.deepStrictEqual(
      ResolvConf.parse(
        [
          "# comment",
          "; comment",
          "nameserver 192.0.2.53",
          "nameserver\t2001:db8::53",
          "nameserver dns.test",
          "nameserver fe80::1%eth0",
          "nameserver 192.0.2.54",
          "domain first.test",
          "search Corp.test eng.corp.test. bad..test .",
          "options ndots:2 rotate",
          "options timeout:99 attempts:0 edns0"
        ].join("\n")
      ),
      {
        servers: ["192.0.2.53:53", "[2001:db8::53]:53", "[fe80::1%eth0]:53"],
        search: ["corp.test", "eng.corp.test"].map(Host.domainNameFromStringUnsafe),
        ndots: 2,
        timeout: 30,
        attempts: 1
      }
    )
    assert.deepStrictEqual(ResolvConf.parse(""), {
      servers: [],
      search: [],
      ndots: 1,
      timeout: undefined,
      attempts: undefined
    })
  })

  it("leaves out names that would become too long", () => {
    const long = Host.domainNameFromStringUnsafe(
      `${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.${"d".repeat(60)}`
    )
    const { search } = ResolvConf.parse("search corporation.test t\n")
    assert.deepStrictEqual(ResolvConf.candidates({ search, ndots: 1 }, long), [
      long,
      Host.domainNameFromStringUnsafe(`${long}.t`)
    ])
  })
})
