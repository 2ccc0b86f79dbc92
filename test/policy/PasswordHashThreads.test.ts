import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import type * as WorkerThreads from "node:worker_threads"
import { beforeEach, vi } from "vitest"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import { within } from "../support/Polling.ts"

/** How many hashes are being computed, how many have been at once, and in all; and the threads that did it. */
const { running } = vi.hoisted(() => ({ running: { now: 0, most: 0, total: 0, threads: 0 } }))

// The real thing, counted.
vi.mock("node:worker_threads", async (importOriginal) => {
  const real = await importOriginal<typeof WorkerThreads>()
  class Worker extends real.Worker {
    constructor(...args: ConstructorParameters<typeof real.Worker>) {
      super(...args)
      running.threads++
      this.on("message", () => running.now--)
    }
    override postMessage(value: unknown): void {
      running.now++
      running.total++
      running.most = Math.max(running.most, running.now)
      // A thread has no origin.
      // oxlint-disable-next-line require-post-message-target-origin
      super.postMessage(value)
    }
  }
  return { ...real, Worker }
})

const password = Redacted.make("storm")

beforeEach(() => {
  Object.assign(running, { most: 0, total: 0 })
})

it.live("computes two hashes at once, however many are asked for", () =>
  Effect.gen(function*() {
    const encoded = yield* PasswordHash.hash(password)
    const storm = Array.from({ length: 12 }, (_, i) =>
      i % 3 === 0 ? PasswordHash.hash(password) : PasswordHash.verify(encoded, password))
    yield* Effect.all(storm, { concurrency: "unbounded" })
    assert.deepStrictEqual(running, { now: 0, most: 2, total: 13, threads: 2 })
  }))

it.live("counts those that nobody waits for any more until they are done", () =>
  Effect.gen(function*() {
    const encoded = yield* PasswordHash.hash(password)
    const fork = Effect.forkChild(PasswordHash.verify(encoded, password), { startImmediately: true })
    const abandoned = yield* Effect.forEach([0, 1], () => fork)
    assert.strictEqual(running.now, 2)
    // The clients have left: the threads go on with their work.
    const interrupts = yield* Effect.forkChild(Fiber.interruptAll(abandoned), { startImmediately: true })
    assert.isTrue(yield* Fiber.join(yield* fork))
    yield* Fiber.join(interrupts)
    assert.isTrue(yield* within(Effect.sync(() => running.now === 0)))
    assert.deepStrictEqual(running, { now: 0, most: 2, total: 4, threads: 2 })
  }))

it.live("refuses at once what there is no room for, and has room for other clients beside a storm", () =>
  Effect.gen(function*() {
    const encoded = yield* PasswordHash.hash(password)
    const { all, client } = PasswordHash.room
    const verify = (from: string) =>
      Effect.forkChild(PasswordHash.verify(encoded, password, from), { startImmediately: true })
    const storm = yield* Effect.forEach(Array.from({ length: client }), () => verify("storm"))
    const error = yield* Effect.flip(PasswordHash.verify(encoded, password, "storm"))
    assert.strictEqual(error.message, "too many logins at once")

    // Its turn comes long before the storm is over.
    const other = yield* verify("other")
    assert.isTrue(yield* Fiber.join(other))
    assert.isBelow(running.total, client / 2)

    // Some of the storm are done by now. More than there is room for get no further.
    const elsewhere = yield* Effect.forEach(Array.from({ length: all }), (_, index) => verify(`client ${index}`))
    yield* Effect.flip(PasswordHash.verify(encoded, password, "one too many"))
    // Those who leave make room.
    yield* Fiber.interruptAll([...storm, ...elsewhere])
    assert.isTrue(yield* PasswordHash.verify(encoded, password, "storm"))
    assert.isBelow(running.total, client)
  }))

it.live("hashes on threads that give way to all others, on Linux", () =>
  Effect.gen(function*() {
    yield* PasswordHash.hash(password)
    // The 17 fields after the name (proc(5)): the last one is the niceness.
    const niceness = Fs.readdirSync("/proc/self/task").map((task) =>
      Number(Fs.readFileSync(`/proc/self/task/${task}/stat`, "utf8").replace(/^.*\) /s, "").split(" ")[16])
    )
    assert.strictEqual(niceness.filter((nice) => nice === 15).length, 2)
    const own = Number(Fs.readFileSync("/proc/self/stat", "utf8").replace(/^.*\) /s, "").split(" ")[16])
    assert.isBelow(own, 15)
  }))
