import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as DnsServer from "../support/DnsServer.ts"

const { records } = DnsServer

const heldName: Partial<Record<DnsServer.Family, DnsServer.Reply>> = {
  A: DnsServer.held(records(["192.0.2.1"])),
  AAAA: DnsServer.held(records(["2001:db8::1"]))
}

/** Asks for a name until the clock has moved by all of `steps`; gives how many lookups there were after each. */
const lookupsAfter = Effect.fnUntraced(function*(
  { dns, resolve }: Effect.Success<ReturnType<typeof DnsServer.withResolver>>,
  name: string,
  steps: ReadonlyArray<string & `${number} millis`>
) {
  const counts: Array<number> = []
  for (const step of steps) {
    yield* TestClock.adjust(step)
    yield* Effect.exit(resolve(name))
    counts.push(dns.count(name, "A"))
  }
  return counts
})

describe("time to live", () => {
  it.effect("the smallest TTL of both families counts", () =>
    Effect.gen(function*() {
      const stub = yield* DnsServer.withResolver()
      stub.dns.set("host.test", { A: records(["192.0.2.1"], 300), AAAA: records(["2001:db8::1"], 30) })
      assert.deepStrictEqual(
        yield* lookupsAfter(stub, "host.test", ["0 millis", "29999 millis", "1 millis", "29999 millis", "1 millis"]),
        [1, 1, 2, 2, 3]
      )
    }))

  it.effect("an alias's TTL counts too", () =>
    Effect.gen(function*() {
      const stub = yield* DnsServer.withResolver()
      stub.dns.set("www.test", { A: DnsServer.alias(["cdn.test"], ["192.0.2.1"], 7) })
      assert.deepStrictEqual(yield* lookupsAfter(stub, "www.test", ["0 millis", "6999 millis", "1 millis"]), [1, 1, 2])
    }))

  it.effect("maxTtl caps it, and TTL 0 is not kept", () =>
    Effect.gen(function*() {
      const stub = yield* DnsServer.withResolver({ maxTtl: "1 minute" })
      stub.dns.set("week.test", { A: records(["192.0.2.1"], 604_800) })
      stub.dns.set("now.test", { A: records(["192.0.2.1"], 0) })
      assert.deepStrictEqual(yield* lookupsAfter(stub, "week.test", ["0 millis", "59999 millis", "1 millis"]), [
        1,
        1,
        2
      ])
      assert.deepStrictEqual(yield* lookupsAfter(stub, "now.test", ["0 millis", "0 millis"]), [1, 2])
    }))

  it.effect("NotFound is kept for negativeTtl", () =>
    Effect.gen(function*() {
      const stub = yield* DnsServer.withResolver()
      assert.deepStrictEqual(yield* lookupsAfter(stub, "none.test", ["0 millis", "4999 millis", "1 millis"]), [1, 1, 2])
    }))

  it.effect("an incomplete answer is kept for negativeTtl, then asked for again", () =>
    Effect.gen(function*() {
      const stub = yield* DnsServer.withResolver()
      stub.dns.set("half.test", { A: records(["192.0.2.1"], 300), AAAA: DnsServer.serverFailure })
      assert.deepStrictEqual(yield* lookupsAfter(stub, "half.test", ["0 millis", "4999 millis", "1 millis"]), [1, 1, 2])
      stub.dns.set("half.test", { A: records(["192.0.2.1"], 300), AAAA: records(["2001:db8::1"], 300) })
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* stub.resolve("half.test"), ["2001:db8::1", "192.0.2.1"])
    }))

  it.effect("failures and time limits are not kept", () =>
    Effect.gen(function*() {
      const stub = yield* DnsServer.withResolver()
      stub.dns.set("broken.test", { A: DnsServer.serverFailure, AAAA: DnsServer.serverFailure })
      assert.deepStrictEqual(yield* lookupsAfter(stub, "broken.test", ["0 millis", "0 millis"]), [1, 2])
      stub.dns.set("silent.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const fiber = yield* Effect.forkChild(Effect.flip(stub.resolve("silent.test")))
      yield* stub.dns.asked("silent.test", 2)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(fiber)).reason, "TimedOut")
      stub.dns.set("silent.test", { A: records(["192.0.2.1"]) })
      assert.deepStrictEqual(yield* stub.resolve("silent.test"), ["192.0.2.1"])
    }))

  it.effect("no more than `capacity` names are kept, the most recently used ones", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver({ capacity: 2 })
      for (const name of ["a.test", "b.test", "c.test"]) dns.set(name, { A: records(["192.0.2.1"]) })
      for (const name of ["a.test", "b.test", "a.test", "c.test", "a.test", "b.test"]) yield* resolve(name)
      assert.deepStrictEqual(["a.test", "b.test", "c.test"].map((name) => dns.count(name, "A")), [1, 2, 1])
    }))
})

describe("one lookup for all who wait", () => {
  it.effect("50 callers, one query for each family", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("host.test", heldName)
      const fibers = yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.forkChild(resolve("host.test")))
      yield* dns.asked("host.test", 2)
      dns.release("host.test")
      for (const fiber of fibers) assert.deepStrictEqual(yield* Fiber.join(fiber), ["2001:db8::1", "192.0.2.1"])
      assert.strictEqual(dns.count("host.test", "A"), 1)
      assert.strictEqual(dns.count("host.test", "AAAA"), 1)
    }))

  it.effect("interrupting the first one fails none of the others", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver()
      dns.set("host.test", heldName)
      const first = yield* Effect.forkChild(resolve("host.test"))
      yield* dns.asked("host.test", 2)
      const others = yield* Effect.forEach(
        [1, 2],
        () => Effect.forkChild(resolve("host.test"), { startImmediately: true })
      )
      yield* Fiber.interrupt(first)
      dns.release("host.test")
      for (const fiber of others) assert.deepStrictEqual(yield* Fiber.join(fiber), ["2001:db8::1", "192.0.2.1"])
      assert.strictEqual(dns.count("host.test"), 2)
    }))

  it.effect("interrupting all of them ends the lookup, and the next caller begins a new one", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver({ maxPending: 1 })
      dns.set("host.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const fibers = yield* Effect.forEach([1, 2], () => Effect.forkChild(resolve("host.test")))
      yield* dns.asked("host.test", 2)
      yield* Fiber.interruptAll(fibers)
      dns.set("host.test", { A: records(["192.0.2.1"]) })
      assert.deepStrictEqual(yield* resolve("host.test"), ["192.0.2.1"])
    }))
})

describe("bounds", () => {
  it.effect("at most maxPending names are asked for at once; the others follow", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver({ maxPending: 2 })
      const bystander = yield* DnsServer.withResolver({ servers: [dns.address] })
      const names = ["a.test", "b.test", "c.test", "d.test"]
      for (const name of names) dns.set(name, heldName)
      const fibers = yield* Effect.forEach(names, (name) => Effect.forkChild(resolve(name)))
      yield* dns.asked("a.test", 2)
      yield* dns.asked("b.test", 2)
      // A third question sent by now would have reached the server before this one.
      yield* Effect.flip(bystander.resolve("later.test"))
      assert.deepStrictEqual(dns.names(), ["a.test", "b.test", "later.test"])
      assert.deepStrictEqual(yield* resolve("localhost"), ["::1", "127.0.0.1"])
      for (const name of names) {
        yield* dns.asked(name, 2)
        dns.release(name)
      }
      for (const fiber of fibers) assert.deepStrictEqual(yield* Fiber.join(fiber), ["2001:db8::1", "192.0.2.1"])
    }))

  it.effect("the wait for a place counts towards the time limit", () =>
    Effect.gen(function*() {
      const { dns, resolve } = yield* DnsServer.withResolver({ maxPending: 1 })
      dns.set("silent.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const first = yield* Effect.forkChild(Effect.flip(resolve("silent.test")))
      yield* dns.asked("silent.test", 2)
      const second = yield* Effect.forkChild(Effect.flip(resolve("next.test")), { startImmediately: true })
      yield* Effect.all([TestClock.adjust("5 seconds"), Fiber.join(first)])
      assert.strictEqual((yield* Fiber.join(second)).reason, "TimedOut")
    }))

  it.effect(
    "no descriptor is left behind, answered or interrupted",
    () =>
      Effect.gen(function*() {
        const { dns, resolve } = yield* DnsServer.withResolver()
        const before = Fs.readdirSync("/proc/self/fd").length
        const names = Array.from({ length: 40 }, (_, index) => `name-${index}.test`)
        for (const [index, name] of names.entries()) {
          dns.set(
            name,
            index % 2 === 0 ? { A: records(["192.0.2.1"]) } : { A: DnsServer.silent, AAAA: DnsServer.silent }
          )
        }
        const fibers = yield* Effect.forEach(names, (name) => Effect.forkChild(resolve(name)))
        yield* Effect.forEach(names, (name) => dns.asked(name, 2))
        yield* Effect.forEach(fibers.filter((_, index) => index % 2 === 0), Fiber.join)
        assert.isAtLeast(Fs.readdirSync("/proc/self/fd").length, before + 20)
        yield* Fiber.interruptAll(fibers)
        assert.isBelow(Fs.readdirSync("/proc/self/fd").length, before + 10)
      })
  )
})
