import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import { createHash, randomBytes } from "node:crypto"
import * as Net from "node:net"
import type { Connection } from "../../src/transport/Connection.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import * as ReadBuffers from "../../src/transport/ReadBuffers.ts"
import { comesToRest, within } from "../support/Polling.ts"

const anyPort = NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")

/** Listens with the transport under test; its connections come out of the queue. */
const listen = (transport: ReturnType<typeof NodeTransport.make>) =>
  Effect.gen(function*() {
    const connections = yield* Queue.unbounded<Connection>()
    const listener = yield* transport.listen(anyPort, {
      admit: () => true,
      accept: (connection) => {
        Queue.offerUnsafe(connections, connection)
      },
      failed: () => {}
    })
    const next = Effect.acquireRelease(Queue.take(connections), (connection) => connection.close)
    return { listener, next, port: listener.address.port }
  })

/** A plain client of node:net. */
const client = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket>((resume) => {
      const socket = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
      socket.on("error", () => {})
      socket.once("connect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Everything up to the end of stream. */
const drain = (connection: Connection, each: (bytes: Uint8Array) => Effect.Effect<unknown> = () => Effect.void) =>
  Effect.gen(function*() {
    const hash = createHash("sha256")
    let size = 0
    const error = yield* Effect.flip(Effect.forever(Effect.flatMap(connection.pull, ([bytes]) => {
      hash.update(bytes)
      size += bytes.length
      return each(bytes)
    })))
    return { size, hash: hash.digest("hex"), error }
  })

const received = (socket: Net.Socket) =>
  Effect.callback<{ size: number; hash: string }>((resume) => {
    const hash = createHash("sha256")
    let size = 0
    socket.on("data", (data: Buffer) => {
      size += data.length
      hash.update(data)
    })
    socket.once("end", () => resume(Effect.succeed({ size, hash: hash.digest("hex") })))
  })

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

for (const plainReads of [false, true]) {
  describe(plainReads ? "NodeTransport, plain reads" : "NodeTransport, onread", () => {
    const transport = NodeTransport.make({ plainReads })

    it.live.each(["close", "reset"] as const)(
      "%s while a write waits is a reset, at once",
      (how) =>
        Effect.scoped(Effect.gen(function*() {
          const server = yield* listen(transport)
          const peer = yield* transport.connect(NetAddress.inetAddressFromStringUnsafe(`127.0.0.1:${server.port}`))
          const connection = yield* server.next
          const write = yield* Effect.forkChild(connection.write(randomBytes(32 * 1024 * 1024)), {
            startImmediately: true
          })
          assert.isTrue(yield* within(Effect.sync(() => connection.unsent > 0)))
          yield* connection[how]
          assert.isTrue(Exit.isFailure(yield* Fiber.await(write)))
          const { error } = yield* drain(peer)
          assert.deepInclude(error, { _tag: "ConnectionError", reason: "Reset" })
        }))
    )

    it.live("tells a reset right behind data from an end", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        yield* Effect.callback<void>((resume) => {
          socket.write("half of it", () => resume(Effect.void))
        })
        socket.resetAndDestroy()
        yield* Effect.sleep("50 millis")
        const { error } = yield* drain(connection)
        assert.deepInclude(error, { _tag: "ConnectionError", reason: "Reset" })
      })))

    it.live("moves bytes and half-closes in both directions", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        assert.strictEqual(connection.remote?.port, socket.localPort)
        assert.strictEqual(connection.local?.port, server.port)
        socket.end("request")
        const request = yield* drain(connection)
        assert.deepStrictEqual([request.size, request.hash], [7, sha256(Buffer.from("request"))])
        assert.isTrue(Cause.isDone(request.error))
        // The peer has ended; this side has not.
        const answer = received(socket)
        const fiber = yield* Effect.forkChild(answer, { startImmediately: true })
        yield* connection.write(Buffer.from("response"))
        yield* connection.end
        assert.deepStrictEqual(yield* Fiber.join(fiber), { size: 8, hash: sha256(Buffer.from("response")) })
      })))

    it.live("relays 32 streams at once without mixing their bytes", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        yield* Effect.forEach(Array.from({ length: 32 }, (_, i) => i), (i) =>
          Effect.scoped(Effect.gen(function*() {
            const source = yield* client(server.port)
            const from = yield* server.next
            const sink = yield* client(server.port)
            const to = yield* server.next
            const payload = randomBytes(3 * 1024 * 1024 + i)
            const result = yield* Effect.forkChild(received(sink), { startImmediately: true })
            source.end(payload)
            yield* drain(from, (bytes) => Effect.orDie(to.write(bytes)))
            yield* to.end
            assert.deepStrictEqual(yield* Fiber.join(result), { size: payload.length, hash: sha256(payload) })
          })), { concurrency: 1, discard: true })
        // And all of them side by side: the relays of different sockets share the read buffer.
        const pairs = yield* Effect.forEach(Array.from({ length: 32 }), () =>
          Effect.gen(function*() {
            const source = yield* client(server.port)
            const from = yield* server.next
            const sink = yield* client(server.port)
            const to = yield* server.next
            return { source, from, sink, to }
          }))
        yield* Effect.forEach(pairs, ({ from, sink, source, to }) =>
          Effect.gen(function*() {
            const payload = randomBytes(4 * 1024 * 1024)
            const result = yield* Effect.forkChild(received(sink), { startImmediately: true })
            // Slow readers make writes wait, so that views are still in use when other sockets read.
            sink.pause()
            setTimeout(() => sink.resume(), 20)
            source.end(payload)
            yield* drain(from, (bytes) => Effect.orDie(to.write(bytes)))
            yield* to.end
            assert.deepStrictEqual(yield* Fiber.join(result), { size: payload.length, hash: sha256(payload) })
          }), { concurrency: "unbounded", discard: true })
      })))

    it.live("stops the sender while nobody pulls", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        const total = 64 * 1024 * 1024
        socket.end(Buffer.alloc(total, 7))
        yield* connection.pull
        assert.isTrue(yield* comesToRest(() => socket.writableLength))
        // Kernel buffers take some MiB; the rest stays with the sender.
        assert.isAbove(socket.writableLength, 32 * 1024 * 1024)
        const rest = yield* drain(connection)
        assert.isTrue(Cause.isDone(rest.error))
        assert.isAbove(rest.size, total - 1024 * 1024)
      })))

    it.live("loses nothing when a pull is interrupted", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        const pull = yield* Effect.forkChild(connection.pull, { startImmediately: true })
        yield* Fiber.interrupt(pull)
        socket.end("kept")
        yield* Effect.sleep(30)
        const rest = yield* drain(connection)
        assert.deepStrictEqual([rest.size, rest.hash], [4, sha256(Buffer.from("kept"))])
      })))

    it.live("fails pull and write once the peer has reset, and never waits for a drain", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        socket.resetAndDestroy()
        const pulled = yield* Effect.exit(connection.pull)
        assert.isTrue(Exit.isFailure(pulled))
        const error = yield* Effect.flip(connection.write(Buffer.alloc(1024 * 1024)))
        assert.strictEqual(error.reason, "Reset")
        const again = yield* Effect.flip(connection.write(Buffer.from("x")))
        assert.strictEqual(again.code, error.code)
      })))

    it.live("fails a write after end, small or large", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        const bytes = yield* Effect.forkChild(received(socket), { startImmediately: true })
        yield* connection.write(Buffer.from("last"))
        yield* connection.end
        for (const size of [1, 1024 * 1024, 1]) {
          const error = yield* Effect.flip(connection.write(Buffer.alloc(size)))
          assert.strictEqual(error._tag, "ConnectionError")
        }
        assert.strictEqual((yield* Fiber.join(bytes)).size, 4)
      })))

    it.live.each(["destroy", "resetAndDestroy"] as const)("fails writes to a peer that is gone by %s, without a pull", (
      leave
    ) =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        for (const size of [1, 8 * 1024 * 1024]) {
          const socket = yield* client(server.port)
          const connection = yield* server.next
          socket[leave]()
          // The kernel may take some until the peer's answer to it is there.
          const writes = Effect.repeat(connection.write(Buffer.alloc(size)), { schedule: Schedule.spaced(1) })
          const error = yield* Effect.timeoutOrElse(Effect.flip(writes), {
            duration: "5 seconds",
            orElse: () => Effect.die(new Error("it waits, or succeeds for ever"))
          })
          assert.deepInclude(error, { _tag: "ConnectionError", reason: "Reset" })
          const again = yield* Effect.flip(connection.write(Buffer.from("x")))
          assert.strictEqual(again.code, error.code)
        }
      })))

    it.live("fails a write that waits when the peer goes away", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        socket.pause()
        const write = yield* Effect.forkChild(
          Effect.exit(Effect.forever(Effect.suspend(() => connection.write(Buffer.alloc(1024 * 1024))))),
          { startImmediately: true }
        )
        assert.isTrue(yield* comesToRest(() => connection.unsent))
        assert.isAbove(connection.unsent, 0)
        assert.isUndefined(write.pollUnsafe())
        socket.resetAndDestroy()
        const exit = yield* Fiber.join(write)
        const error = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : Option.none()
        assert.isTrue(Option.isSome(error))
      })))

    it.live("settles whoever waits when this side closes", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const socket = yield* client(server.port)
        const connection = yield* server.next
        const pull = yield* Effect.forkChild(Effect.flip(connection.pull), { startImmediately: true })
        const ended = yield* Deferred.make<void>()
        socket.once("end", () => Deferred.doneUnsafe(ended, Effect.void))
        socket.resume()
        yield* connection.close
        assert.strictEqual((yield* Fiber.join(pull))._tag, "ConnectionError")
        yield* Deferred.await(ended)
        assert.strictEqual((yield* Effect.flip(connection.write(Buffer.from("x"))))._tag, "ConnectionError")
      })))

    it.live("dials, and names its failures", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const connection = yield* transport.connect(server.listener.address)
        const accepted = yield* server.next
        assert.strictEqual(connection.remote?.port, server.port)
        yield* connection.write(Buffer.from("hello"))
        const [bytes] = yield* accepted.pull
        assert.strictEqual(Buffer.from(bytes).toString(), "hello")
        // Bytes that came before anybody pulled are there.
        yield* accepted.write(Buffer.from("early"))
        yield* accepted.end
        yield* Effect.sleep(30)
        const rest = yield* drain(connection)
        assert.strictEqual(rest.size, 5)
        yield* server.listener.stop
        const refused = yield* Effect.flip(transport.connect(server.listener.address))
        assert.deepStrictEqual([refused.reason, refused.code], ["Refused", "ECONNREFUSED"])
      })))

    it.live("says why it can't listen", () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* listen(transport)
        const error = yield* Effect.flip(
          transport.listen(server.listener.address, { admit: () => true, accept: () => {}, failed: () => {} })
        )
        assert.strictEqual(error.code, "EADDRINUSE")
      })))

    it.live("closes clients that are not admitted", () =>
      Effect.scoped(Effect.gen(function*() {
        const listener = yield* transport.listen(anyPort, {
          admit: () => false,
          accept: () => assert.fail("accepted"),
          failed: () => {}
        })
        const socket = yield* client(listener.address.port)
        yield* Effect.callback<void>((resume) => {
          socket.once("close", () => resume(Effect.void))
          socket.once("end", () => socket.destroy())
          socket.resume()
        })
        assert.strictEqual(socket.bytesRead, 0)
      })))
  })
}

it.live("all leases come back", () =>
  Effect.gen(function*() {
    assert.isTrue(yield* within(Effect.sync(() => ReadBuffers.leased() === 0)))
  }))
