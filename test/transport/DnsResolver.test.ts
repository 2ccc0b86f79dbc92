import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as DnsResolver from "../../src/transport/DnsResolver.ts"
import { Resolver } from "../../src/transport/Resolver.ts"
import * as DnsServer from "../support/DnsServer.ts"

const { records } = DnsServer

const parsed = (input: string) =>
  Result.getOrUndefined(Result.map(DnsResolver.serverFromString(input), NetAddress.formatInet))

describe("answers", () => {
  it.effect("both families: IPv6 first, each in the server's order", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("both.test", { A: records(["192.0.2.9", "192.0.2.1"]), AAAA: records(["2001:db8::9", "2001:db8::1"]) })
      assert.deepStrictEqual(yield* resolve("both.test"), ["2001:db8::9", "2001:db8::1", "192.0.2.9", "192.0.2.1"])
    }))

  it.effect("A32: the other family is in the result, for a dialer to go on with", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("dual.test", { A: records(["127.0.0.1"]), AAAA: records(["::1"]) })
      assert.deepStrictEqual(yield* resolve("dual.test"), ["::1", "127.0.0.1"])
    }))

  it.effect("one family is enough, whatever the other one comes to", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("four.test", { A: records(["192.0.2.1"]) })
      dns.set("six.test", { AAAA: records(["2001:db8::1"]) })
      dns.set("broken.test", { A: records(["192.0.2.2"]), AAAA: DnsServer.serverFailure })
      dns.set("liar.test", { A: records(["192.0.2.3"]), AAAA: DnsServer.nameError })
      assert.deepStrictEqual(yield* resolve("four.test"), ["192.0.2.1"])
      assert.deepStrictEqual(yield* resolve("six.test"), ["2001:db8::1"])
      assert.deepStrictEqual(yield* resolve("broken.test"), ["192.0.2.2"])
      assert.deepStrictEqual(yield* resolve("liar.test"), ["192.0.2.3"])
    }))

  it.live("a silent family does not hold up the other one", () =>
    Effect.gen(function*() {
      // Were it waited for, the time limit would end the lookup before the last try.
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("slow6.test", { A: records(["192.0.2.1"]), AAAA: DnsServer.silent })
      dns.set("slow4.test", { A: DnsServer.silent, AAAA: records(["2001:db8::1"]) })
      const [four, six] = yield* Effect.all([resolve("slow6.test"), resolve("slow4.test")], { concurrency: 2 })
      assert.deepStrictEqual(four, ["192.0.2.1"])
      assert.deepStrictEqual(six, ["2001:db8::1"])
    }))

  it.effect("a family that comes within the resolution delay is included", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      // The delay is on the test's clock, which stands still.
      dns.set("late.test", { A: records(["192.0.2.1"]), AAAA: DnsServer.delayed(records(["2001:db8::1"]), 100) })
      assert.deepStrictEqual(yield* resolve("late.test"), ["2001:db8::1", "192.0.2.1"])
    }))

  it.effect("a family without addresses does not end the wait for the other one", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("late.test", { A: DnsServer.delayed(records(["192.0.2.1"]), 100), AAAA: DnsServer.nameError })
      assert.deepStrictEqual(yield* resolve("late.test"), ["192.0.2.1"])
    }))

  it.effect("aliases are followed", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("www.test", { A: DnsServer.alias(["cdn.test", "edge.cdn.test"], ["192.0.2.1"], 60) })
      assert.deepStrictEqual(yield* resolve("www.test"), ["192.0.2.1"])
    }))

  it.effect("a name with thousands of addresses gives 32 of each family", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("many.test", { A: records(Array.from({ length: 100 }, (_, index) => `192.0.2.${index}`)) })
      assert.strictEqual((yield* resolve("many.test")).length, 32)
    }))

  it.effect("A12: underscore, trailing dot and A-labels resolve", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      const names = ["my_host.test", "host.test", "xn--bcher-kva.test", "r3---sn-ab5l6n.test"]
      for (const name of names) dns.set(name, { A: records(["192.0.2.1"]) })
      for (const name of ["my_host.test", "host.test.", "xn--bcher-kva.test", "bücher.test", "r3---sn-ab5l6n.test"]) {
        assert.deepStrictEqual(yield* resolve(name), ["192.0.2.1"], name)
      }
      assert.deepStrictEqual(dns.names(), names)
    }))

  it.effect("invalid Punycode is not found, and asks for no other name", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      const error = yield* Effect.flip(resolve("xn--a.test"))
      assert.strictEqual(error.reason, "NotFound")
      // Node 20 can't ask for such a name, and would ask for the root; Node 24 can.
      assert.deepStrictEqual(dns.names().filter((name) => name !== "xn--a.test"), [])
    }))

  it.effect("every lookup has a source port of its own", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      for (const index of Array.from({ length: 10 }).keys()) yield* Effect.flip(resolve(`port-${index}.test`))
      assert.isAbove(dns.ports().size, 5)
    }))
})

describe("failures", () => {
  it.effect("NXDOMAIN and no data are NotFound", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("empty.test", {})
      const missing = yield* Effect.flip(resolve("missing.test"))
      const empty = yield* Effect.flip(resolve("empty.test"))
      assert.deepStrictEqual([missing.reason, missing.code, missing.name], ["NotFound", "ENOTFOUND", "missing.test"])
      assert.deepStrictEqual([empty.reason, empty.code], ["NotFound", "ENODATA"])
    }))

  it.effect("SERVFAIL and REFUSED are Failed, with their code", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("broken.test", { A: DnsServer.serverFailure, AAAA: DnsServer.serverFailure })
      dns.set("half.test", { A: DnsServer.serverFailure })
      dns.set("refused.test", { A: DnsServer.refused, AAAA: DnsServer.refused })
      for (const [name, code] of [["broken", "ESERVFAIL"], ["half", "ESERVFAIL"], ["refused", "EREFUSED"]]) {
        const error = yield* Effect.flip(resolve(`${name}.test`))
        assert.deepStrictEqual([error.reason, error.code], ["Failed", code], name)
      }
    }))

  it.effect("no server listening is Failed", () =>
    Effect.gen(function*() {
      const { resolve } = yield* DnsServer.withResolver({ servers: ["127.0.0.1:1"] })
      const error = yield* Effect.flip(resolve("host.test"))
      assert.deepStrictEqual([error.reason, error.code], ["Failed", "ECONNREFUSED"])
    }))

  it.effect("silence is TimedOut, exactly at the limit", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("silent.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const fiber = yield* Effect.forkChild(Effect.flip(resolve("silent.test")))
      yield* dns.asked("silent.test", 2)
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual([error.reason, error.code], ["TimedOut", "ETIMEOUT"])
    }))

  it.live("silence is TimedOut on the real clock too", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver({ timeout: "200 millis" })
      dns.set("silent.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      assert.strictEqual((yield* Effect.flip(resolve("silent.test"))).reason, "TimedOut")
    }))

  it.effect("closing the layer's scope cancels what is in flight", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set("silent.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const scope = yield* Scope.make()
      const layer = DnsResolver.layer({ servers: [dns.address], hostsFile: "", resolvConf: "" })
      const { resolve } = Context.get(yield* Layer.buildWithScope(layer, scope), Resolver)
      const name = Host.domainNameFromStringUnsafe("silent.test")
      const fiber = yield* Effect.forkChild(Effect.flip(resolve(name)))
      yield* dns.asked("silent.test", 2)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(fiber)).code, "ECANCELLED")
      assert.strictEqual((yield* Effect.flip(resolve(name))).code, "ECANCELLED")
    }))
})

describe("servers", () => {
  it("HOST[:PORT], IPv6 with or without brackets", () => {
    assert.strictEqual(parsed("192.0.2.1"), "192.0.2.1:53")
    assert.strictEqual(parsed("192.0.2.1:5353"), "192.0.2.1:5353")
    assert.strictEqual(parsed("2001:db8::1"), "[2001:db8::1]:53")
    assert.strictEqual(parsed("[2001:db8::1]"), "[2001:db8::1]:53")
    assert.strictEqual(parsed("[2001:db8::1]:5353"), "[2001:db8::1]:5353")
    for (
      const input of [
        "",
        "dns.test",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "[192.0.2.1]:53",
        "[::1",
        "192.0.2"
      ]
    ) {
      assert.isUndefined(parsed(input), input)
    }
  })

  it.effect("the next one is asked after SERVFAIL, and when nothing listens", () =>
    Effect.gen(function*() {
      const broken = yield* DnsServer.make
      const good = yield* DnsServer.make
      broken.set("host.test", { A: DnsServer.serverFailure, AAAA: DnsServer.serverFailure })
      good.set("host.test", { A: records(["192.0.2.1"]) })
      for (const first of [broken.address, "127.0.0.1:1"]) {
        const { resolve } = yield* DnsServer.withResolver({ servers: [first, good.address] })
        assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.1"])
      }
      assert.strictEqual(broken.count("host.test"), 2)
    }))

  it.live("one that is silent is passed over, and asked last from then on", () =>
    Effect.gen(function*() {
      const dead = yield* DnsServer.make
      const good = yield* DnsServer.make
      for (const name of ["one.test", "two.test"]) {
        dead.set(name, { A: DnsServer.silent, AAAA: DnsServer.silent })
        good.set(name, { A: records(["192.0.2.1"]) })
      }
      const { resolve } = yield* DnsServer.withResolver({
        servers: [dead.address, good.address],
        resolvConf: "/nonexistent",
        timeout: "4 seconds"
      })
      assert.deepStrictEqual(yield* resolve("one.test"), ["192.0.2.1"])
      assert.deepStrictEqual(yield* resolve("two.test"), ["192.0.2.1"])
      assert.deepStrictEqual(dead.names(), ["one.test"])
    }))
})

describe("A31: slow DNS stalls nobody", () => {
  it.effect("20 slow names delay neither localhost nor a fast name", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      const slow = Array.from({ length: 20 }, (_, index) => `slow-${index}.test`)
      for (const name of slow) dns.set(name, { A: DnsServer.silent, AAAA: DnsServer.silent })
      dns.set("fast.test", { A: records(["192.0.2.1"]) })
      const fibers = yield* Effect.forEach(slow, (name) => Effect.forkChild(Effect.flip(resolve(name))))
      yield* Effect.forEach(slow, (name) => dns.asked(name, 2))
      assert.deepStrictEqual(yield* resolve("localhost"), ["::1", "127.0.0.1"])
      assert.deepStrictEqual(yield* resolve("fast.test"), ["192.0.2.1"])
      assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() === undefined))
      yield* TestClock.adjust("5 seconds")
      const errors = yield* Effect.forEach(fibers, Fiber.join)
      assert.isTrue(errors.every(({ reason }) => reason === "TimedOut"))
    }))

  it.live("a full thread pool is not in the way", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver({ hostsFile: "/etc/hosts" })
      dns.set("host.test", { A: records(["192.0.2.1"]) })
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
      )
      // Opening a FIFO for reading occupies a thread until somebody opens it for writing.
      const fifo = Path.join(folder, "fifo")
      ChildProcess.execFileSync("mkfifo", [fifo])
      const opens = Array.from({ length: 16 }, () => Fs.promises.open(fifo, "r"))
      const order: Array<string> = []
      const readers = Promise.all(opens).then((handles) => {
        order.push("file")
        return handles
      })
      yield* Effect.ensuring(
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.1"])
          order.push("name")
        }),
        Effect.promise(async () => {
          const writer = Fs.openSync(fifo, "r+")
          for (const handle of await readers) await handle.close()
          Fs.closeSync(writer)
        })
      )
      assert.deepStrictEqual(order, ["name", "file"])
    }))
})
