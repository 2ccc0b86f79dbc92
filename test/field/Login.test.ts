/** Field reports on logins (RFC 1929): A08, A09, A10. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Users from "../../src/policy/Users.ts"
import { within } from "../support/Polling.ts"
import { proxy, type ProxyOptions } from "../support/Proxy.ts"
import { AU, C4, connect, connectThrough, G2, hex, probe } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const login = AU("user", "pass")
const long = { name: "u".repeat(255), password: "p".repeat(255) }

/** A proxy with users `user`, the longest one, and more; and an echo behind it. */
const guarded = Effect.fnUntraced(function*(
  more: Readonly<Record<string, string>> = {},
  options: ProxyOptions = {}
) {
  const passwords = { user: "pass", [long.name]: long.password, ...more }
  const users = Object.entries(passwords).map(([name, password]) => ({ name, password: Redacted.make(password) }))
  const origin = yield* echo()
  return { origin, ...yield* proxy({ ...options, services: Layer.orDie(Users.layer({ users })) }) }
})

/** Everything that the proxy says to a login and a request in one write, by a client that then waits. */
const answerTo = Effect.fnUntraced(function*(port: number, message: Uint8Array, target: number) {
  const client = yield* connect(port)
  yield* client.send(G2, message, C4(target))
  return yield* Effect.timeout(client.readToEnd, "1 second")
}, Effect.scoped)

describe("logins", () => {
  for (const version of [0x05, 0x00, 0x02]) {
    const shown = version.toString().padStart(2, "0")
    it.live(`A08 a login of version ${shown} is refused, however right its password`, () =>
      Effect.gen(function*() {
        const { origin, port, records, sessions } = yield* guarded()
        const message = Buffer.from(login)
        message[0] = version
        assert.deepStrictEqual(yield* answerTo(port, message, origin.port), hex("05 02 01 01"))
        assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
        assert.strictEqual(origin.accepted(), 0)
        assert.deepInclude(records[0], { user: undefined, destination: undefined, reply: undefined })
        assert.isTrue(yield* probe(port, origin.port, login))
      }))
  }

  it.live("A09 an empty password is a whole message, and matches nobody who has one", () =>
    Effect.gen(function*() {
      const { origin, port, records } = yield* guarded()
      for (const message of [hex("01 04 75736572 00"), hex("01 00 00")]) {
        yield* Effect.scoped(Effect.gen(function*() {
          // Alone in its segment: nothing follows that the server could have waited for.
          const client = yield* connect(port)
          yield* client.send(G2, message)
          const answer = yield* Effect.timeout(client.readToEnd, "1 second")
          assert.deepStrictEqual(answer, hex("05 02 01 01"))
        }))
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      assert.deepStrictEqual(records.map(({ reason, user }) => [user, reason]), [
        ["user", "authentication failed"],
        ["", "authentication failed"]
      ])
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A09 an empty password logs in whom it was configured for", () =>
    Effect.gen(function*() {
      const { origin, port, records } = yield* guarded({ guest: "" })
      yield* Effect.scoped(connectThrough(port, origin.port, AU("guest", "")))
      assert.deepStrictEqual(yield* answerTo(port, AU("guest", "x"), origin.port), hex("05 02 01 01"))
      assert.deepStrictEqual(yield* answerTo(port, AU("user", ""), origin.port), hex("05 02 01 01"))
      assert.strictEqual(origin.accepted(), 1)
      assert.isTrue(
        yield* within(Effect.sync(() => records.some(({ reply, user }) => user === "guest" && reply === 0)))
      )
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A10 a name and a password of 255 bytes each log in, in one segment or in two", () =>
    Effect.gen(function*() {
      const { origin, port } = yield* guarded()
      const message = AU(long.name, long.password)
      assert.strictEqual(message.length, 513)
      for (const pieces of [[message], [message.subarray(0, 256), message.subarray(256)]]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(port)
          yield* client.send(G2)
          assert.deepStrictEqual(yield* client.read(2), hex("05 02"))
          for (const piece of pieces) {
            yield* client.send(piece)
            yield* Effect.sleep(20)
          }
          assert.deepStrictEqual(yield* client.read(2), hex("01 00"))
          yield* client.send(C4(origin.port), "HELLO")
          assert.strictEqual((yield* client.read(15)).subarray(10).toString(), "HELLO")
        }))
      }
      // One byte less is another password.
      const short = AU(long.name, long.password.slice(1))
      assert.deepStrictEqual(yield* answerTo(port, short, origin.port), hex("05 02 01 01"))
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A10 a client that writes its length as UTF-8 gets no login", () =>
    Effect.gen(function*() {
      const { origin, port, records, sessions } = yield* guarded({ ["u".repeat(128)]: "pass" })
      const client = yield* connect(port)
      // 194 bytes of name, which can't be text: it starts in the middle of a character.
      yield* client.send(G2, hex("01 c2 80"), Buffer.alloc(128, "u"), hex("04 70617373"))
      assert.deepStrictEqual(yield* client.readToEnd, hex("05 02 01 01"))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0), "5 seconds"))
      assert.deepInclude(records[0], { user: undefined, reply: undefined })
      assert.strictEqual(origin.accepted(), 0)
      assert.isTrue(yield* probe(port, origin.port, login))
    }))

  it.live("A10 a login shorter than its lengths say ends with the handshake's time", () =>
    Effect.gen(function*() {
      const { origin, port, records } = yield* guarded({}, { handshakeTimeout: 300 })
      const client = yield* connect(port)
      yield* client.send(G2, hex("01 c2"), Buffer.alloc(128, "u"), hex("04 70617373"))
      assert.deepStrictEqual(yield* client.readToEnd, hex("05 02"))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { user: undefined, reason: "handshake timeout" })
      assert.isTrue(yield* probe(port, origin.port, login))
    }))
})
