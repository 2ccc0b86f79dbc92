import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Writable } from "node:stream"
import * as SharedOutput from "../../src/cli/SharedOutput.ts"

/** A stream that takes one write in each turn of the event loop, and notes what it was given at once. */
const recorder = () => {
  const writes: Array<string> = []
  const note = (text: string, done: () => void) => {
    writes.push(text)
    setImmediate(done)
  }
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => note(chunk.toString(), done),
    writev: (chunks, done) => note(chunks.map(({ chunk }) => String(chunk)).join(""), done)
  })
  return { stream, writes }
}

describe("SharedOutput", () => {
  it.live("writes whole lines, at most 4,096 bytes at once, in order, and the rest when it closes", () =>
    Effect.gen(function*() {
      const { stream, writes } = recorder()
      const lines = Array.from({ length: 2000 }, (_, index) => `${index} ${"é".repeat(index % 90)}\n`)
      yield* Effect.scoped(Effect.gen(function*() {
        const shared = yield* SharedOutput.make(stream)
        for (let i = 0; i < lines.length; i += 400) shared.write(lines.slice(i, i + 400).join(""))
      }))
      assert.strictEqual(writes.join(""), lines.join(""))
      assert.isAbove(writes.length, 20)
      for (const write of writes) {
        assert.isAtMost(Buffer.byteLength(write), 4096)
        assert.isTrue(write.endsWith("\n"))
      }
    }))

  it.live("writes a longer line by itself", () =>
    Effect.gen(function*() {
      const { stream, writes } = recorder()
      const lines = ["a\n", `${"b".repeat(5000)}\n`, "c\n", "d\n", `${"e".repeat(4095)}\n`, "f\n"]
      yield* Effect.scoped(
        Effect.map(SharedOutput.make(stream), (shared) => shared.write(lines.join("")))
      )
      assert.deepStrictEqual(writes, [lines[0], lines[1], "c\nd\n", lines[4], "f\n"])
    }))

  it.live("goes on when the stream fails", () =>
    Effect.gen(function*() {
      const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error("EPIPE")) })
      const shared = yield* SharedOutput.make(stream)
      for (let i = 0; i < 3; i++) {
        const error = yield* Effect.callback<unknown>((resume) => {
          shared.write("line\n", (error) => resume(Effect.succeed(error ?? undefined)))
        })
        assert.isUndefined(error)
      }
    }))
})
