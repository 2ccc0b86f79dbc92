/** Field reports on time limits: A24, A25, A29. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Schedule from "effect/Schedule"
import { createHash, randomBytes } from "node:crypto"
import type * as Net from "node:net"
import * as Settings from "../../src/config/Settings.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import * as ProcessInfo from "../support/ProcessInfo.ts"
import { proxy } from "../support/Proxy.ts"
import { C4, connect, connectThrough, G0, hex, probe } from "../support/RawClient.ts"
import { echo, target } from "../support/Targets.ts"

/** Sends this many bytes, one every 200 ms. */
const trickle = (times: number, send: (byte: Uint8Array) => void) =>
  Effect.sync(() => send(hex("78"))).pipe(
    Effect.delay(200),
    Effect.repeat({ times: times - 1, schedule: Schedule.forever }),
    Effect.asVoid
  )

describe("the idle timeout", () => {
  it.live("A24 traffic in either direction keeps a tunnel, and without any it ends", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy({ idleTimeout: "1 second" })
      const sockets: Array<Net.Socket> = []
      const origin = yield* target((socket) => {
        sockets.push(socket)
        socket.resume().on("end", () => socket.end())
      })
      // Three times the limit.
      const times = 15

      const download = yield* connectThrough(port, origin.port)
      const upload = yield* connectThrough(port, origin.port)
      const unused = yield* connectThrough(port, origin.port)
      const [downloadTarget, uploadTarget] = sockets
      assert(downloadTarget !== undefined && uploadTarget !== undefined)
      let uploaded = 0
      uploadTarget.on("data", (bytes) => {
        uploaded += bytes.length
      })
      yield* Effect.all([
        trickle(times, (byte) => downloadTarget.write(byte)),
        trickle(times, (byte) => upload.socket.write(byte))
      ], { concurrency: 2 })
      assert.strictEqual((yield* download.read(times)).length, times)
      assert.isTrue(yield* within(Effect.sync(() => uploaded === times)))

      // The one that nobody used has gone, the other two are there: until nothing moves in them either.
      assert.deepStrictEqual(records.map(({ id, reason }) => [id, reason]), [[3, "idle timeout"]])
      yield* unused.readToEnd
      assert.strictEqual(yield* sessions.count, 2)
      yield* download.readToEnd
      yield* upload.readToEnd
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3 && origin.open.size === 0)))
      assert.deepStrictEqual(records.slice(1).map(({ reason }) => reason), ["idle timeout", "idle timeout"])
      assert.deepStrictEqual(
        records.map(({ bytesDown, bytesUp, id }) => [id, bytesUp, bytesDown]).sort(),
        [[1, 0, times], [2, times, 0], [3, 0, 0]]
      )
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))

  it.effect("A24 is an hour unless set, and can be switched off", () =>
    Effect.gen(function*() {
      const setting = Settings.all.find(({ key }) => key === "idleTimeout")
      assert.deepInclude(setting, { flag: "idle-timeout", default: "1h" })
      assert.include(setting?.description, "either direction")
      assert.strictEqual(Duration.toHours((yield* Settings.decode({})).idleTimeout), 1)
      assert.isTrue(Duration.isZero((yield* Settings.decode({ idleTimeout: "0" })).idleTimeout))
    }))
})

describe("the half-close timeout", () => {
  it.live("A26 a slow client gets all that was sent to it, even when the limit has passed meanwhile", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ halfCloseTimeout: "300 millis" })
      // The systems' buffers have room for this.
      const answer = randomBytes(512 * 1024)
      const origin = yield* target((socket) => socket.resume().end(answer))
      const client = yield* connectThrough(port, origin.port)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1), "5 seconds"))
      assert.deepInclude(records[0], { bytesDown: answer.length, reason: "half-closed timeout" })
      assert.isTrue((yield* client.readToEnd).equals(answer))
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))
})

describe("a reader that is slow", () => {
  const size = 24 * 1024 * 1024

  it.live("gets all of a download, however long that takes after its half-close", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ halfCloseTimeout: "200 millis" })
      const answer = randomBytes(size)
      const origin = yield* target((socket) => socket.resume().end(answer))
      const client = yield* connectThrough(port, origin.port)
      yield* client.end
      const digest = createHash("sha256")
      for (let read = 0; read < size; read += size / 8) {
        yield* Effect.sleep("500 millis")
        digest.update(yield* client.read(size / 8))
      }
      assert.strictEqual((yield* client.readToEnd).length, 0)
      assert.strictEqual(digest.digest("hex"), createHash("sha256").update(answer).digest("hex"))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { bytesDown: size, reason: "done" })
    }))

  it.live("does not take a cut for the end", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ idleTimeout: "400 millis" })
      const origin = yield* target((socket) => socket.resume().end(randomBytes(size)))
      // Read by the transport itself: a plain `net.Socket` would take a reset behind data for an end.
      const client = yield* NodeTransport.make().connect(NetAddress.inetAddressFromStringUnsafe(`127.0.0.1:${port}`))
      yield* client.write(Buffer.concat([G0, C4(origin.port)]))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1), "5 seconds"))
      assert.strictEqual(records[0]?.reason, "idle timeout")
      const error = yield* Effect.flip(Effect.forever(client.pull))
      assert.deepInclude(error, { _tag: "ConnectionError", reason: "Reset" })
    }))
})

describe("keepalive", () => {
  it.live("A25 both legs of every tunnel have a keepalive timer", () =>
    Effect.gen(function*() {
      const { pid, port } = yield* Cli.serve()
      const origin = yield* echo()
      const origin6 = yield* echo("::1")
      const tunnels = [yield* connectThrough(port, origin.port), yield* connectThrough(port, origin.port)]
      for (const tunnel of tunnels) {
        yield* tunnel.send("hello")
        yield* tunnel.read(5)
      }
      const client6 = yield* connect(port)
      yield* client6.send(G0, hex("05 01 00 03 03 3a3a31"), Buffer.from([origin6.port >> 8, origin6.port & 255]))
      yield* client6.read(2 + 22)

      // Other timers (a retransmission) may stand in its place for a moment.
      let legs: ReadonlyArray<string> = []
      const allKept = Effect.gen(function*() {
        legs = yield* ProcessInfo.sockets(pid)
        return legs.every((leg) => /^ESTAB .* timer:\(keepalive,(1min|\d+sec),0\)/.test(leg))
      })
      const kept = yield* within(allKept, "5 seconds")
      assert.isTrue(kept, legs.join("\n"))
      assert.strictEqual(legs.length, 6)
      for (const { port } of [origin, origin6]) {
        assert.isAbove(legs.filter((leg) => leg.includes(`:${port} `)).length, 0, "legs to the target are among them")
      }
      assert.isTrue(yield* probe(port, origin.port))
    }))
})

describe("the handshake timeout", () => {
  it.live("A29 200 silent connections hold up nobody, and are closed when their time is over", () =>
    Effect.gen(function*() {
      const count = 200
      const { port, records, sessions } = yield* proxy({ handshakeTimeout: "2 seconds" })
      const origin = yield* echo()
      const silent = yield* Effect.forEach(
        Array.from({ length: count }),
        () => connect(port),
        { concurrency: "unbounded" }
      )
      assert.isTrue(yield* within(Effect.map(sessions.count, (running) => running === count)))

      assert.isTrue(yield* probe(port, origin.port))
      // All of them were there meanwhile.
      assert.deepStrictEqual(records.filter(({ reply }) => reply === undefined), [])

      const said = yield* Effect.forEach(silent, (client) => client.readToEnd, { concurrency: "unbounded" })
      assert.isTrue(said.every((bytes) => bytes.length === 0))
      assert.isTrue(yield* within(Effect.map(sessions.count, (running) => running === 0)))
      const closed = records.filter(({ reply }) => reply === undefined)
      assert.strictEqual(closed.length, count)
      for (const { duration, reason } of closed) {
        assert.strictEqual(reason, "handshake timeout")
        assert.isAtLeast(duration, 2000)
      }
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A29 the one limit covers greeting, login and request, however the bytes drip", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy({ handshakeTimeout: "1 second" })
      const origin = yield* echo()
      const beginnings = [hex("05"), hex("05 01 00"), hex("05 01 00 05 01 00 01")]
      yield* Effect.forEach(beginnings, (bytes) =>
        Effect.gen(function*() {
          const client = yield* connect(port)
          yield* client.send(bytes)
          yield* client.readToEnd
        }), { concurrency: "unbounded" })
      const client = yield* connect(port)
      // A name of 255 bytes that never comes to its end.
      yield* client.send(hex("05 01 00 05 01 00 03 ff"))
      yield* Effect.raceFirst(client.readToEnd, trickle(200, (byte) => client.socket.write(byte)))
      assert.isTrue(yield* within(Effect.map(sessions.count, (running) => running === 0)))
      assert.deepStrictEqual(records.map(({ reason }) => reason), Array(4).fill("handshake timeout"))
      assert.isTrue(yield* probe(port, origin.port))
    }))
})
