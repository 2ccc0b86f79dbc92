/** Field reports on the relay and the replies before it: A01, A02, A04, A06. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createHash, randomBytes } from "node:crypto"
import type { Connection } from "../../src/transport/Connection.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import * as DnsServer from "../support/DnsServer.ts"
import * as Elsewhere from "../support/Elsewhere.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { C4, C6, CD, connect, connectThrough, G0, hex, probe, type RawClient } from "../support/RawClient.ts"
import { closedPort, echo, stalled, target } from "../support/Targets.ts"

const mebibyte = 1024 * 1024
const ipv6Loopback = hex("00000000 00000000 00000000 00000001")
const mappedLoopback = hex("00000000 00000000 0000ffff 7f000001")

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

/** A failure reply: the code, and an address of zeros. */
const refusal = (code: number) => Buffer.concat([hex("05"), Buffer.from([code]), hex("00 01 00000000 0000")])

/** Everything that the proxy sends to a client that says this and then waits. */
const answerTo = Effect.fnUntraced(function*(port: number, ...parts: ReadonlyArray<Uint8Array>) {
  const client = yield* connect(port)
  yield* client.send(...parts)
  return { client, answer: yield* client.readToEnd }
})

/** Sends the first bytes, and checks that they come back. */
const echoes = Effect.fnUntraced(function*(client: RawClient) {
  yield* client.send("HELLO")
  return (yield* client.read(5)).toString() === "HELLO"
})

describe("half-close", () => {
  it.live("A01 a client that finishes first still gets the whole answer", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy()
      const answer = randomBytes(mebibyte)
      const request = randomBytes(8 * mebibyte)
      const got = createHash("sha256")
      let size = 0
      let endedAfter = -1
      const origin = yield* target((socket) => {
        socket.on("data", (data) => {
          got.update(data)
          size += data.length
        })
        socket.on("end", () => {
          endedAfter = size
          socket.end(answer)
        })
      })
      const client = yield* connectThrough(port, origin.port)
      yield* client.send(request)
      yield* client.end
      const received = yield* client.readToEnd
      assert.strictEqual(received.length, mebibyte)
      assert.strictEqual(sha256(received), sha256(answer))
      assert.strictEqual(endedAfter, 8 * mebibyte)
      assert.strictEqual(got.digest("hex"), sha256(request))
      assert.isTrue(yield* within(Effect.sync(() => origin.open.size === 0 && client.socket.closed)))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
      assert.deepInclude(records[0], { bytesUp: 8 * mebibyte, bytesDown: mebibyte, reason: "done" })
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))

  it.live("A02 a slow client gets the tail of a download whose origin has closed long ago", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const size = 64 * mebibyte
      const piece = 256 * 1024
      const block = randomBytes(mebibyte)
      const sent = createHash("sha256")
      const origin = yield* target((socket) => {
        let blocks = 0
        const push = () => {
          while (blocks < 64) {
            // Each is another one, so that none can stand in for one that was lost.
            const bytes = Buffer.from(block)
            bytes.writeUInt32BE(blocks++)
            sent.update(bytes)
            if (!socket.write(bytes)) return socket.once("drain", push)
          }
          return socket.destroySoon()
        }
        push()
      })
      const client = yield* connectThrough(port, origin.port)
      const got = createHash("sha256")
      const pieces = size / piece
      for (let i = 0; i < pieces; i++) {
        // The pauses that count are at the start, when everything fills up, and at the end, when all is queued.
        yield* Effect.sleep(i < 8 || i >= pieces - 16 ? 200 : 2)
        if (i === pieces - 1) assert.strictEqual(origin.open.size, 0, "the origin has closed before the last piece")
        got.update(yield* client.read(piece))
      }
      assert.strictEqual((yield* client.readToEnd).length, 0)
      assert.strictEqual(got.digest("hex"), sent.digest("hex"))
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { bytesDown: size, reason: "done" })
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))
})

/** A dialer whose sockets can't tell their own address, as when the target has reset them already. */
const withoutLocalAddress = (connection: Connection): Connection => ({
  local: undefined,
  get remote() {
    return connection.remote
  },
  get failure() {
    return connection.failure
  },
  get watcher() {
    return connection.watcher
  },
  set watcher(watcher) {
    connection.watcher = watcher
  },
  get unsent() {
    return connection.unsent
  },
  pull: connection.pull,
  write: (bytes) => connection.write(bytes),
  send: (bytes) => connection.send(bytes),
  get onward() {
    return connection.onward
  },
  set onward(onward) {
    connection.onward = onward
  },
  end: connection.end,
  close: connection.close,
  reset: connection.reset
})

describe("the bytes of a reply", () => {
  it.live("A04 a success reply has the socket's own address, in the form of its family", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ listen: "[::]:0" })
      const origin4 = yield* echo()
      const origin6 = yield* echo("::1")
      const cases = [
        { request: C4(origin4.port), head: hex("05 00 00 01 7f000001"), origin: origin4 },
        { request: CD("::ffff:127.0.0.1", origin4.port), head: hex("05 00 00 01 7f000001"), origin: origin4 },
        { request: C6(origin4.port, mappedLoopback), head: hex("05 00 00 01 7f000001"), origin: origin4 },
        {
          request: C6(origin6.port, ipv6Loopback),
          head: Buffer.concat([hex("05 00 00 04"), ipv6Loopback]),
          origin: origin6
        }
      ]
      for (const { head, origin, request } of cases) {
        yield* Effect.scoped(Effect.gen(function*() {
          // Over IPv4: on the listener's side the client's and the local address read ::ffff:127.0.0.1.
          const client = yield* connect(port)
          yield* client.send(G0, request)
          assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
          const reply = yield* client.read(head.length + 2)
          assert.deepStrictEqual(reply.subarray(0, -2), head)
          const ports = Array.from(origin.open, (socket) => socket.remotePort)
          assert.include(ports, reply.readUInt16BE(head.length))
          assert.isTrue(yield* echoes(client), "nothing but the echo follows the reply")
        }))
      }
      assert.isTrue(yield* probe(port, origin4.port))
    }))

  it.live("A04 a socket without an address makes a reply with 0.0.0.0:0", () =>
    Effect.gen(function*() {
      const dialer = Layer.effect(
        Dialer,
        Effect.map(Dialer, ({ dial }) => ({
          dial: (addresses, port) =>
            Effect.map(dial(addresses, port), ({ address, connection }) => ({
              address,
              connection: withoutLocalAddress(connection)
            }))
        }))
      ).pipe(Layer.provide(Dialer.layer()), Layer.provide(NodeTransport.layer()))
      const { port } = yield* proxy({ services: dialer })
      const origin = yield* echo()
      const client = yield* connect(port)
      yield* client.send(G0, C4(origin.port))
      assert.deepStrictEqual(yield* client.read(12), hex("05 00 05 00 00 01 00000000 0000"))
      assert.isTrue(yield* echoes(client))
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A04 a target that accepts and resets at once still makes a whole reply", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const origin = yield* target((socket) => socket.resetAndDestroy())
      const rounds = 100
      for (let i = 0; i < rounds; i++) {
        const reply = yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(port)
          yield* client.send(G0, C4(origin.port))
          assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
          return yield* client.read(10)
        }))
        const code = reply[1] === 0 ? "00" : "05"
        assert.match(reply.toString("hex"), new RegExp(`^05${code}0001(7f000001....|000000000000)$`))
      }
      assert.strictEqual(origin.accepted(), rounds)
      assert.isTrue(yield* within(Effect.sync(() => records.length === rounds)))
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))

  it.live("A04 a failure reply has ten bytes whatever failed", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const nobody = yield* closedPort
      const cases = [
        { request: C4(nobody), code: 5 },
        { request: C6(nobody, ipv6Loopback), code: 5 },
        { request: hex("05 04 00 01 7f000001 0050"), code: 7 },
        { request: hex("05 09 00 04 00000000000000000000000000000001 0050"), code: 7 },
        { request: hex("05 01 00 00 7f000001 0050"), code: 8 },
        { request: hex("05 01 00 02"), code: 8 },
        { request: hex("04 01 00 01 7f000001 0050"), code: 1 }
      ]
      for (const { code, request } of cases) {
        const { answer } = yield* Effect.scoped(answerTo(port, G0, request))
        assert.deepStrictEqual(answer, Buffer.concat([hex("05 00"), refusal(code)]), request.toString("hex"))
      }
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))
})

describe("the time of a reply", () => {
  it.live("A06 a failed attempt is answered by its code alone, and the connection is closed", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      const { port, records, sessions } = yield* proxy({ services: DnsServer.resolver(dns) })
      const guarded = yield* proxy({ services: Elsewhere.layer })
      const origin = yield* echo()
      const nobody = yield* closedPort
      const cases = [
        { at: port, request: C4(nobody), code: 5 },
        { at: port, request: CD("nx.invalid", 80), code: 4 },
        { at: guarded.port, request: C4(origin.port), code: 2 }
      ]
      // The clients stay: it is the server that has to close (RFC 1928 §6: within 10 seconds).
      yield* Effect.forEach(cases, ({ at, code, request }) =>
        Effect.gen(function*() {
          const { answer } = yield* answerTo(at, G0, request)
          assert.deepStrictEqual(answer, Buffer.concat([hex("05 00"), refusal(code)]))
        }), { concurrency: "unbounded", discard: true })
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
      assert.isTrue(yield* within(Effect.map(guarded.sessions.count, (count) => count === 0), "5 seconds"))
      assert.deepStrictEqual(records.map(({ reply }) => reply).sort(), [4, 5])
      assert.strictEqual(guarded.records[0]?.reply, 2)
      assert.strictEqual(origin.accepted(), 0)
      assert.isAbove(dns.count("nx.invalid"), 0)
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A06 nothing is said while a connect is stalled, and 04 when its time is over", () =>
    Effect.gen(function*() {
      const services = Dialer.layer({ connectTimeout: "1 second" }).pipe(Layer.provide(NodeTransport.layer()))
      const { port, sessions } = yield* proxy({ services })
      const full = yield* stalled
      const client = yield* connect(port)
      yield* client.send(G0, C4(full))
      assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
      yield* Effect.sleep(500)
      client.socket.read(0)
      assert.strictEqual(client.socket.readableLength, 0)
      assert.deepStrictEqual(yield* client.readToEnd, refusal(4))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))
})
