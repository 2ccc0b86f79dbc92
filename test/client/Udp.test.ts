import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as SocksClient from "../../src/client/SocksClient.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { hex, port16 } from "../support/RawClient.ts"
import { target } from "../support/Targets.ts"
import { boundPorts, U4, UD, udp, udpEcho } from "../support/Udp.ts"
import * as Upstream from "../support/Upstream.ts"

/** What was received, in words. */
const shown = ({ payload, source }: SocksClient.Datagram) =>
  `${Buffer.from(payload).toString()} from ${Host.formatHostPort(source)}`

const failure = (url: string) => Effect.flip(Effect.scoped(SocksClient.associate(url)))

describe("SocksClient.associate", () => {
  it.live("sends and receives through dante and Sluice", () =>
    Effect.gen(function*() {
      const [dante, sluice] = [yield* Upstream.dante, yield* proxy()]
      const [four, six] = [yield* udpEcho(), yield* udpEcho("::1")]
      for (const url of [`socks5h://127.0.0.1:${dante}`, `socks5h://127.0.0.1:${sluice.port}`]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { receive, send } = yield* SocksClient.associate(url)
          for (const host of ["127.0.0.1", "localhost"]) {
            assert.isTrue(yield* send(Buffer.from("ping"), `${host}:${four.port}`))
            assert.strictEqual(shown(yield* receive), `ping from 127.0.0.1:${four.port}`)
          }
        }))
      }
      yield* Effect.scoped(Effect.gen(function*() {
        const { receive, send } = yield* SocksClient.associate(`socks5://127.0.0.1:${sluice.port}`)
        assert.isTrue(yield* send(Buffer.alloc(65_485, "6"), `[::1]:${six.port}`))
        const { payload, source } = yield* receive
        assert.strictEqual(payload.length, 65_485)
        assert.strictEqual(Host.formatHostPort(source), `[::1]:${six.port}`)
      }))
    }).pipe(Effect.provide(SocksClient.layer)))

  it.live("sends names as they are, or their addresses, and closes its socket with the scope", () =>
    Effect.gen(function*() {
      const relay = yield* udp()
      const { port } = yield* target((socket) => {
        socket.once("data", () => {
          socket.write(hex("05 00"))
          socket.once("data", () => socket.write(Buffer.concat([hex("05 00 00 01 00000000"), port16(relay.port)])))
        })
      })
      for (const [protocol, expected] of [["socks5h", UD("localhost", 53, "a")], ["socks5", U4(53, "a")]] as const) {
        const ours = yield* Effect.scoped(Effect.gen(function*() {
          const { send } = yield* SocksClient.associate(`${protocol}://127.0.0.1:${port}`)
          yield* send(Buffer.from("a"), "localhost:53")
          const { bytes, port: ours } = yield* relay.next
          assert.deepStrictEqual(bytes, expected)
          assert.isTrue((yield* boundPorts).has(ours))
          return ours
        }))
        assert.isTrue(yield* within(Effect.map(boundPorts, (bound) => !bound.has(ours))))
      }
    }).pipe(Effect.provide(SocksClient.layer)))

  it.live("ends with the proxy's connection", () =>
    Effect.gen(function*() {
      const sluice = yield* proxy()
      const origin = yield* udpEcho()
      const { receive, send } = yield* SocksClient.associate(`socks5h://127.0.0.1:${sluice.port}`)
      yield* send(Buffer.from("ping"), `127.0.0.1:${origin.port}`)
      assert.isTrue(yield* within(Effect.sync(() => origin.received.length === 1)))
      assert.isTrue(yield* sluice.sessions.interrupt(1))
      // What had come is still there to be received.
      assert.strictEqual(shown(yield* receive), `ping from 127.0.0.1:${origin.port}`)
      assert.strictEqual((yield* Effect.flip(receive))._tag, "Done")
      assert.isFalse(yield* send(Buffer.from("late"), `127.0.0.1:${origin.port}`))
    }).pipe(Effect.provide(SocksClient.layer)))

  it.live("fails with what the proxy says, and for what is no SOCKS5 proxy or no destination", () =>
    Effect.gen(function*() {
      const microsocks = yield* Upstream.microsocks()
      assert.deepInclude(yield* failure(`socks5://127.0.0.1:${microsocks}`), { _tag: "ReplyError", code: 7 })
      for (const url of ["http://127.0.0.1:1", "https://127.0.0.1:1", "socks4a://127.0.0.1:1"]) {
        assert.deepInclude(yield* failure(url), {
          _tag: "ProxyUrlError",
          message: "UDP goes through socks5 and socks5h proxies only"
        })
      }
      const sluice = yield* proxy()
      const { send } = yield* SocksClient.associate(`socks5h://127.0.0.1:${sluice.port}`)
      assert.strictEqual((yield* Effect.flip(send(Buffer.from("a"), "nothing at all")))._tag, "NetAddressError")
    }).pipe(Effect.provide(SocksClient.layer)))
})
