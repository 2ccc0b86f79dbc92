/** UDP ASSOCIATE, BIND and RESOLVE by proxies that do not serve them, or not as they should. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Net from "node:net"
import * as Bind from "../../src/probe/Bind.ts"
import * as Resolve from "../../src/probe/Resolve.ts"
import * as Udp from "../../src/probe/Udp.ts"
import { proxy } from "../support/Proxy.ts"
import { hex, port16 } from "../support/RawClient.ts"
import { udp } from "../support/Udp.ts"
import { type Faults, probing, socks5 } from "./Hostile.ts"

/** What is found of UDP ASSOCIATE, its fragments, BIND and RESOLVE. */
const commands = Effect.fnUntraced(function*(asked: Faults["asked"], timeout = Duration.seconds(1)) {
  const given = yield* probing(yield* socks5(asked === undefined ? {} : { asked }), { timeout })
  const found = [...yield* Udp.check(given), yield* Bind.check(given), yield* Resolve.check(given)]
  return {
    found: found.map(({ detail, verdict }) => `${verdict}: ${detail}`),
    advice: found.map(({ advice }) => advice)
  }
})

const replies = (code: number) => (_: Buffer, client: Net.Socket): void =>
  void client.end(Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))

/** Takes every command for one that opens a port. */
const listens = (_: Buffer, client: Net.Socket): void => void client.end(hex("05 00 00 01 7f000001 0050"))

describe("commands of SOCKS5", () => {
  it.live("are not served by whoever says so, closes, or is silent", () =>
    Effect.gen(function*() {
      const closes = yield* commands(undefined)
      const silent = yield* commands(() => {}, Duration.millis(300))
      for (
        const [{ advice, found }, why] of [
          [yield* commands(replies(7)), "reply 07 (command not supported)"],
          [yield* commands(replies(0x10)), "reply 10 (unassigned)"],
          [closes, "the proxy closed the connection"],
          [silent, "no answer in time"]
        ] as const
      ) {
        assert.deepStrictEqual(found, [
          `warn: not served: ${why}`,
          "skipped: no datagram comes back",
          `warn: not served: ${why}`,
          `skipped: not served: ${why}`
        ])
        assert.deepStrictEqual(advice, [
          "no DNS, QUIC or games through it",
          undefined,
          "no active FTP through it; hardly anything else asks for it",
          undefined
        ])
      }
    }))

  it.live("are all served by Sluice, which joins fragments if it is told to", () =>
    Effect.gen(function*() {
      for (const [udpFragments, word] of [[false, "dropped, as the RFC allows"], [true, "joined"]] as const) {
        const { port } = yield* proxy({ udpFragments })
        const given = yield* probing(`socks5h://127.0.0.1:${port}`)
        const found = [...yield* Udp.check(given), yield* Resolve.check(given), yield* Bind.check(given)]
        assert.deepStrictEqual(found.map(({ verdict }) => verdict), ["ok", "ok", "ok", "ok"])
        assert.deepStrictEqual(found.map(({ detail }) => detail).slice(1, 3), [word, "localhost is 127.0.0.1"])
        const socks4 = yield* Bind.check(yield* probing(`socks4://127.0.0.1:${port}`))
        assert.match(socks4.detail, /^a peer came in by 127\.0\.0\.1:\d+$/)
      }
    }))

  it.live("tells when fragments go on as if each were a datagram", () =>
    Effect.gen(function*() {
      let client = 0
      const relay = yield* udp("127.0.0.1", ({ bytes, port }) => {
        client = port
        outside.socket.send(bytes.subarray(10), bytes.readUInt16BE(8), "127.0.0.1")
      })
      const outside = yield* udp("127.0.0.1", ({ bytes, port }) => {
        relay.socket.send(Buffer.concat([hex("00 00 00 01 7f000001"), port16(port), bytes]), client, "127.0.0.1")
      })
      const { found } = yield* commands((_, client) => {
        client.write(Buffer.concat([hex("05 00 00 01 7f000001"), port16(relay.port)]))
      })
      assert.strictEqual(found[0], `ok: there and back by 127.0.0.1:${relay.port}`)
      assert.strictEqual(found[1], "warn: each is passed on as a whole datagram")
    }))

  it.live("tells when RESOLVE is granted with no address of the name", () =>
    Effect.gen(function*() {
      for (const asked of [replies(0), listens]) {
        const { found } = yield* commands(asked)
        assert.strictEqual(found[3], "warn: granted, but with no address of localhost")
      }
    }))
})
