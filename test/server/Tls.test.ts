import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { createHash, randomBytes } from "node:crypto"
import { NodeConnection } from "../../src/transport/NodeConnection.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { C4, fromSocket, G0, readReply } from "../support/RawClient.ts"
import { target } from "../support/Targets.ts"
import * as TlsSockets from "../support/TlsSockets.ts"

const mebibyte = 1024 * 1024
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

/** SOCKS over TLS: clients come encrypted, targets are dialled as ever. */
const overTls = (version: TlsSockets.Version) =>
  Layer.effect(
    Transport,
    Effect.map(Transport, ({ connect }) => ({
      connect,
      listen: Effect.fnUntraced(function*(_address, accept) {
        const server = yield* TlsSockets.listen(version, (socket) => accept.accept(new NodeConnection(socket, true)))
        return {
          address: NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, TlsSockets.portOf(server)),
          stop: Effect.sync(() => void server.close())
        }
      })
    }))
  ).pipe(Layer.provide(NodeTransport.layer()))

const through = Effect.fnUntraced(function*(version: TlsSockets.Version, port: number, targetPort: number) {
  const client = fromSocket(yield* TlsSockets.connect(version, port))
  yield* client.send(G0, C4(targetPort))
  yield* client.read(2)
  assert.strictEqual((yield* readReply(client))[1], 0)
  return client
})

describe.each(TlsSockets.versions)("a proxy whose clients come over %s", (version) => {
  it.live("relays both ways to the byte, and half-closes", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy({ services: overTls(version) })
      const [up, down] = [randomBytes(8 * mebibyte), randomBytes(8 * mebibyte)]
      const seen = createHash("sha256")
      let answered = false
      const origin = yield* target((socket) => {
        socket.on("data", (data) => seen.update(data))
        // Half of the answer comes after the client's end.
        socket.write(down.subarray(0, 4 * mebibyte))
        socket.on("end", () => {
          answered = true
          socket.end(down.subarray(4 * mebibyte))
        })
      })
      const client = yield* through(version, port, origin.port)
      yield* client.send(up)
      yield* client.end
      assert.strictEqual(sha256(yield* client.readToEnd), sha256(down))
      assert.isTrue(answered)
      assert.strictEqual(seen.digest("hex"), sha256(up))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
      assert.deepInclude(records[0], { bytesUp: up.length, bytesDown: down.length, reason: "done" })
    }))

  it.live("cuts the target when the client goes away, and the client when the target does", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy({ services: overTls(version) })
      const block = Buffer.alloc(mebibyte)
      const origin = yield* target((socket) => {
        const push = () => {
          while (socket.write(block));
        }
        socket.on("drain", push)
        push()
      })
      const leaving = yield* through(version, port, origin.port)
      yield* leaving.read(mebibyte)
      leaving.socket.destroy()
      assert.isTrue(yield* within(Effect.sync(() => origin.open.size === 0), "5 seconds"))

      const cut = yield* through(version, port, origin.port)
      yield* cut.read(mebibyte)
      for (const socket of origin.open) socket.resetAndDestroy()
      yield* Effect.exit(cut.readEach(() => {}))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
      assert.strictEqual(records.length, 2)
      for (const { reason } of records) assert.notStrictEqual(reason, "done")
    }))
})
