import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import { randomBytes } from "node:crypto"
import { type Connection, ConnectionError } from "../../src/transport/Connection.ts"
import * as ConnectionDuplex from "../../src/transport/ConnectionDuplex.ts"
import * as MemoryTransport from "../../src/transport/MemoryTransport.ts"
import { Peer } from "../support/Memory.ts"
import { within } from "../support/Polling.ts"

/** Both ends of a connection in memory, whose views become void with the next pull. */
const pair = Effect.fnUntraced(function*(options?: MemoryTransport.Options) {
  const { transport } = MemoryTransport.make(options)
  const accepted = yield* Deferred.make<Connection>()
  const { address } = yield* transport.listen(NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0"), {
    admit: () => true,
    accept: (connection) => Deferred.doneUnsafe(accepted, Effect.succeed(connection)),
    failed: () => {}
  })
  const far = new Peer(yield* transport.connect(address))
  return { near: yield* Deferred.await(accepted), far }
})

const stream = (near: Connection, options?: ConnectionDuplex.Options) =>
  Effect.acquireRelease(ConnectionDuplex.make(near, options), (duplex) => duplex.detach)

/** What a stream gives from now on. */
const collect = (duplex: ConnectionDuplex.ConnectionDuplex) => {
  const parts: Array<Buffer> = []
  let ended = false
  duplex.on("data", (part: Buffer) => parts.push(part))
  duplex.on("end", () => ended = true)
  return { parts, text: () => Buffer.concat(parts).toString(), ended: () => ended }
}

/** Lets all run that can. */
const rest = Effect.sleep(20)

const isTrue = (condition: () => boolean) =>
  Effect.map(within(Effect.sync(condition)), (holds) => assert.isTrue(holds, String(condition)))

describe("a connection as a stream", () => {
  it.live("gives what was read before, then all that comes, and its end", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair({ conditions: { split: (size) => Math.min(size, 3) } })
      let counted = 0
      const early = Buffer.from("early ")
      const duplex = yield* stream(near, { early, received: (bytes) => counted += bytes })
      const seen = collect(duplex)
      // The first copy is made before the transport reuses what it has lent.
      yield* far.send("and what comes later")
      yield* isTrue(() => seen.text() === "early and what comes later")
      early.fill(0)
      yield* far.end
      yield* isTrue(seen.ended)
      assert.strictEqual(seen.text(), "early and what comes later")
      assert.strictEqual(counted, 26)
    }))

  it.live("reads nothing that nobody asks for", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair()
      const duplex = yield* stream(near)
      yield* far.send("waits")
      yield* rest
      assert.strictEqual(duplex.readableLength, 0)
      assert.strictEqual((yield* duplex.detach).length, 0)
      const [bytes] = yield* near.pull
      assert.strictEqual(Buffer.from(bytes).toString(), "waits")
    }))

  it.live("holds when it is told to, and goes on", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair()
      const duplex = yield* stream(near, { largestPiece: 2 })
      const seen = collect(duplex)
      duplex.once("data", () => duplex.hold())
      yield* far.send("abcdef")
      yield* rest
      assert.strictEqual(seen.text(), "ab")
      duplex.release()
      yield* isTrue(() => seen.text() === "abcdef")
      assert.strictEqual(seen.parts.length, 3)
    }))

  it.live("gives back all that was not read, in its order", () =>
    Effect.gen(function*() {
      for (const [largestPiece, taken] of [[7, 3], [64, 64], [1000, 10], [5, 500]] as const) {
        const { far, near } = yield* pair({ conditions: { split: (size) => Math.min(size, 100) } })
        const sent = randomBytes(1000)
        const duplex = yield* stream(near, { early: sent.subarray(0, 50), largestPiece })
        yield* far.send(sent.subarray(50))
        const parts: Array<Buffer> = []
        const size = () => parts.reduce((sum, part) => sum + part.length, 0)
        duplex.on("readable", () => {
          if (size() >= taken) return
          const part: unknown = duplex.read(Math.min(taken - size(), 3)) ?? duplex.read()
          if (Buffer.isBuffer(part)) parts.push(part)
        })
        yield* isTrue(() => size() > 0)
        parts.push(Buffer.from(yield* duplex.detach))
        while (size() < sent.length) {
          const [bytes] = yield* near.pull
          parts.push(Buffer.from(bytes))
        }
        assert.isTrue(Buffer.concat(parts).equals(sent), `${largestPiece} ${taken}`)
      }
    }))

  it.live("writes, waits for room, and half-closes while it reads on", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair({ capacity: 1000 })
      let counted = 0
      const duplex = yield* stream(near, { sent: (bytes) => counted += bytes })
      const seen = collect(duplex)
      const bytes = randomBytes(300_000)
      assert.isFalse(duplex.write(bytes))
      duplex.write(bytes)
      duplex.end()
      yield* rest
      assert.strictEqual(counted, 0)
      yield* Effect.forkScoped(far.read())
      yield* isTrue(() => far.outcome === "end")
      assert.isTrue(far.received.equals(Buffer.concat([bytes, bytes])))
      assert.strictEqual(counted, 600_000)
      yield* far.send("still here")
      yield* isTrue(() => seen.text() === "still here")
    }))

  it.live("fails as the connection does", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair()
      const duplex = yield* stream(near)
      collect(duplex)
      let failure: unknown
      duplex.on("error", (error) => failure = error)
      yield* far.reset
      yield* isTrue(() => failure !== undefined)
      assert.deepInclude(failure, { _tag: "ConnectionError", reason: "Reset" })
      assert.isTrue(duplex.destroyed)
    }))

  it.live("ends no process when nobody listens for its failure", () =>
    Effect.gen(function*() {
      const { far, near } = yield* pair()
      const duplex = yield* stream(near)
      yield* far.reset
      duplex.write("nobody will read this")
      yield* isTrue(() => duplex.destroyed)
      assert.strictEqual((yield* duplex.detach).length, 0)
    }))

  it.live("reads on behind a write that failed, if it shall", () =>
    Effect.gen(function*() {
      const { near } = yield* pair()
      let reads = 0
      const broken: Connection = Object.create(near, {
        send: { value: () => Effect.fail(new ConnectionError({ reason: "Reset", code: "EPIPE" })) },
        pull: {
          value: Effect.suspend(() =>
            ++reads === 1 ? Effect.delay(Effect.succeed([Buffer.from("answered before")]), 20) : Effect.never
          )
        }
      })
      const duplex = yield* stream(broken, { readsOn: true })
      const seen = collect(duplex)
      for (let i = 0; i < 3; i++) duplex.write("nobody will read this")
      yield* isTrue(() => seen.text() === "answered before")
      assert.isFalse(duplex.destroyed)
      assert.strictEqual(duplex.writableLength, 0)
    }))
})
