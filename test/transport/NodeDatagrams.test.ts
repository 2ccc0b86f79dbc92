import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import type { Receiver } from "../../src/transport/Datagrams.ts"
import * as NodeDatagrams from "../../src/transport/NodeDatagrams.ts"
import { within } from "../support/Polling.ts"
import { boundPorts, udp } from "../support/Udp.ts"

const at = (text: string) => NetAddress.inetAddressFromStringUnsafe(text)

/** Remembers what it is told. */
const makeReceiver = () => {
  const told: Array<string> = []
  const receiver: Receiver = {
    received: (bytes, host, port) => told.push(`${Buffer.from(bytes)} from ${host} ${port}`),
    failed: (code) => told.push(code)
  }
  return { receiver, told }
}

const { bind } = NodeDatagrams.make()

describe("NodeDatagrams", () => {
  for (const [host, any] of [["127.0.0.1", "0.0.0.0:0"], ["::1", "[::]:0"]] as const) {
    it.live(`sends and receives whole datagrams: ${host}`, () =>
      Effect.gen(function*() {
        const { receiver, told } = makeReceiver()
        const socket = yield* bind(at(any), receiver)
        assert.notStrictEqual(socket.local.port, 0)
        const peer = yield* udp(host)
        assert.isTrue(socket.send(["one ", "datagram"].map((part) => Buffer.from(part)), host, peer.port))
        const { bytes, port } = yield* peer.next
        assert.deepStrictEqual([bytes.toString(), port], ["one datagram", socket.local.port])
        assert.isTrue(socket.send([], host, peer.port))
        assert.strictEqual((yield* peer.next).bytes.length, 0)
        for (const text of ["an answer", "", "another"]) yield* peer.send(Buffer.from(text), { port })
        assert.isTrue(yield* within(Effect.sync(() => told.length === 3)))
        assert.deepStrictEqual(told, ["an answer", "", "another"].map((text) => `${text} from ${host} ${peer.port}`))
      }))
  }

  it.live("tells what the system refuses, and goes on", () =>
    Effect.gen(function*() {
      const { receiver, told } = makeReceiver()
      const socket = yield* bind(at("127.0.0.1:0"), receiver)
      const peer = yield* udp()
      assert.isTrue(socket.send([Buffer.alloc(65_508)], "127.0.0.1", peer.port))
      assert.isTrue(socket.send([Buffer.alloc(65_507)], "127.0.0.1", peer.port))
      assert.strictEqual((yield* peer.next).bytes.length, 65_507)
      assert.deepStrictEqual(told, ["EMSGSIZE"])
      assert.isFalse(socket.send([Buffer.from("x")], "127.0.0.1", 0))
    }))

  it.live("drops what would wait behind too much", () =>
    Effect.gen(function*() {
      const { receiver, told } = makeReceiver()
      const socket = yield* NodeDatagrams.make({ maxQueued: 0 }).bind(at("127.0.0.1:0"), receiver)
      assert.isFalse(socket.send([Buffer.from("x")], "127.0.0.1", 9))
      assert.deepStrictEqual(told, [])
    }))

  it.live("closes with the scope, and sends no more", () =>
    Effect.gen(function*() {
      const { receiver } = makeReceiver()
      const socket = yield* Effect.scoped(Effect.gen(function*() {
        const socket = yield* bind(at("127.0.0.1:0"), receiver)
        assert.isTrue((yield* boundPorts).has(socket.local.port))
        return socket
      }))
      assert.isTrue(yield* within(Effect.map(boundPorts, (ports) => !ports.has(socket.local.port))))
      assert.isFalse(socket.send([Buffer.from("x")], "127.0.0.1", 9))
    }))

  it.live("fails where it can't be bound", () =>
    Effect.gen(function*() {
      const { receiver } = makeReceiver()
      const { local } = yield* bind(at("127.0.0.1:0"), receiver)
      const used = yield* Effect.flip(bind(local, receiver))
      assert.deepStrictEqual([used._tag, used.code, used.address], ["ListenError", "EADDRINUSE", local])
      // IPv6 alone, and no other machine's address.
      yield* bind(NetAddress.inetAddressUnsafe(NetAddress.ipv6Unspecified, local.port), receiver)
      assert.strictEqual((yield* Effect.flip(bind(at("192.0.2.1:0"), receiver))).code, "EADDRNOTAVAIL")
    }))
})
