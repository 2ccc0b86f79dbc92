import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { createHash, randomBytes } from "node:crypto"
import * as Program from "../support/Program.ts"
import { closedPort, target } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

/** `-N`: the end of standard input half-closes the connection. */
const nc = (proxy: number, host: string, port: number, stdin?: Program.RunOptions["stdin"]) =>
  Program.run(
    "nc",
    ["-N", "-w", "20", "-X", "5", "-x", `127.0.0.1:${proxy}`, host, String(port)],
    stdin === undefined ? {} : { stdin }
  )

layer(Fixture.layer, { excludeTestServices: true })("nc -X 5", (it) => {
  it.effect("half-closes after 4 MiB, and gets the answer that comes after", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const origin = yield* target((socket) => {
        const seen = createHash("sha256")
        socket.on("data", (data) => seen.update(data))
        socket.on("end", () => socket.end(seen.digest("hex")))
      })
      const bytes = randomBytes(4 * 1024 * 1024)
      const ended = yield* nc(open.port, "127.0.0.1", origin.port, Stream.make(bytes))
      const hash = createHash("sha256").update(bytes).digest("hex")
      assert.deepStrictEqual(ended, { code: 0, stdout: hash, stderr: "" })
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=127.0.0.1:${origin.port} `)
      assert.include(line, ` up=${bytes.length} down=${hash.length} `)
      assert.include(line, " reason=done")
    }))

  it.effect("goes on sending after the origin has half-closed", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const heard = yield* Deferred.make<string>()
      const originEnded = yield* Deferred.make<void>()
      const origin = yield* target((socket) => {
        let text = ""
        socket.on("data", (data) => {
          text += data.toString()
        })
        socket.on("end", () => Deferred.doneUnsafe(heard, Effect.succeed(text)))
        socket.end("that is all", () => Deferred.doneUnsafe(originEnded, Effect.void))
      })
      // The origin's end of stream needs time to get to nc; whether it does or not, no byte may be lost.
      const late = Effect.as(
        Effect.andThen(Deferred.await(originEnded), Effect.sleep(100)),
        Buffer.from("one more thing")
      )
      const ended = yield* nc(open.port, name, origin.port, Stream.fromEffect(late))
      assert.deepStrictEqual(ended, { code: 0, stdout: "that is all", stderr: "" })
      assert.strictEqual(yield* Deferred.await(heard), "one more thing")
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin.port} address=127.0.0.1:${origin.port} `)
      assert.include(line, " up=14 down=11 ")
    }))

  it.effect("is told why not", () =>
    Effect.gen(function*() {
      const { guarded, open } = yield* Fixture
      const nobody = yield* closedPort
      const refused = yield* nc(open.port, "127.0.0.1", nobody)
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /SOCKSv5 error: Connection refused/)
      const unknown = yield* nc(open.port, "nowhere.test", nobody)
      assert.strictEqual(unknown.code, 1)
      assert.match(unknown.stderr, /SOCKSv5 error: Host unreachable/)
      // It knows no passwords.
      const stranger = yield* nc(guarded.port, "127.0.0.1", nobody)
      assert.strictEqual(stranger.code, 1)
      assert.match(stranger.stderr, /authentication method negotiation failed/)
    }))
})
