import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Net from "node:net"
import { mostKept, Talk } from "../../src/probe/Talk.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { target } from "../support/Targets.ts"

const talkWith = Effect.fnUntraced(function*(handler: (socket: Net.Socket) => void) {
  const { port } = yield* target(handler)
  const { connect } = Context.get(yield* Layer.build(NodeTransport.layer()), Transport)
  return new Talk(yield* connect(NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, port)), "them")
})

describe("Talk", () => {
  it.live("reads up to the end", () =>
    Effect.gen(function*() {
      const talk = yield* talkWith((socket) => {
        socket.write("one, ")
        setTimeout(() => socket.end("two"), 20)
      })
      assert.strictEqual(Buffer.from(yield* talk.readToEnd()).toString(), "one, two")
    }))

  it.live("reads no further than to what is enough", () =>
    Effect.gen(function*() {
      const talk = yield* talkWith((socket) => void socket.write("one, two"))
      const read = talk.readToEnd((bytes) => Buffer.from(bytes).includes("two"))
      assert.strictEqual(Buffer.from(yield* read).toString(), "one, two")
    }))

  it.live("does not keep what comes without end", () =>
    Effect.gen(function*() {
      const portion = Buffer.alloc(65_536)
      const talk = yield* talkWith((socket) => {
        const flood = (): void => {
          while (socket.writable && socket.write(portion));
        }
        socket.on("drain", flood)
        flood()
      })
      const { length } = yield* talk.readToEnd()
      assert.isAbove(length, mostKept)
      // One pull more than that.
      assert.isAtMost(length, mostKept + 65_536)
    }))
})
