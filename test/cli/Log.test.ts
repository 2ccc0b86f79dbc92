import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { Writable } from "node:stream"
import * as Log from "../../src/cli/Log.ts"
import * as LogFormat from "../../src/config/LogFormat.ts"
import { ConnectionLog, type ConnectionRecord } from "../../src/server/ConnectionLog.ts"
import { within } from "../support/Polling.ts"

const makeStream = () => {
  const writes: Array<string> = []
  const stream = new Writable({
    decodeStrings: false,
    write: (chunk, _encoding, done) => {
      writes.push(String(chunk))
      done()
    }
  })
  return { writes, stream }
}

const record: ConnectionRecord = {
  id: 7,
  protocol: "socks5",
  looksLike: undefined,
  command: "connect",
  client: "127.0.0.1:5000",
  user: "alice",
  destination: "example.test:443",
  address: "192.0.2.1:443",
  reply: 5,
  bytesUp: 10,
  bytesDown: 20,
  duration: 12.6,
  reason: "refused"
}

describe("Log", () => {
  it.live("writes the lines of a moment at once, in order", () =>
    Effect.gen(function*() {
      const { stream, writes } = makeStream()
      const logger = yield* Log.toStream(LogFormat.make("pretty"), stream)
      yield* Effect.forEach(["one", "two", "three"], (word) => Effect.logInfo(word)).pipe(
        Effect.provide(Logger.layer([logger]))
      )
      assert.deepStrictEqual(writes, [])
      assert.isTrue(yield* within(Effect.sync(() => writes.length > 0), "2 seconds"))
      assert.strictEqual(writes.length, 1)
      assert.match(writes[0] ?? "", /^\S+ INFO {2}one\n\S+ INFO {2}two\n\S+ INFO {2}three\n$/)
    }))

  it.effect("loses nothing when the scope closes", () =>
    Effect.gen(function*() {
      const { stream, writes } = makeStream()
      const before = process.listenerCount("exit")
      yield* Effect.logInfo("last words").pipe(
        Effect.provide(Logger.layer([Log.toStream(LogFormat.make("json"), stream)]))
      )
      assert.include(writes.join(""), "last words")
      assert.strictEqual(process.listenerCount("exit"), before)
    }))

  it.effect("does not collect more than 64 Ki characters", () =>
    Effect.gen(function*() {
      const { stream, writes } = makeStream()
      const logger = yield* Log.toStream(LogFormat.make("json"), stream)
      yield* Effect.logInfo("x".repeat(65_536)).pipe(Effect.provide(Logger.layer([logger])))
      assert.strictEqual(writes.length, 1)
    }))

  it.effect("outlives the end of what reads it", () =>
    Effect.gen(function*() {
      const { stream } = makeStream()
      yield* Log.toStream(LogFormat.make("json"), stream)
      assert.isTrue(stream.emit("error", new Error("EPIPE")))
    }))
})

describe("ConnectionLog.layer", () => {
  const linesOf = Effect.fnUntraced(function*(record: ConnectionRecord) {
    const { stream, writes } = makeStream()
    yield* ConnectionLog.use((log) => log.ended(record)).pipe(
      Effect.provide([ConnectionLog.layer, Logger.layer([Log.toStream(LogFormat.make("json"), stream)])])
    )
    return writes.join("")
  })

  it.effect("logs a record as plain data at level info", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(JSON.parse(yield* linesOf(record)), {
        time: "1970-01-01T00:00:00.000Z",
        level: "info",
        msg: "connection ended",
        id: 7,
        protocol: "socks5",
        client: "127.0.0.1:5000",
        user: "alice",
        destination: "example.test:443",
        address: "192.0.2.1:443",
        reply: 5,
        status: "connection refused",
        up: 10,
        down: 20,
        duration_ms: 13,
        reason: "refused"
      })
    }))

  it.effect("tells what a UDP association has moved, and why it dropped what it dropped", () =>
    Effect.gen(function*() {
      const datagrams = { up: 3, down: 2, dropped: { malformed: 4, denied: 1 } }
      const { datagrams_down, datagrams_up, dropped_denied, dropped_malformed, ...others } = JSON.parse(
        yield* linesOf({ ...record, datagrams })
      )
      assert.deepStrictEqual([datagrams_up, datagrams_down, dropped_malformed, dropped_denied], [3, 2, 4, 1])
      assert.deepStrictEqual(others, JSON.parse(yield* linesOf(record)))
    }))

  it.effect("names every command but CONNECT", () =>
    Effect.gen(function*() {
      for (const command of ["bind", "associate", "resolve", "resolve-ptr", "forward"] as const) {
        const { command: named, ...others } = JSON.parse(yield* linesOf({ ...record, command }))
        assert.strictEqual(named, command)
        assert.deepStrictEqual(others, JSON.parse(yield* linesOf(record)))
      }
    }))

  it.effect("leaves out what was never learned", () =>
    Effect.gen(function*() {
      const nothing = {
        protocol: undefined,
        command: undefined,
        client: undefined,
        user: undefined,
        destination: undefined,
        address: undefined
      }
      const line = yield* linesOf({ ...record, ...nothing, reply: undefined, reason: "handshake timeout" })
      assert.deepStrictEqual(Object.keys(JSON.parse(line)), [
        "time",
        "level",
        "msg",
        "id",
        "up",
        "down",
        "duration_ms",
        "reason"
      ])
    }))
})
