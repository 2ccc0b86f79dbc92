import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { createHash, randomBytes } from "node:crypto"
import type { TLSSocket } from "node:tls"
import type { Connection } from "../../src/transport/Connection.ts"
import { NodeConnection } from "../../src/transport/NodeConnection.ts"
import { comesToRest, within } from "../support/Polling.ts"
import { fromSocket } from "../support/RawClient.ts"
import * as TlsSockets from "../support/TlsSockets.ts"

const mebibyte = 1024 * 1024
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

/** A connection over TLS, and the socket at its other end. */
const connected = Effect.fnUntraced(function*(version: TlsSockets.Version) {
  const { accepted, client } = yield* TlsSockets.pair(version)
  const connection = yield* Effect.acquireRelease(
    Effect.sync(() => connectionOver(accepted)),
    (connection) => connection.close
  )
  return { connection, peer: fromSocket(client) }
})

/** Everything up to the end, and how that came. */
const drain = Effect.fnUntraced(function*(connection: Connection) {
  const parts: Array<Buffer> = []
  const error = yield* Effect.flip(
    Effect.forever(Effect.map(connection.pull, ([bytes]) => parts.push(Buffer.from(bytes))))
  )
  return { bytes: Buffer.concat(parts), error }
})

const dead = { _tag: "ConnectionError" } as const

/** Read the plain way, since a TLS socket has no `onread`. */
const connectionOver = (socket: TLSSocket): Connection => new NodeConnection(socket, true)

for (const version of TlsSockets.versions) {
  describe(`a connection over ${version}`, () => {
    it.live("knows its addresses", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* connected(version)
        assert.isAbove(connection.remote?.port ?? 0, 0)
        assert.strictEqual(connection.remote?.port, peer.socket.localPort)
        assert.strictEqual(connection.local?.port, peer.socket.remotePort)
      }))

    it.live("moves bytes and half-closes, either side first", () =>
      Effect.gen(function*() {
        const [up, down] = [randomBytes(5 * mebibyte), randomBytes(7 * mebibyte)]
        const first = yield* connected(version)
        yield* first.peer.send(up)
        yield* first.peer.end
        const request = yield* drain(first.connection)
        assert.isTrue(Cause.isDone(request.error))
        assert.strictEqual(sha256(request.bytes), sha256(up))
        const answer = yield* Effect.forkChild(first.peer.readToEnd, { startImmediately: true })
        yield* first.connection.write(down)
        yield* first.connection.end
        assert.strictEqual(sha256(yield* Fiber.join(answer)), sha256(down))

        const second = yield* connected(version)
        yield* second.connection.write(Buffer.from("bye"))
        yield* second.connection.end
        assert.strictEqual((yield* second.peer.readToEnd).toString(), "bye")
        yield* second.peer.send(up)
        yield* second.peer.end
        assert.strictEqual(sha256((yield* drain(second.connection)).bytes), sha256(up))
      }))

    it.live("stops the sender while nobody pulls", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* connected(version)
        const size = 32 * mebibyte
        yield* peer.send(Buffer.alloc(size))
        yield* peer.end
        yield* connection.pull
        assert.isTrue(yield* comesToRest(() => peer.socket.writableLength))
        assert.isAbove(peer.socket.writableLength, size / 2)
        const rest = yield* drain(connection)
        assert.isTrue(Cause.isDone(rest.error))
      }))

    it.live("counts what a waiting write has still to send, and nothing when all is out", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* connected(version)
        yield* connection.write(Buffer.from("hello"))
        assert.isTrue(yield* within(Effect.sync(() => connection.unsent === 0)))
        const write = yield* Effect.forkChild(connection.write(Buffer.alloc(32 * mebibyte)), { startImmediately: true })
        assert.isAbove(connection.unsent, 0)
        let received = 0
        const read = yield* Effect.forkChild(peer.readEach((bytes) => {
          received += bytes.length
        }))
        yield* Fiber.join(write)
        yield* connection.end
        yield* Fiber.join(read)
        assert.strictEqual(received, 32 * mebibyte + 5)
        assert.strictEqual(connection.unsent, 0)
      }))

    it.live.each(["end", "close", "reset"] as const)("fails a write after %s", (how) =>
      Effect.gen(function*() {
        const { connection } = yield* connected(version)
        yield* connection[how]
        assert.deepInclude(yield* Effect.flip(connection.write(Buffer.from("x"))), dead)
        assert.deepInclude(yield* Effect.flip(connection.write(Buffer.alloc(mebibyte))), dead)
      }))

    it.live.each(["close", "reset"] as const)(
      "%s settles whoever waits, and the peer learns of the cut",
      (how) =>
        Effect.gen(function*() {
          const { accepted, client } = yield* TlsSockets.pair(version)
          // A plain socket takes a reset right behind data for an end.
          const [connection, peer] = [connectionOver(accepted), connectionOver(client)]
          const pull = yield* Effect.forkChild(Effect.flip(connection.pull), { startImmediately: true })
          const write = yield* Effect.forkChild(Effect.flip(connection.write(Buffer.alloc(32 * mebibyte))), {
            startImmediately: true
          })
          yield* connection[how]
          assert.deepInclude(yield* Fiber.join(pull), dead)
          assert.deepInclude(yield* Fiber.join(write), dead)
          assert.deepInclude((yield* drain(peer)).error, { ...dead, reason: "Reset" })
        })
    )

    it.live("resets with nothing under way", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* connected(version)
        yield* connection.write(Buffer.from("hello"))
        assert.strictEqual((yield* peer.read(5)).toString(), "hello")
        yield* connection.reset
        assert.deepInclude(yield* Effect.flip(peer.readToEnd), { code: "ECONNRESET" })
      }))

    it.live("closes on reset where there is no TCP socket to be reset", () =>
      Effect.gen(function*() {
        const { accepted, client } = yield* TlsSockets.pair(version)
        const connection = connectionOver(client)
        const peer = fromSocket(accepted)
        yield* connection.reset
        assert.strictEqual((yield* Effect.exit(peer.readToEnd))._tag, "Success")
        assert.deepInclude(yield* Effect.flip(connection.pull), dead)
      }))

    it.live("fails pull and write once the peer is gone, also a write that waits", () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* connected(version)
        const write = yield* Effect.forkChild(Effect.flip(connection.write(Buffer.alloc(32 * mebibyte))), {
          startImmediately: true
        })
        peer.socket.destroy()
        assert.deepInclude(yield* Fiber.join(write), dead)
        assert.deepInclude(yield* Effect.flip(connection.write(Buffer.from("x"))), dead)
        assert.deepInclude((yield* drain(connection)).error, dead)
      }))
  })
}
