import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { createHash, randomBytes } from "node:crypto"
import * as Program from "../support/Program.ts"
import { closedPort, target } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

/** `-t`: how long it waits for the other side once standard input has ended, which half-closes the connection. */
const socat = (address: string, proxy: number, stdin?: Program.RunOptions["stdin"]) =>
  Program.run(
    "socat",
    ["-t", "20", "-", `${address},socksport=${proxy},socksuser=id`],
    stdin === undefined ? {} : { stdin }
  )

/** Answers with the hash of what it was sent, once that has ended. */
const hasher = target((socket) => {
  const seen = createHash("sha256")
  socket.on("data", (data) => seen.update(data))
  socket.on("end", () => socket.end(seen.digest("hex")))
})

layer(Fixture.layer, { excludeTestServices: true })("socat", (it) => {
  it.effect.each([
    ["SOCKS4", "127.0.0.1"],
    ["SOCKS4A", name]
  ])("%s sends 4 MiB, half-closes, and gets the answer that comes after", ([type, host]) =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const { port } = yield* hasher
      const bytes = randomBytes(4 * 1024 * 1024)
      const ended = yield* socat(`${type}:127.0.0.1:${host}:${port}`, open.port, Stream.make(bytes))
      const hash = createHash("sha256").update(bytes).digest("hex")
      assert.deepStrictEqual(ended, { code: 0, stdout: hash, stderr: "" })
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, " protocol=socks4 ")
      assert.include(line, ` destination=${host}:${port} address=127.0.0.1:${port} reply=0 `)
      assert.include(line, ` up=${bytes.length} down=${hash.length} `)
      assert.include(line, " reason=done")
    }))

  it.effect("is told that the request is refused", () =>
    Effect.gen(function*() {
      const { guarded, open } = yield* Fixture
      const nobody = yield* closedPort
      for (const proxy of [open, guarded]) {
        const ended = yield* socat(`SOCKS4A:127.0.0.1:localhost:${nobody}`, proxy.port)
        assert.strictEqual(ended.code, 1)
        assert.match(ended.stderr, /socks: connect request rejected or failed/)
      }
      assert.match(yield* open.takeLine(/connection ended/), / reply=5 /)
      assert.match(yield* guarded.takeLine(/connection ended/), / user=id .* reply=2 /)
    }))
})
