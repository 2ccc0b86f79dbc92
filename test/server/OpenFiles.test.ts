import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { connectionsWithin, lastForClients, openFilesLimit } from "../../src/server/OpenFiles.ts"
import * as Cli from "../support/Cli.ts"
import * as Program from "../support/Program.ts"
import { connect, G0, hex } from "../support/RawClient.ts"

/** Runs under this limit of open files, the hard one too: Node raises the soft one to it. */
const limitedTo = (openFiles: number) =>
  ["sh", "-c", `ulimit -n ${openFiles}; exec "$@"`, "sh", process.execPath] as const

describe("connectionsWithin", () => {
  it.each([
    [20_000, 9910],
    [1_048_576, 521_639],
    [65_536, 32_565],
    [1024, 469],
    // From here on half of them is kept free.
    [160, 39],
    [64, 15],
    [8, 1],
    [1, 1],
    [0, 1]
  ])("%d open files have room for %d connections", (openFiles, connections) => {
    assert.strictEqual(connectionsWithin(openFiles), connections)
  })
})

describe("lastForClients", () => {
  it.each([[20_000, 19_935], [1024, 959], [512, 447], [64, 55], [8, 6]])(
    "of %d open files the last for a client is %d",
    (openFiles, last) => {
      assert.strictEqual(lastForClients(openFiles), last)
    }
  )
})

describe("serve without --max-connections", () => {
  it.live("reads the limit of its own process", () =>
    Effect.gen(function*() {
      // A child has the same one.
      const { stdout } = yield* Program.run("sh", ["-c", "ulimit -n"])
      const expected = stdout.trim() === "unlimited" ? Infinity : Number(stdout)
      assert.strictEqual(yield* openFilesLimit, Math.min(expected, 1_048_576))
    }))

  it.live("on 64 open files it holds 15 connections, and takes another one for each that leaves", () =>
    Effect.gen(function*() {
      const { port } = yield* Cli.serve({
        args: ["--handshake-timeout", "1m"],
        program: [...limitedTo(64), Cli.path]
      })
      /** Whether it was let in: then the greeting is answered. */
      const admitted = Effect.fnUntraced(function*() {
        const client = yield* connect(port)
        yield* client.send(G0)
        const answer = yield* Effect.option(client.read(2))
        if (answer._tag === "None") return undefined
        assert.deepStrictEqual(answer.value, hex("05 00"))
        return client
      })
      const held = yield* Effect.forEach(Array.from({ length: 15 }), admitted)
      assert.strictEqual(held.filter((client) => client !== undefined).length, 15)
      for (let i = 0; i < 3; i++) assert.isUndefined(yield* admitted(), "the 16th is closed")
      yield* held[0]?.reset ?? Effect.void
      const retried = yield* Effect.repeat(admitted(), {
        until: (client) => client !== undefined,
        schedule: Schedule.max([Schedule.spaced(10), Schedule.recurs(500)])
      })
      assert.isDefined(retried, "there is room for one more")
      assert.isUndefined(yield* admitted(), "and no more than one")
    }))
})
