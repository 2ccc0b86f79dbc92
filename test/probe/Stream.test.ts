import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "../../src/probe/Stream.ts"
import { type Faults, here, probing, socks5 } from "./Hostile.ts"

const halfClose = Effect.fnUntraced(function*(faults: Faults) {
  const given = yield* probing(yield* socks5(faults))
  const { detail, verdict } = yield* Stream.halfClose(given, given.targets, here)
  return `${verdict}: ${detail}`
})

describe("half-close", () => {
  it.live("is kept by a proxy without faults", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* halfClose({}), "ok: kept: the answer comes after the client's end")
    }))

  it.live("tells bytes that were added or changed from bytes that were lost", () =>
    Effect.gen(function*() {
      const twice = yield* halfClose({ change: (bytes) => Buffer.concat([bytes, bytes]) })
      assert.strictEqual(twice, "fail: 56 bytes came back where 28 were sent")
      const other = yield* halfClose({ change: (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)) })
      assert.strictEqual(other, "fail: other bytes came back than were sent")
      const fewer = yield* halfClose({ change: (bytes) => bytes.subarray(1) })
      assert.strictEqual(fewer, "fail: the target's answer is lost: 27 of 28 bytes came")
    }))

  it.live("ends at once with a proxy that floods", () =>
    Effect.gen(function*() {
      const portion = Buffer.alloc(65_536)
      const flood = yield* halfClose({
        ended: (client) => {
          const more = (): void => {
            while (client.writable && client.write(portion));
          }
          client.on("drain", more)
          more()
        }
      })
      assert.strictEqual(flood, "fail: more than 16384 bytes came back where 28 were sent")
    }))
})
