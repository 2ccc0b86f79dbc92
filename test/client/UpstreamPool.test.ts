import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
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
import * as Chain from "../../src/client/Chain.ts"
import * as UpstreamPool from "../../src/client/UpstreamPool.ts"
import { Upstreams } from "../../src/client/Upstreams.ts"
import type { Connection } from "../../src/transport/Connection.ts"
import * as Dialer from "../../src/transport/Dialer.ts"
import * as MemoryTransport from "../../src/transport/MemoryTransport.ts"
import { ResolveError, Resolver } from "../../src/transport/Resolver.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { settle } from "../support/Memory.ts"

/** SOCKS5 without a login that answers each request with a code; 0 stands for success. */
interface Fake {
  readonly url: string
  /** Its answer; "close": leaves without one; "silent": does not even greet; "mute": greets, and never answers. */
  behaviour: number | "close" | "silent" | "mute"
  /** Requests so far, and greetings. */
  asked: number
  greeted: number
}

const serve = Effect.fnUntraced(function*(fake: Fake, connection: Connection) {
  yield* connection.pull
  fake.greeted++
  if (fake.behaviour === "close") return yield* connection.close
  if (fake.behaviour === "silent") return yield* Effect.never
  yield* connection.write(Uint8Array.of(5, 0))
  yield* connection.pull
  fake.asked++
  if (fake.behaviour === "mute") return yield* Effect.never
  yield* connection.write(Uint8Array.of(5, fake.behaviour, 0, 1, 0, 0, 0, 0, 0, 0))
  yield* Effect.forever(connection.pull)
}, (effect) => Effect.ignore(effect))

const chainOf = (...urls: ReadonlyArray<string>) => Result.getOrThrow(Chain.fromInput(urls))

const destination = Host.hostPortFromStringUnsafe("a.test:80")

/** A pool of `count` fakes on a network in memory; the address of each ends with its number. */
const pool = Effect.fnUntraced(function*(
  count: number,
  options: Partial<UpstreamPool.Options> = {},
  absent: ReadonlyArray<number> = []
) {
  const memory = MemoryTransport.make()
  const fork = Effect.runForkWith(yield* Effect.context<Scope.Scope>())
  const fakes = Arr.makeBy(count, (i): Fake => ({
    url: `socks5h://127.0.0.${i + 1}:1080`,
    behaviour: 0,
    asked: 0,
    greeted: 0
  }))
  const start = (i: number) =>
    Effect.gen(function*() {
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const address = NetAddress.inetAddressFromStringUnsafe(`127.0.0.${i + 1}:1080`)
      yield* Scope.provide(
        memory.transport.listen(address, {
          admit: () => true,
          failed: () => {},
          accept: (connection) => void fork(serve(fakes[i] ?? fakes[0], connection))
        }),
        scope
      )
      return Scope.close(scope, Exit.void)
    })
  for (let i = 0; i < count; i++) if (!absent.includes(i)) yield* start(i)
  const layer = UpstreamPool.layer({ chains: Arr.map(fakes, ({ url }) => chainOf(url)), checkEvery: 0, ...options })
  const context = yield* Layer.build(layer.pipe(
    Layer.provide(Dialer.Dialer.layer({ connectTimeout: "1 second" })),
    Layer.provide(Layer.succeed(Transport, memory.transport)),
    Layer.provide(Layer.succeed(Resolver, {
      resolve: (name: Host.DomainName) => Effect.fail(new ResolveError({ reason: "NotFound", name, code: "ENOTFOUND" }))
    }))
  ))
  const upstreams = Context.get(context, Upstreams)
  return {
    memory,
    fakes,
    start,
    upstreams,
    /** Dials, and hangs up. */
    visit: (user?: string, session?: string) => Effect.scoped(upstreams.dial(destination, { user, session })),
    asked: () => fakes.map(({ asked }) => asked),
    list: Effect.map(upstreams.list, (all) => all.map(({ ejected }) => ejected))
  }
})

const build = (chains: UpstreamPool.Options<string | ReadonlyArray<string>>["chains"]) =>
  Layer.build(
    UpstreamPool.layer({ chains }).pipe(
      Layer.provide(Dialer.Dialer.layer()),
      Layer.provide(Layer.succeed(Transport, MemoryTransport.make().transport)),
      Layer.provide(Layer.succeed(Resolver, { resolve: () => Effect.die("not asked") }))
    )
  )

describe("UpstreamPool", () => {
  it.effect("takes each in turn, and closes what the scope held", () =>
    Effect.gen(function*() {
      const { asked, memory, upstreams, visit } = yield* pool(3)
      for (let i = 0; i < 6; i++) yield* visit()
      assert.deepStrictEqual(asked(), [2, 2, 2])
      yield* settle
      assert.strictEqual((yield* upstreams.list).every(({ connections }) => connections === 0), true)
      // The fakes' ends stay theirs.
      assert.strictEqual(memory.open(), 6)
    }))

  it.effect("takes the one with the fewest connections", () =>
    Effect.gen(function*() {
      const { asked, upstreams, visit } = yield* pool(3, { choose: "least-connections" })
      yield* upstreams.dial(destination)
      yield* upstreams.dial(destination)
      assert.deepStrictEqual((yield* upstreams.list).map(({ connections }) => connections), [1, 1, 0])
      yield* visit()
      yield* visit()
      assert.deepStrictEqual(asked(), [1, 1, 2])
    }))

  it.effect("keeps a user to one, shares users out evenly, and moves only those of one that is gone", () =>
    Effect.gen(function*() {
      const all = yield* pool(3, { choose: "user" })
      const places = new Map<string, number>()
      const placeOf = Effect.fnUntraced(function*(user: string) {
        const before = all.asked()
        yield* all.visit(user)
        return all.asked().findIndex((count, i) => count > (before[i] ?? 0))
      })
      const users = Arr.makeBy(300, (i) => `user${i}`)
      for (const user of users) places.set(user, yield* placeOf(user))
      for (const count of all.asked()) assert.isTrue(count > 70 && count < 130, `${all.asked()}`)
      const [gone] = all.fakes
      gone.behaviour = "close"
      for (const user of users) {
        const place = yield* placeOf(user)
        if (places.get(user) !== 0) assert.strictEqual(place, places.get(user))
        else assert.notStrictEqual(place, 0)
      }
    }))

  it.effect.each(UpstreamPool.choices)(
    "keeps a session of a user to one, and shares sessions out: %s",
    (choose) =>
      Effect.gen(function*() {
        const all = yield* pool(3, { choose })
        const used = new Set<number>()
        for (let session = 0; session < 20; session++) {
          const before = all.asked()
          for (let i = 0; i < 3; i++) yield* all.visit("ann", `s${session}`)
          const grown = all.asked().map((count, i) => count - (before[i] ?? 0))
          assert.sameMembers(grown, [3, 0, 0])
          used.add(grown.indexOf(3))
        }
        assert.strictEqual(used.size, 3)
      })
  )

  it.effect("tries the next when one can't be reached, leaves, or is silent", () =>
    Effect.gen(function*() {
      const { asked, fakes, upstreams } = yield* pool(4, { connectTimeout: "2 seconds" }, [0])
      const [, second, third] = fakes
      if (second !== undefined) second.behaviour = "close"
      if (third !== undefined) third.behaviour = "silent"
      const dial = yield* Effect.forkScoped(upstreams.dial(destination))
      yield* settle
      yield* TestClock.adjust("2 seconds")
      yield* settle
      assert.strictEqual(dial.pollUnsafe()?._tag, "Success")
      assert.deepStrictEqual(asked(), [0, 0, 0, 1])
    }))

  it.effect.each([2, 3, 4, 5, 6])(
    "takes reply %i for the answer, and the upstream for sound",
    (code) =>
      Effect.gen(function*() {
        const { asked, fakes, list, visit } = yield* pool(2, { maxFailures: 1 })
        for (const fake of fakes) fake.behaviour = code
        const error = yield* Effect.flip(visit())
        assert.deepInclude(error, { _tag: "UpstreamError", tried: 1, reply: code })
        assert.deepInclude(error.error, { _tag: "ReplyError", code })
        assert.deepStrictEqual(asked(), [1, 0])
        assert.deepStrictEqual(yield* list, [false, false])
      })
  )

  it.effect.each([1, 7, 9])(
    "tries the next one after reply %i, and takes out who says so to everything",
    (code) =>
      Effect.gen(function*() {
        const { asked, fakes, list, upstreams, visit } = yield* pool(2, {
          maxFailures: 2,
          checkEvery: "10 seconds",
          ejectFor: "1 minute"
        })
        const [first] = fakes
        first.behaviour = code
        for (let i = 0; i < 4; i++) yield* visit()
        assert.deepStrictEqual(asked(), [2, 4])
        assert.deepStrictEqual(yield* list, [true, false])
        assert.strictEqual((yield* upstreams.list)[0]?.failures, 2)
        // A check greets only, and proves nothing.
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.strictEqual(first.greeted, 3)
        assert.deepStrictEqual(yield* list, [true, false])
        // When its time is over, one more such reply is enough, and one request that it grants.
        yield* TestClock.adjust("1 minute")
        for (let i = 0; i < 2; i++) yield* visit()
        assert.deepStrictEqual(yield* list, [true, false])
        yield* TestClock.adjust("1 minute")
        first.behaviour = 0
        for (let i = 0; i < 2; i++) yield* visit()
        assert.deepStrictEqual((yield* upstreams.list).map(({ failures }) => failures), [0, 0])
      })
  )

  it.effect("takes nobody out for what no other one could do either", () =>
    Effect.gen(function*() {
      const { asked, fakes, list, visit } = yield* pool(2, { maxFailures: 1 })
      for (const fake of fakes) fake.behaviour = 1
      assert.deepInclude(yield* Effect.flip(visit()), { tried: 2, reply: 1 })
      fakes[0].behaviour = 4
      assert.deepInclude(yield* Effect.flip(visit()), { tried: 2, reply: 4 })
      assert.deepStrictEqual(asked(), [2, 2])
      assert.deepStrictEqual(yield* list, [false, false])
    }))

  it.effect("tries the next one after reply 8, which is nobody's fault", () =>
    Effect.gen(function*() {
      const { asked, fakes, list, visit } = yield* pool(2, { maxFailures: 1 })
      fakes[0].behaviour = 8
      for (let i = 0; i < 4; i++) yield* visit()
      assert.deepStrictEqual(asked(), [2, 4])
      assert.deepStrictEqual(yield* list, [false, false])
    }))

  it.effect("tries the next one after one that greets and never answers, and takes that out", () =>
    Effect.gen(function*() {
      const { fakes, list, upstreams } = yield* pool(2, { maxFailures: 2, answerTimeout: "5 seconds" })
      fakes[0].behaviour = "mute"
      for (const expected of [[false, false], [true, false]]) {
        for (let i = 0; i < 2; i++) {
          const dial = yield* Effect.forkScoped(upstreams.dial(destination))
          yield* settle
          yield* TestClock.adjust("5 seconds")
          yield* settle
          assert.strictEqual(dial.pollUnsafe()?._tag, "Success")
        }
        assert.deepStrictEqual(yield* list, expected)
      }
      assert.strictEqual(fakes[0].asked, 2)
      yield* upstreams.dial(destination)
      assert.strictEqual(fakes[0].asked, 2)
    }))

  it.effect("has one limit for all that are tried, and then says what tells the most", () =>
    Effect.gen(function*() {
      const { asked, fakes, memory, upstreams } = yield* pool(4, {
        connectTimeout: "2 seconds",
        answerTimeout: "3 seconds"
      })
      for (const fake of fakes) fake.behaviour = "silent"
      const late = (millis: number) =>
        Effect.gen(function*() {
          const dial = yield* Effect.forkScoped(Effect.flip(upstreams.dial(destination)))
          yield* settle
          yield* TestClock.adjust(millis - 1)
          yield* settle
          assert.isUndefined(dial.pollUnsafe(), "too early")
          yield* TestClock.adjust(1)
          yield* settle
          return yield* Fiber.join(dial)
        })
      const error = yield* late(5000)
      assert.deepInclude(error, { tried: 3, reply: 4 })
      assert.deepInclude(error.error, { _tag: "AnswerTimedOut", proxy: "socks5h://127.0.0.3:1080" })
      // The fakes' ends stay theirs.
      assert.strictEqual(memory.open(), 3)
      const [, second] = fakes
      if (second !== undefined) second.behaviour = 1
      assert.deepInclude((yield* late(5000)).error, { _tag: "AnswerTimedOut" })
      assert.deepStrictEqual(asked(), [0, 1, 0, 0])
      const short = yield* pool(2, { totalTimeout: "500 millis" })
      for (const fake of short.fakes) fake.behaviour = "mute"
      const dial = yield* Effect.forkScoped(Effect.flip(short.upstreams.dial(destination)))
      yield* settle
      yield* TestClock.adjust("500 millis")
      yield* settle
      assert.deepInclude(yield* Fiber.join(dial), { tried: 1, reply: 4 })
    }))

  it.effect("says the word on the request, when all others are dead", () =>
    Effect.gen(function*() {
      const { fakes, upstreams } = yield* pool(2, {}, [1])
      fakes[0].behaviour = 1
      for (let i = 0; i < 2; i++) {
        const error = yield* Effect.flip(upstreams.dial(destination))
        assert.deepInclude(error, { tried: 2 })
        assert.deepInclude(error.error, { _tag: "ReplyError", code: 1 })
        assert.include(error.message, "127.0.0.1:1080: reply 01 (general SOCKS server failure) (2 tried)")
      }
    }))

  it.effect("tries another one where SOCKS4 can't ask", () =>
    Effect.gen(function*() {
      const { asked, list, upstreams } = yield* pool(2, {
        maxFailures: 1,
        chains: [chainOf("socks4a://127.0.0.1"), chainOf("socks5h://127.0.0.2")]
      })
      for (let i = 0; i < 2; i++) yield* upstreams.dial(Host.hostPortFromStringUnsafe("[::1]:80"))
      assert.deepStrictEqual(asked(), [0, 2])
      assert.deepStrictEqual(yield* list, [false, false])
    }))

  it.effect("takes URLs, and says which one is none", () =>
    Effect.gen(function*() {
      const upstreams = Context.get(yield* build(["socks5h://a.test", ["http://b.test", "https://c.test"]]), Upstreams)
      assert.deepStrictEqual((yield* upstreams.list).map(({ proxies }) => proxies), [
        ["socks5h://a.test:1080"],
        ["http://b.test:1080", "https://c.test:443"]
      ])
      const wrong = yield* Effect.flip(build(["socks5h://a.test", ["http://b.test", "http://ann:S3cr3t@c.test:0"]]))
      assert.deepStrictEqual([wrong._tag, wrong.message], [
        "ProxyUrlError",
        "chain 2 of 2: number 2 of 2: the port is not a number from 1 to 65535"
      ])
      assert.strictEqual((yield* Effect.flip(build([[]]))).message, "no proxy is given")
    }))

  it.effect("fails generally when none is left", () =>
    Effect.gen(function*() {
      const { visit } = yield* pool(2, {}, [0, 1])
      const error = yield* Effect.flip(visit())
      assert.deepInclude(error, { tried: 2, reply: 1 })
      assert.strictEqual(
        error.message,
        "upstream socks5h://127.0.0.2:1080: can't be reached: ECONNREFUSED (2 tried)"
      )
    }))

  it.effect("takes one out after its failures, and in again when its time is over", () =>
    Effect.gen(function*() {
      const { asked, fakes, list, visit } = yield* pool(2, { maxFailures: 2, ejectFor: "30 seconds" })
      const [first] = fakes
      first.behaviour = "close"
      for (let i = 0; i < 4; i++) yield* visit()
      assert.deepStrictEqual(yield* list, [true, false])
      assert.strictEqual(first.greeted, 2)
      // It is out: nobody knocks.
      for (let i = 0; i < 4; i++) yield* visit()
      assert.strictEqual(first.greeted, 2)
      yield* TestClock.adjust("31 seconds")
      first.behaviour = 0
      assert.deepStrictEqual(yield* list, [false, false])
      const before = asked()
      for (let i = 0; i < 4; i++) yield* visit()
      assert.deepStrictEqual(asked().map((count, i) => count - (before[i] ?? 0)), [2, 2])
      assert.deepStrictEqual(yield* list, [false, false])
    }))

  it.effect("goes through one that is out rather than nowhere", () =>
    Effect.gen(function*() {
      const { fakes, list, visit } = yield* pool(1, { maxFailures: 1 })
      const [only] = fakes
      only.behaviour = "close"
      yield* Effect.flip(visit())
      assert.deepStrictEqual(yield* list, [true])
      only.behaviour = 0
      yield* visit()
      assert.deepStrictEqual(yield* list, [false])
    }))

  it.effect("checks each by a greeting, takes the dead out, and the living in", () =>
    Effect.gen(function*() {
      const { fakes, list, start } = yield* pool(
        2,
        { maxFailures: 2, checkEvery: "10 seconds", ejectFor: "1 hour" },
        [1]
      )
      for (const expected of [false, true]) {
        yield* settle
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.deepStrictEqual(yield* list, [false, expected])
      }
      const [first] = fakes
      assert.deepInclude(first, { greeted: 2, asked: 0 })
      yield* start(1)
      yield* TestClock.adjust("10 seconds")
      yield* settle
      assert.deepStrictEqual(yield* list, [false, false])
    }))

  it.effect("lists what there is, without passwords", () =>
    Effect.gen(function*() {
      const { upstreams } = yield* pool(1, { chains: [chainOf("socks5://ann:S3cr3t@127.0.0.1", "http://b.test")] })
      assert.isTrue(upstreams.resolvesNames)
      assert.deepStrictEqual(yield* upstreams.list, [{
        proxies: ["socks5://ann@127.0.0.1:1080", "http://b.test:1080"],
        connections: 0,
        failures: 0,
        ejected: false
      }])
      const local = yield* pool(1, { chains: [chainOf("http://b.test", "socks5://127.0.0.1")] })
      assert.isFalse(local.upstreams.resolvesNames)
    }))
})
