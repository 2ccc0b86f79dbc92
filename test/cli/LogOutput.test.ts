import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import { type ChildProcess, spawn } from "node:child_process"
import { Writable } from "node:stream"
import * as Log from "../../src/cli/Log.ts"
import * as LogOutput from "../../src/cli/LogOutput.ts"
import * as LogFormat from "../../src/config/LogFormat.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { AU, connect, G2, hex, probe } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

/** A stream that keeps its reader's place: nothing is taken until `read` is called. */
const makeStalled = () => {
  let text = ""
  let take: (() => void) | undefined
  const stream = new Writable({
    decodeStrings: false,
    write: (chunk, _encoding, done) => {
      take = () => {
        text += String(chunk)
        done()
      }
    }
  })
  /** Takes all that there is. */
  const read = () => {
    for (let i = 0; i < 1000 && take !== undefined; i++) {
      const one = take
      take = undefined
      one()
    }
    return text
  }
  return { stream, read }
}

describe("LogOutput", () => {
  it.live("drops lines above 1 Mi characters, and says how many once there is room", () =>
    Effect.gen(function*() {
      const { read, stream } = makeStalled()
      const logger = yield* Log.toStream(LogFormat.make("json"), stream)
      const log = (message: string) => Effect.provide(Effect.logInfo(message), Logger.layer([logger]))
      const line = "x".repeat(1024)
      yield* Effect.forEach(Array.from({ length: 2000 }, () => line), log, { discard: true })
      assert.isAbove(stream.writableLength, 1024 * 1024 - 128 * 1024)
      assert.isAtMost(stream.writableLength, 1024 * 1024)
      // The last lines are collected for a moment before they are written.
      assert.isTrue(yield* within(Effect.sync(() => read().includes("dropped"))))
      yield* log("after")
      assert.isTrue(yield* within(Effect.sync(() => read().includes("after"))))

      const events = read().trimEnd().split("\n").map((text) => JSON.parse(text))
      const kept = events.filter(({ msg }) => msg === line).length
      assert.deepStrictEqual(
        events.slice(kept).map(({ dropped, level, msg }) => ({ dropped, level, msg })),
        [
          { dropped: 2000 - kept, level: "warn", msg: "log lines dropped: their reader was too slow" },
          { dropped: undefined, level: "info", msg: "after" }
        ]
      )
      assert.isAbove(2000 - kept, 0)
    }))

  it.effect("says how many at the end, when there was no room before", () =>
    Effect.gen(function*() {
      const { read, stream } = makeStalled()
      let dropped = 0
      yield* LogOutput.make(stream, (count) => {
        dropped += count
      }).pipe(
        Effect.map((write) => {
          for (let i = 0; i < 40; i++) write("x".repeat(64 * 1024))
          assert.strictEqual(dropped, 0)
        }),
        Effect.scoped
      )
      const kept = read().split("\n").length - 1
      assert.isBelow(kept, 40)
      assert.strictEqual(dropped, 40 - kept)
    }))

  it.effect("takes a line of any length when nothing waits", () =>
    Effect.gen(function*() {
      const { read, stream } = makeStalled()
      const line = "x".repeat(2 * 1024 * 1024)
      const write = yield* LogOutput.make(stream, () => assert.fail("a line was dropped"))
      write(line)
      assert.strictEqual(read(), `${line}\n`)
    }))

  it.effect("flushed: waits for the reader, and for no longer than a second", () =>
    Effect.gen(function*() {
      const { read, stream } = makeStalled()
      yield* LogOutput.flushed(stream)
      stream.write("last words")
      const stuck = yield* Effect.forkChild(LogOutput.flushed(stream), { startImmediately: true })
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(stuck.pollUnsafe())
      yield* TestClock.adjust("1 milli")
      yield* Fiber.join(stuck)
      const slow = yield* Effect.forkChild(LogOutput.flushed(stream), { startImmediately: true })
      assert.isUndefined(slow.pollUnsafe())
      assert.strictEqual(read(), "last words")
      yield* Fiber.join(slow)
    }))
})

const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("SLUICE_")))

/** A `serve` whose stderr is a pipe that nobody reads, until the test does. */
const serve = Effect.acquireRelease(
  Effect.callback<{ readonly child: ChildProcess; readonly port: number }>((resume) => {
    const child = spawn(process.execPath, [Cli.path, "serve", "--listen", "127.0.0.1:0", "--user", "ann:a"], {
      env: { ...own, SLUICE_DRAIN_TIMEOUT: "0", SLUICE_LOG_FORMAT: "json" },
      stdio: ["ignore", "pipe", "pipe"]
    })
    child.stdout.once(
      "data",
      (text: Buffer) => resume(Effect.succeed({ child, port: Number(/:(\d+)\n/.exec(text.toString())?.[1]) }))
    )
    child.once("exit", (code) => resume(Effect.die(new Error(`serve ended with ${code}`))))
  }),
  ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
)

const stop = (child: ChildProcess) =>
  Effect.callback<number | null>((resume) => {
    child.once("exit", (code) => resume(Effect.succeed(code)))
    child.kill("SIGTERM")
  })

/** Clients whose lines in the log are as long as they get: more than 1,000 characters. */
const refuse = Effect.fnUntraced(function*(port: number, count: number) {
  const login = AU(Buffer.alloc(255, 1), "x")
  const refusals = yield* Effect.forEach(
    Array.from({ length: count }),
    () =>
      Effect.gen(function*() {
        const client = yield* connect(port)
        yield* client.send(G2, login)
        return (yield* client.read(4)).equals(hex("05 02 01 01"))
      }).pipe(Effect.scoped),
    { concurrency: 32 }
  )
  return refusals.filter((refused) => refused).length
})

describe("a serve whose log nobody reads", () => {
  it.live("serves on, says how many lines it dropped, and ends", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { child, port } = yield* serve
      assert.strictEqual(yield* refuse(port, 2500), 2500)
      assert.isTrue(yield* probe(port, target.port, AU("ann", "a")))

      let text = ""
      child.stderr?.on("data", (chunk) => {
        text += String(chunk)
      })
      const count = () => {
        const events = text.split("\n").slice(0, -1).map((line) => JSON.parse(line))
        return {
          logged: events.filter(({ msg }) => msg === "connection ended").length,
          dropped: events.reduce((sum, { dropped = 0 }) => sum + dropped, 0)
        }
      }
      // One of them is the probe's.
      yield* within(Effect.sync(() => count().logged + count().dropped >= 2501), "5 seconds")
      const { dropped, logged } = count()
      assert.strictEqual(logged + dropped, 2501)
      assert.isAbove(logged, 500)
      assert.isAbove(dropped, 500)

      child.stderr?.removeAllListeners("data").pause()
      assert.strictEqual(yield* refuse(port, 2500), 2500)
      assert.strictEqual(yield* stop(child), 0)
    }))

  it.live("loses no line when the reader comes back at the end", () =>
    Effect.gen(function*() {
      const { child, port } = yield* serve
      assert.strictEqual(yield* refuse(port, 500), 500)
      const closed = new Promise((resolve) => child.stderr?.once("close", resolve))
      const stopping = yield* Effect.forkChild(stop(child), { startImmediately: true })
      // By now it would be gone, if it did not wait.
      yield* Effect.sleep("100 millis")
      let text = ""
      child.stderr?.on("data", (chunk) => {
        text += String(chunk)
      })
      yield* Effect.promise(() => closed)
      assert.strictEqual(yield* Fiber.join(stopping), 0)
      const events = text.trimEnd().split("\n").map((line) => JSON.parse(line).msg)
      assert.strictEqual(events.filter((msg) => msg === "connection ended").length, 500)
      assert.strictEqual(events.at(-1), "stopped")
    }))
})
