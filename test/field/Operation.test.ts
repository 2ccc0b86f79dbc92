/** Field reports on running the program: A39. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { C4, connect, connectThrough, G0, hex, probe, type RawClient } from "../support/RawClient.ts"
import { echo, stalled } from "../support/Targets.ts"

/** The program with 5 idle tunnels, one half handshake and one connect that neither succeeds nor fails. */
const busy = Effect.fnUntraced(function*(drainTimeout: string, connectTimeout = "1m") {
  const cli = yield* Cli.serve({ args: ["--drain-timeout", drainTimeout, "--connect-timeout", connectTimeout] })
  const origin = yield* echo()
  const full = yield* stalled
  assert.isTrue(yield* probe(cli.port, origin.port))
  const tunnels = yield* Effect.forEach(Array.from({ length: 5 }), () => connectThrough(cli.port, origin.port))
  for (const tunnel of tunnels) assert.isTrue(yield* echoes(tunnel))
  const handshake = yield* connect(cli.port)
  yield* handshake.send(G0, hex("05 01 00"))
  assert.deepStrictEqual(yield* handshake.read(2), hex("05 00"))
  const pending = yield* connect(cli.port)
  yield* pending.send(G0, C4(full))
  assert.deepStrictEqual(yield* pending.read(2), hex("05 00"))
  return { ...cli, origin, tunnels, handshake, pending }
})

const echoes = Effect.fnUntraced(function*(client: RawClient) {
  yield* client.send("hello")
  return (yield* client.read(5)).toString() === "hello"
})

/** Whether a new connection is refused by the system: nobody listens. */
const refuses = (port: number) =>
  connect(port).pipe(
    Effect.scoped,
    Effect.as(false),
    Effect.catchTag("ClientError", ({ code }) => Effect.succeed(code === "ECONNREFUSED"))
  )

const isOver = ({ exitCode }: Cli.Cli) => Effect.map(Effect.timeoutOption(exitCode, 0), Option.isSome)

describe("shutdown", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.live(`A39 ${signal} closes the listener at once, and ends the program within the drain limit`, () =>
      Effect.gen(function*() {
        const proxy = yield* busy("2s")
        const started = yield* Clock.currentTimeMillis
        yield* proxy.signal(signal)
        assert.isTrue(yield* within(refuses(proxy.port)))
        // What is running goes on meanwhile.
        for (const tunnel of proxy.tunnels) assert.isTrue(yield* echoes(tunnel))
        assert.isFalse(yield* isOver(proxy))

        // No later than the limit; what is added is for starting and noticing the end of a process on a busy machine.
        const code = yield* Effect.timeoutOption(proxy.exitCode, "5 seconds")
        assert.deepStrictEqual(code, Option.some(0))
        assert.isAtLeast((yield* Clock.currentTimeMillis) - started, 2000 - 50)

        const clients = [...proxy.tunnels, proxy.handshake, proxy.pending]
        // A cut transfer must not look like a finished one.
        for (const tunnel of proxy.tunnels) {
          assert.strictEqual((yield* Effect.flip(tunnel.readToEnd)).code, "ECONNRESET")
        }
        for (const client of [proxy.handshake, proxy.pending]) {
          assert.strictEqual((yield* client.readToEnd).length, 0)
        }
        assert.isTrue(yield* within(Effect.sync(() => proxy.origin.open.size === 0)))
        const ends = proxy.stderr().split("\n").filter((line) => line.includes("connection ended"))
        assert.strictEqual(ends.filter((line) => line.includes("reason=\"server stopped\"")).length, clients.length)
        assert.notMatch(proxy.stderr(), /uncaught|unhandled|level=(error|fatal)/i)
        assert.isTrue(yield* probe((yield* Cli.serve()).port, proxy.origin.port))
      }))
  }

  it.live("A39 the program ends as soon as the last connection has, long before the limit", () =>
    Effect.gen(function*() {
      const proxy = yield* busy("1h", "2s")
      yield* proxy.signal("SIGTERM")
      assert.isTrue(yield* within(refuses(proxy.port)))
      for (const tunnel of proxy.tunnels) {
        assert.isTrue(yield* echoes(tunnel))
        yield* tunnel.end
        assert.strictEqual((yield* tunnel.readToEnd).length, 0)
      }
      yield* proxy.handshake.end
      // The connect is given its time, and its client the answer.
      assert.deepStrictEqual(yield* proxy.pending.readToEnd, hex("05 04 00 01 00000000 0000"))
      yield* proxy.pending.end
      const code = yield* Effect.timeoutOption(proxy.exitCode, "5 seconds")
      assert.deepStrictEqual(code, Option.some(0))
      assert.isTrue(yield* probe((yield* Cli.serve()).port, proxy.origin.port))
    }))

  it.live("A39 a second signal ends the program at once, whatever is open", () =>
    Effect.gen(function*() {
      const proxy = yield* busy("1h")
      yield* proxy.signal("SIGTERM")
      assert.isTrue(yield* within(refuses(proxy.port)))
      assert.isFalse(yield* isOver(proxy))
      // At once, it would be taken for the echo of the first.
      yield* Effect.sleep("100 millis")
      yield* proxy.signal("SIGTERM")
      const code = yield* Effect.timeoutOption(proxy.exitCode, "5 seconds")
      assert.deepStrictEqual(code, Option.some(128 + 15))
      assert.isTrue(yield* probe((yield* Cli.serve()).port, proxy.origin.port))
    }))
})
