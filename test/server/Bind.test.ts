import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { type MemoryProxy, memoryProxy, type MemoryProxyOptions, pass, settle } from "../support/Memory.ts"
import { G0, hex, port16 } from "../support/RawClient.ts"

const minute = 60_000

const anybody = hex("05 02 00 01 00000000 0000")
const one = hex("05 02 00 01 c0000201 0000")

const at = NetAddress.inetAddressFromStringUnsafe

/** A client with its first reply, and where its peer is to connect to. */
const bound = Effect.fnUntraced(function*(request: Uint8Array, options?: MemoryProxyOptions) {
  const proxy = yield* memoryProxy(options)
  const client = yield* proxy.connect
  yield* client.send(G0, request)
  yield* settle
  assert.strictEqual(client.received.length, 12)
  const door = at(`127.0.0.1:${client.received.readUInt16BE(10)}`)
  assert.strictEqual(proxy.memory.listening(), 2)
  return { client, door, proxy }
})

const arrive = (proxy: MemoryProxy, from: string, door: NetAddress.InetAddress) =>
  Effect.flatMap(proxy.memory.connectFrom(at(from), door), (connection) => proxy.hold(connection))

/** Its second reply, and what has come behind it. */
const afterwards = ({ received }: { readonly received: Buffer }) => received.subarray(12)

const replyOf = (code: string, ip: string, port: number) => Buffer.concat([hex(`05 ${code} 00 01 ${ip}`), port16(port)])

/** The session is over, and nothing of it is left. */
const left = Effect.fnUntraced(function*(proxy: MemoryProxy, reason: RegExp) {
  yield* settle
  assert.strictEqual(proxy.records.length, 1)
  assert.match(proxy.records[0]?.reason ?? "", reason)
  assert.strictEqual(yield* proxy.sessions.count, 0)
  assert.deepStrictEqual([proxy.memory.listening(), proxy.owned(), proxy.deadlines()], [1, 0, 0])
})

describe("BIND", () => {
  it.effect("waits a minute, and no longer, whoever else comes", () =>
    Effect.gen(function*() {
      const { client, door, proxy } = yield* bound(one)
      yield* pass(minute - 1000)
      const stranger = yield* arrive(proxy, "192.0.2.2:1", door)
      yield* pass(999)
      assert.strictEqual(stranger.outcome, "reset")
      assert.strictEqual(client.outcome, "open")
      assert.strictEqual((yield* proxy.sessions.list)[0]?.phase, "bind")
      yield* pass(1)
      assert.deepStrictEqual(afterwards(client), replyOf("01", "00000000", 0))
      assert.strictEqual(proxy.memory.listening(), 1)
      yield* client.end
      yield* left(proxy, /^nobody who was expected connected to 127\.0\.0\.1:\d+ in time$/)
    }))

  it.effect("is refused at once when the peer could not reach the address that would be told", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy()
      const client = yield* proxy.connect
      yield* client.send(G0, hex("05 02 00 04 20010db8000000000000000000000001 0000"))
      yield* settle
      assert.deepStrictEqual(client.received.subarray(2), replyOf("01", "00000000", 0))
      yield* client.end
      yield* left(proxy, /EADDRNOTAVAIL/)
    }))

  it.effect("relays like a CONNECT once the peer is there: its time limits are those of a relay", () =>
    Effect.gen(function*() {
      const { client, door, proxy } = yield* bound(one, { idleTimeout: 10 * minute })
      yield* pass(minute - 1)
      const peer = yield* arrive(proxy, "192.0.2.1:20", door)
      yield* settle
      assert.deepStrictEqual(afterwards(client), replyOf("00", "c0000201", 20))
      assert.strictEqual(proxy.memory.listening(), 1)
      yield* pass(10 * minute - 1)
      assert.strictEqual(client.outcome, "open")
      yield* pass(1)
      assert.notStrictEqual(client.outcome, "open")
      assert.notStrictEqual(peer.outcome, "open")
      yield* left(proxy, /^idle timeout$/)
    }))

  it.effect("ends at once with the client, by whichever way that leaves, and with the server", () =>
    Effect.gen(function*() {
      const ended = yield* bound(one)
      yield* ended.client.end
      yield* left(ended.proxy, /^client left during the bind$/)

      const reset = yield* bound(one)
      yield* reset.client.reset
      yield* left(reset.proxy, /^client (left during the bind|connection reset)/)

      const interrupted = yield* bound(one)
      assert.isTrue(yield* interrupted.proxy.sessions.interrupt(1))
      yield* left(interrupted.proxy, /^interrupted$/)

      const stopped = yield* bound(one, { drainTimeout: 0 })
      yield* stopped.proxy.shutdown
      assert.strictEqual(stopped.proxy.memory.listening(), 0)
      assert.strictEqual(stopped.proxy.owned(), 0)
    }))

  it.effect("takes 64 KiB from a client that sends ahead, passes them on, and notices a reset even then", () =>
    Effect.gen(function*() {
      const { client, door, proxy } = yield* bound(one, { network: { capacity: 1024 } })
      const payload = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
      let sent = 0
      yield* Effect.forkScoped(
        Effect.forEach(
          Array.from({ length: 200 }),
          (_, i) =>
            Effect.map(client.send(payload.subarray(i * 1000, (i + 1) * 1000)), () => {
              sent += 1000
            })
        ),
        { startImmediately: true }
      )
      yield* pass(1000)
      assert.isAtLeast(sent, 65_536)
      assert.isAtMost(sent, 65_536 + 3 * 1024)
      const peer = yield* arrive(proxy, "192.0.2.1:20", door)
      yield* peer.until((received) => received.length === payload.length)
      assert.isTrue(peer.received.equals(payload))

      const full = yield* bound(one)
      yield* full.client.send(payload)
      yield* settle
      yield* full.client.reset
      yield* left(full.proxy, /^client left during the bind$/)
    }))

  it.effect("with 0.0.0.0, asks the policy about each that comes, as if the client had asked for it", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const deny = Effect.fail(new AccessDenied({ rule: "test" }))
      const { client, door, proxy } = yield* bound(anybody, {
        services: {
          policy: {
            authorize: ({ destination }) => {
              asked.push(Host.formatHostPort(destination))
              return destination.port === 1 ? deny : Effect.delay(AccessPolicy.permit, 100)
            },
            authorizeAddress: (_, address) => NetAddress.formatIp(address) === "10.0.0.1" ? deny : AccessPolicy.permit
          }
        }
      })
      const strangers = [yield* arrive(proxy, "192.0.2.1:1", door), yield* arrive(proxy, "10.0.0.1:2", door)]
      const peer = yield* arrive(proxy, "192.0.2.9:3", door)
      const late = yield* arrive(proxy, "192.0.2.9:4", door)
      yield* pass(200)
      assert.deepStrictEqual(asked, ["192.0.2.1:1", "10.0.0.1:2", "192.0.2.9:3"])
      assert.deepStrictEqual([...strangers, late].map(({ outcome }) => outcome), ["reset", "reset", "reset"])
      assert.deepStrictEqual(afterwards(client), replyOf("00", "c0000209", 3))
      yield* peer.end
      yield* client.end
      yield* left(proxy, /^done$/)
      assert.deepInclude(proxy.records[0], {
        destination: "0.0.0.0:0",
        address: "192.0.2.9:3",
        reply: 0,
        deniedBy: "test"
      })
    }))

  it.effect("holds no more than eight that wait to be judged", () =>
    Effect.gen(function*() {
      const { client, door, proxy } = yield* bound(anybody, {
        services: { policy: { authorize: () => Effect.never, authorizeAddress: () => AccessPolicy.permit } }
      })
      for (let i = 1; i <= 30; i++) yield* arrive(proxy, `192.0.2.1:${i}`, door)
      yield* settle
      // One of the client's, and the proxy's own ends of eight peers.
      assert.strictEqual(proxy.owned(), 9)
      yield* client.end
      yield* left(proxy, /^client left during the bind$/)
    }))

  it.effect("answers even when the policy breaks while it waits, and keeps nothing", () =>
    Effect.gen(function*() {
      const errors: Array<string> = []
      const logger = Logger.make<unknown, void>(({ cause, logLevel }) => {
        errors.push(`${logLevel} ${Cause.pretty(cause)}`)
      })
      yield* Effect.gen(function*() {
        const { client, door, proxy } = yield* bound(anybody, {
          services: {
            policy: {
              authorize: () => {
                throw new Error("a bug")
              },
              authorizeAddress: () => AccessPolicy.permit
            }
          }
        })
        yield* arrive(proxy, "192.0.2.1:1", door)
        yield* settle
        assert.deepStrictEqual(afterwards(client), replyOf("01", "00000000", 0))
        yield* client.end
        yield* left(proxy, /^internal error$/)
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.strictEqual(errors.length, 1)
      assert.match(errors[0] ?? "", /^Error Error: a bug/)
    }))

  it.effect("is refused before it listens when the policy does not let the client connect to the peer", () =>
    Effect.gen(function*() {
      const proxy = yield* memoryProxy({
        services: {
          policy: {
            authorize: () => AccessPolicy.permit,
            authorizeAddress: () => Effect.fail(new AccessDenied({ rule: "test" }))
          }
        }
      })
      const client = yield* proxy.connect
      yield* client.send(G0, one)
      yield* settle
      assert.deepStrictEqual(client.received.subarray(2), replyOf("02", "00000000", 0))
      yield* client.end
      yield* left(proxy, /^denied: test$/)
    }))
})
