/** Field reports on the greeting and on how its bytes arrive: A03, A07. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Users from "../../src/policy/Users.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { AU, C4, CD, connect, G0, G2, hex, probe, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const login = AU("user", "pass")
const users = Layer.orDie(Users.layer({ users: [{ name: "user", password: Redacted.make("pass") }] }))

/** Long enough for a segment to be read before the next one is sent. */
const apart = 5

/**
 * Sends the pieces as segments of their own, then expects the answer to the greeting (and login), the success reply,
 * and the payload once.
 */
const handshake = Effect.fnUntraced(function*(port: number, pieces: ReadonlyArray<Uint8Array>, answer: Buffer) {
  const client = yield* connect(port)
  yield* client.send(pieces[0] ?? "")
  for (const piece of pieces.slice(1)) {
    yield* Effect.sleep(apart)
    yield* client.send(piece)
  }
  yield* client.end
  assert.deepStrictEqual(yield* client.read(answer.length), answer)
  assert.deepStrictEqual((yield* readReply(client)).subarray(0, 8), hex("05 00 00 01 7f000001"))
  assert.strictEqual((yield* client.readToEnd).toString(), "HELLO")
}, Effect.scoped)

/** Every way to cut bytes in two. */
const splits = (bytes: Buffer) =>
  Array.from({ length: bytes.length - 1 }, (_, i) => [bytes.subarray(0, i + 1), bytes.subarray(i + 1)])

describe("a handshake in segments", () => {
  it.live("A03 a handshake split at every byte is the same handshake", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ services: users })
      const origin = yield* echo()
      const bytes = Buffer.concat([G2, login, CD("localhost", origin.port), Buffer.from("HELLO")])
      const pieces = Array.from(bytes, (byte) => Uint8Array.of(byte))
      yield* handshake(port, pieces, hex("05 02 01 00"))
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A03 a handshake and its payload in one segment are answered in turn", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const origin = yield* echo()
      yield* handshake(port, [Buffer.concat([G0, C4(origin.port), Buffer.from("HELLO")])], hex("05 00"))
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A03 a handshake cut in two anywhere is the same handshake", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const guarded = yield* proxy({ services: users })
      const origin = yield* echo()
      const request = Buffer.concat([C4(origin.port), Buffer.from("HELLO")])
      const open = splits(Buffer.concat([G0, request]))
      const withLogin = splits(Buffer.concat([G2, login, request]))
      assert.strictEqual(open.length, 17)
      assert.strictEqual(withLogin.length, 28)
      for (const pieces of open) yield* handshake(port, pieces, hex("05 00"))
      for (const pieces of withLogin) yield* handshake(guarded.port, pieces, hex("05 02 01 00"))
      assert.strictEqual(origin.accepted(), 45)
      assert.isTrue(yield* probe(port, origin.port))
      assert.isTrue(yield* probe(guarded.port, origin.port, login))
    }))
})

describe("methods", () => {
  it.live("A07 a greeting without an acceptable method is answered by FF, and its connection ends", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy({ services: users })
      const origin = yield* echo()
      const greetings = [hex("05 00"), G0, hex("05 01 80")]
      yield* Effect.forEach(greetings, (greeting) =>
        Effect.gen(function*() {
          // The client neither closes nor stops talking: it holds no place for that.
          const client = yield* connect(port)
          yield* client.send(greeting)
          assert.deepStrictEqual(yield* client.readToEnd, hex("05 ff"), greeting.toString("hex"))
          yield* client.send(C4(origin.port))
        }), { concurrency: "unbounded", discard: true })
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
      assert.strictEqual(records.length, greetings.length)
      for (const { reason } of records) assert.include(reason, "does not offer user name and password")
      assert.strictEqual(origin.accepted(), 0)
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A07 the last of 255 methods is found", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ services: users })
      const origin = yield* echo()
      const greeting = Buffer.concat([hex("05 ff"), Buffer.alloc(254, 0x80), hex("02")])
      yield* handshake(
        port,
        [Buffer.concat([greeting, login, C4(origin.port), Buffer.from("HELLO")])],
        hex("05 02 01 00")
      )
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A07 a greeting without any method is answered by FF where nobody has to log in", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const client = yield* connect(port)
      yield* client.send(hex("05 00"))
      assert.deepStrictEqual(yield* client.readToEnd, hex("05 ff"))
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))
})
