import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { connectThrough, type RawClient } from "../support/RawClient.ts"
import { target } from "../support/Targets.ts"

const streams = 16

/** Less than what earns a socket a read buffer of its own, so that all of them read into the shared one. */
const chunkSize = 30_000

const chunksOfEach = 300

/**
 * Writes that wait hold views of what was read, while other sockets read on: each stream has bytes of its own, and
 * its reader stalls until all of them have more under way than the kernel takes.
 */
it.live("what waits to be written is not overwritten by what other sockets read", () =>
  Effect.gen(function*() {
    const { port, sessions } = yield* proxy()
    const sources: Array<Net.Socket> = []
    const origin = yield* target((socket) => void sources.push(socket))
    const clients = yield* Effect.forEach(Array.from({ length: streams }), () => connectThrough(port, origin.port))
    assert.strictEqual(sources.length, streams)
    const chunks = sources.map((_, i) => Buffer.alloc(chunkSize, i + 1))
    // One at a time and in turns: several together would make a read large enough for a buffer of one's own.
    for (let round = 0; round < chunksOfEach; round++) {
      sources.forEach((socket, i) => socket.write(chunks[i] ?? ""))
      yield* Effect.promise(() => new Promise(setImmediate))
    }
    for (const socket of sources) socket.end()
    const size = chunkSize * chunksOfEach
    const stalled = (yield* sessions.list).filter(({ bytesDown }) => bytesDown < size)
    assert.strictEqual(stalled.length, streams, "all of them wait for their readers")

    const intact = Effect.fnUntraced(function*(client: RawClient, i: number) {
      const expected = Buffer.alloc(65_536, i + 1)
      let received = 0
      let overwritten = 0
      yield* client.readEach((bytes) => {
        received += bytes.length
        for (let at = 0; at < bytes.length; at += expected.length) {
          const part = bytes.subarray(at, at + expected.length)
          if (!part.equals(expected.subarray(0, part.length))) overwritten++
        }
      })
      assert.deepStrictEqual([received, overwritten], [size, 0], `stream ${i}`)
      yield* client.end
    })
    yield* Effect.forEach(clients, intact, { concurrency: "unbounded", discard: true })
    assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
  }))
