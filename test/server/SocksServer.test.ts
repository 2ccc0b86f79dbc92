import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { createHash, randomBytes } from "node:crypto"
import { SocksServer } from "../../src/server/SocksServer.ts"
import type { Connection } from "../../src/transport/Connection.ts"
import * as MemoryTransport from "../../src/transport/MemoryTransport.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { C4, connect, connectThrough, G0, hex, probe, readReply } from "../support/RawClient.ts"
import { closedPort, echo, target } from "../support/Targets.ts"

const at = (text: string) => NetAddress.inetAddressFromStringUnsafe(text)

describe("SocksServer", () => {
  it.live("connects, relays and logs", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy()
      const origin = yield* echo()
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connect(port)
        yield* client.send(G0)
        assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
        yield* client.send(C4(origin.port))
        const reply = yield* readReply(client)
        assert.deepStrictEqual(reply.subarray(0, 8), hex("05 00 00 01 7f 00 00 01"))
        assert.isTrue([...origin.open].some((socket) => socket.remotePort === reply.readUInt16BE(8)))
        yield* client.send("hello")
        assert.strictEqual((yield* client.read(5)).toString(), "hello")
        const [session] = yield* sessions.list
        assert.strictEqual(session?.phase, "relay")
        yield* client.end
        assert.strictEqual((yield* client.readToEnd).length, 0)
      }))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
      assert.strictEqual(records.length, 1)
      assert.deepInclude(records[0], {
        id: 1,
        destination: `127.0.0.1:${origin.port}`,
        address: `127.0.0.1:${origin.port}`,
        reply: 0,
        bytesUp: 5,
        bytesDown: 5,
        reason: "done"
      })
    }))

  it.live("refuses with the reply code that fits, and serves on", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const origin = yield* echo()
      const nobody = yield* closedPort
      const client = yield* connect(port)
      yield* client.send(G0, C4(nobody))
      yield* client.read(2)
      assert.deepStrictEqual(yield* client.readToEnd, hex("05 05 00 01 00 00 00 00 00 00"))
      yield* client.end
      assert.isTrue(yield* probe(port, origin.port))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      assert.strictEqual(records[0]?.reply, 5)
    }))

  it.live("listens on both wildcards with one port", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const free = yield* closedPort
      const layer = (first: string, second: string) =>
        SocksServer.layer({
          listen: [first, second].map((host) => NetAddress.inetAddressFromStringUnsafe(`${host}:${free}`))
        })
          .pipe(Layer.provide(SocksServer.defaults))
      for (const [first, second] of [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] as const) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { addresses } = Context.get(yield* Layer.build(layer(first, second)), SocksServer)
          assert.deepStrictEqual(addresses.map(NetAddress.formatInet), [`${first}:${free}`, `${second}:${free}`])
          for (const host of ["127.0.0.1", "::1"]) {
            const client = yield* connect(free, { host })
            yield* client.send(G0, C4(origin.port), "ping")
            assert.strictEqual((yield* client.read(2 + 10 + 4)).subarray(12).toString(), "ping")
          }
        }))
      }
    }))

  it.live("names in the log what a command that it does not have was for", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const client = yield* connect(port)
      yield* client.send(G0, hex("05 04 00 03 07"), "db.corp", hex("00 50"))
      yield* client.read(2)
      assert.deepStrictEqual((yield* client.readToEnd).subarray(0, 2), hex("05 07"))
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { reply: 7, destination: "db.corp:80", address: undefined })
    }))

  it.live("carries 64 MiB each way at once, to the byte", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const down = randomBytes(1024 * 1024)
      const rounds = 64
      const seen = createHash("sha256")
      let ended = false
      const origin = yield* target((socket) => {
        socket.on("data", (data) => seen.update(data))
        socket.on("end", () => {
          ended = true
        })
        let left = rounds
        const push = () => {
          while (left > 0) {
            left--
            if (!socket.write(down)) return socket.once("drain", push)
          }
          return socket.end()
        }
        push()
      })
      const client = yield* connectThrough(port, origin.port)
      const up = randomBytes(1024 * 1024)
      const sent = createHash("sha256")
      for (let i = 0; i < rounds; i++) {
        sent.update(up)
        client.socket.write(up)
      }
      client.socket.end()
      const got = createHash("sha256")
      const expected = createHash("sha256")
      for (let i = 0; i < rounds; i++) expected.update(down)
      yield* client.readEach((data) => got.update(data))
      assert.strictEqual(got.digest("hex"), expected.digest("hex"))
      // The session is over once all has been written, and the origin has yet to read it.
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1 && ended), "5 seconds"))
      assert.strictEqual(seen.digest("hex"), sent.digest("hex"))
      assert.deepInclude(records[0], { bytesUp: rounds * up.length, bytesDown: rounds * down.length, reason: "done" })
    }))

  it.live("serves 500 echoes at once", () =>
    Effect.gen(function*() {
      const { port, sessions } = yield* proxy()
      const origin = yield* echo()
      const results = yield* Effect.forEach(
        Array.from({ length: 500 }, (_, i) => `message ${i}`),
        (message) =>
          Effect.scoped(Effect.gen(function*() {
            const client = yield* connectThrough(port, origin.port)
            yield* client.send(message)
            const answer = yield* client.read(message.length)
            return answer.toString() === message
          })),
        { concurrency: "unbounded" }
      )
      assert.isTrue(results.every((ok) => ok))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
    }))

  it.effect("dials through the transport that it listens on", () =>
    Effect.gen(function*() {
      const transport = MemoryTransport.make().transport
      const accepted: Array<Connection> = []
      yield* transport.listen(at("192.0.2.7:80"), {
        admit: () => true,
        failed: () => undefined,
        accept: (connection) => accepted.push(connection)
      })
      yield* Layer.build(
        SocksServer.layer({ listen: [at("127.0.0.1:1080")] }).pipe(
          Layer.provide(SocksServer.defaultsWithoutTransport),
          Layer.provide(Layer.succeed(Transport, transport))
        )
      )
      const client = yield* transport.connect(at("127.0.0.1:1080"))
      yield* client.write(Buffer.concat([G0, C4(80, [192, 0, 2, 7]), Buffer.from("hello")]))
      const got = yield* Effect.repeat(Effect.yieldNow, { until: () => accepted.length > 0, times: 100 }).pipe(
        Effect.andThen(Effect.suspend(() => accepted[0]?.pull ?? Effect.die("nobody came")))
      )
      assert.strictEqual(Buffer.from(got[0]).toString(), "hello")
    }))
})
