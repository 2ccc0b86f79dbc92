/**
 * Handshakes at random, against the proxy on real sockets: whatever comes, what it answers is SOCKS, and nothing of it
 * stays. A failure names its seed; `FUZZ_SEED=… npx vitest run test/server/Fuzz.test.ts` makes the same handshakes.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import { readdirSync } from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Users from "../../src/policy/Users.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { ResolveError, Resolver } from "../../src/transport/Resolver.ts"
import * as Handshakes from "../support/Handshakes.ts"
import { within } from "../support/Polling.ts"
import { type Proxy, proxy } from "../support/Proxy.ts"
import { AU, connect, probe } from "../support/RawClient.ts"
import { closedPort, echo } from "../support/Targets.ts"

const login = AU(Handshakes.users.name, Handshakes.users.password)

/** All that a server may ever say: method, login, reply, and what an echo sends back, each of them once. */
const reply = "(05(0[1-8])00010{12}|050000(01.{12}|04.{36})(..)*)"
const socks4 = "(005b0{12}|005a.{12}(..)*)"
/** "HTTP/1.1 " and a status. */
const http = "(485454502f312e31203[1-5](..)*)"
const legal = new RegExp(`^(05ff|0500${reply}?|0502(0101|0100${reply}?)?|${socks4}|${http})?$`)

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

/** Megabytes in use once nothing is left to collect. */
const memory = Effect.sync(() => {
  collectGarbage()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return (heapUsed + arrayBuffers) / (1024 * 1024)
})

const descriptors = Effect.sync(() => readdirSync("/proc/self/fd").length)

/** Counts the fibers that are alive, of the test and of the server. */
const countFibers = () => {
  let alive = 0
  const layer = Layer.succeed(Metric.FiberRuntimeMetrics, {
    recordFiberStart: () => {
      alive++
    },
    recordFiberEnd: () => {
      alive--
    }
  })
  return { alive: Effect.sync(() => alive), layer }
}

/** Every address leads to the echo, or from an odd port to nobody; every other name does not exist. */
const harmless = (echoPort: number, nobody: number) => {
  const dialer = Layer.effect(
    Dialer,
    Effect.map(Dialer, ({ dial }) => ({
      dial: (_, port) => dial([NetAddress.ipv4Loopback], port % 2 === 0 || port === echoPort ? echoPort : nobody)
    }))
  ).pipe(Layer.provide(Dialer.layer()), Layer.provide(NodeTransport.layer()))
  const resolver = Layer.succeed(Resolver, {
    resolve: (name) =>
      name.length % 2 === 0
        ? Effect.fail(new ResolveError({ reason: "NotFound", name, code: "ENOTFOUND" }))
        : Effect.succeed([NetAddress.ipv6Loopback, NetAddress.ipv4Loopback])
  })
  return Layer.merge(dialer, resolver)
}

/** Plays one attempt, and gives what the server answered as hex. */
const play = Effect.fnUntraced(function*(port: number, { ending, pauses, pieces }: Handshakes.Attempt) {
  const client = yield* connect(port)
  let answer = ""
  const read = client.readEach((bytes) => {
    answer += bytes.toString("hex")
  })
  const reading = yield* Effect.forkChild(Effect.exit(read), { startImmediately: true })
  for (const [i, piece] of pieces.entries()) {
    yield* client.send(piece)
    yield* Effect.sleep(pauses[i] ?? 0)
  }
  if (ending === "reset") yield* client.reset
  if (ending === "finish") yield* client.end
  if (ending === "finish" || ending === "stay") yield* Fiber.join(reading)
  return answer
}, Effect.scoped)

/** Collects what must not be: errors that nobody caught, and errors in the log. */
const watch = Effect.gen(function*() {
  const errors: Array<string> = []
  const unhandled = (error: unknown) => {
    errors.push(String(error))
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      process.on("uncaughtExceptionMonitor", unhandled)
      process.on("unhandledRejection", unhandled)
    }),
    () =>
      Effect.sync(() => {
        process.off("uncaughtExceptionMonitor", unhandled)
        process.off("unhandledRejection", unhandled)
      })
  )
  const layer = Logger.layer([
    Logger.make(({ cause, logLevel, message }) => {
      errors.push(`${logLevel} ${String(message)} ${String(cause)}`)
    })
  ])
  return { errors, layer }
})

/** Plays attempts, checks each answer, and gives the records once all sessions have ended. */
const playAll = Effect.fnUntraced(function*(
  open: Proxy,
  guarded: Proxy,
  attempts: ReadonlyArray<Handshakes.Attempt>,
  seed: string
) {
  yield* Effect.forEach(attempts, (attempt, i) =>
    Effect.gen(function*() {
      const answer = yield* play(attempt.to === "open" ? open.port : guarded.port, attempt)
      const sent = Buffer.concat(attempt.pieces).toString("hex")
      assert.match(answer, legal, `attempt ${i} of seed ${seed} sent ${sent} (${attempt.ending})`)
    }), { concurrency: 48, discard: true })
  // One that left at once may not have been accepted yet.
  yield* within(Effect.sync(() => open.records.length + guarded.records.length >= attempts.length), "5 seconds")
  for (const { sessions } of [open, guarded]) {
    const ended = yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds")
    assert.isTrue(ended, `sessions left: ${JSON.stringify(yield* sessions.list)}, seed ${seed}`)
  }
  return [...open.records.splice(0), ...guarded.records.splice(0)]
})

const fuzz = Effect.fnUntraced(function*(kind: "random" | "mutated" | "http", count: number) {
  const seed = process.env["FUZZ_SEED"] ?? randomBytes(4).toString("hex")
  const { errors, layer } = yield* watch
  const fibers = countFibers()
  yield* Effect.gen(function*() {
    const origin = yield* echo()
    const services = harmless(origin.port, yield* closedPort)
    const timeouts = { handshakeTimeout: 250, bindTimeout: 250, idleTimeout: 250, halfCloseTimeout: 250 }
    const users = [{ name: Handshakes.users.name, password: Redacted.make(Handshakes.users.password) }]
    const open = yield* proxy({ ...timeouts, services })
    const guarded = yield* proxy({
      ...timeouts,
      services: Layer.merge(services, Layer.orDie(Users.layer({ users })))
    })
    // What is made once, and stays, has been made then.
    yield* playAll(open, guarded, yield* Handshakes.make(kind, 200, `warm-up ${seed}`), `warm-up ${seed}`)
    const attempts = yield* Handshakes.make(kind, count, seed)
    const before = { descriptors: yield* descriptors, fibers: yield* fibers.alive, memory: yield* memory }

    const records = yield* playAll(open, guarded, attempts, seed)
    assert.strictEqual(records.length, count, `a record each, seed ${seed}`)
    // The attempts are not all refused at the door, nor all let in.
    const replies = new Set(records.map((record) => record.reply))
    assert.includeMembers([...replies], [undefined, 0, 4, 5], `seed ${seed}`)

    const closed = Effect.map(descriptors, (now) => now <= before.descriptors + 5)
    assert.isTrue(
      yield* within(closed, "2 seconds"),
      `${yield* descriptors} descriptors after ${before.descriptors}, seed ${seed}`
    )
    // The timers of the two servers have a fiber more while they sleep for somebody.
    const ended = Effect.map(fibers.alive, (now) => now <= before.fibers)
    assert.isTrue(
      yield* within(ended, "2 seconds"),
      `${yield* fibers.alive} fibers after ${before.fibers}, seed ${seed}`
    )
    assert.isBelow((yield* memory) - before.memory, 8, `megabytes kept, seed ${seed}`)
    assert.isTrue(yield* probe(open.port, origin.port), `probe, seed ${seed}`)
    assert.isTrue(yield* probe(guarded.port, origin.port, login), `probe with a login, seed ${seed}`)
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(layer, fibers.layer)))
  assert.deepStrictEqual(errors, [], `errors nobody caught, seed ${seed}`)
})

describe("fuzz", () => {
  it.live("3,000 random handshakes leave nothing behind", () => fuzz("random", 3000), 60_000)

  it.live("500 handshakes with mistakes in them leave nothing behind", () => fuzz("mutated", 500), 60_000)

  it.live("500 HTTP requests with mistakes in them leave nothing behind", () => fuzz("http", 500), 60_000)
})
