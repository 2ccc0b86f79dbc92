import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/Cli.ts"
import { httpProxy } from "../support/HttpProxy.ts"
import { proxy } from "../support/Proxy.ts"
import { connectThrough } from "../support/RawClient.ts"
import { closedPort, target } from "../support/Targets.ts"
import { associated, U4, udpEcho } from "../support/Udp.ts"

describe("serve --upstream", () => {
  it.live("goes through a chain from the chosen address, and tells nobody a password", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const origin = yield* target((socket) => socket.pipe(socket))
      const [first, last] = yield* Effect.all([proxy(), proxy()])
      const cli = yield* Cli.serve({
        args: ["--egress", "127.0.0.7", "--log-level", "debug"],
        env: { SLUICE_UPSTREAM: `http://ann:S3cr3t@127.0.0.1:${first.port},socks5h://127.0.0.1:${last.port}` }
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connectThrough(cli.port, origin.port)
        yield* client.send("ping")
        assert.strictEqual((yield* client.read(4)).toString(), "ping")
        for (const { client } of yield* first.sessions.list) seen.push(client?.replace(/:\d+$/, ""))
      }))
      assert.deepStrictEqual(seen, ["127.0.0.7"])
      const line = yield* cli.takeLine(/connection ended/)
      assert.include(line, `address=127.0.0.1:${first.port}`)
      assert.include(line, `destination=127.0.0.1:${origin.port}`)
      assert.strictEqual(yield* cli.stop, 0)
      assert.notInclude(cli.stdout() + cli.stderr(), "S3cr3t")
      assert.strictEqual(last.records[0]?.destination, `127.0.0.1:${origin.port}`)
    }))

  it.live("takes datagrams through, and names the command in the log", () =>
    Effect.gen(function*() {
      const [inner, origin] = [yield* proxy(), yield* udpEcho()]
      const cli = yield* Cli.serve({ args: ["--upstream", `socks5h://127.0.0.1:${inner.port}`] })
      yield* Effect.scoped(Effect.gen(function*() {
        const { exchange } = yield* associated(cli.port)
        assert.deepStrictEqual((yield* exchange(U4(origin.port, "ping"))).bytes, U4(origin.port, "ping"))
      }))
      const line = yield* cli.takeLine(/connection ended/)
      assert.match(line, / command=associate address=127\.0\.0\.1:\d+ reply=0 /)
      assert.include(line, `address=127.0.0.1:${inner.port}`)
      assert.include(line, "datagrams_up=1 datagrams_down=1")
      assert.strictEqual(yield* cli.stop, 0)
    }))

  it.live("takes a comma in a password, written %2C", () =>
    Effect.gen(function*() {
      const origin = yield* target((socket) => socket.pipe(socket))
      const upstream = yield* httpProxy({ authorization: `Basic ${btoa("ann:a,b")}` })
      const cli = yield* Cli.serve({ env: { SLUICE_UPSTREAM: `http://ann:a%2Cb@127.0.0.1:${upstream.port}` } })
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connectThrough(cli.port, origin.port)
        yield* client.send("ping")
        assert.strictEqual((yield* client.read(4)).toString(), "ping")
      }))
      assert.strictEqual(yield* cli.stop, 0)
    }))

  it.live("is refused when it is the proxy itself", () =>
    Effect.gen(function*() {
      const port = yield* closedPort
      const ended = yield* Cli.run(["serve", "--listen", `127.0.0.1:${port}`, "--upstream", `http://localhost:${port}`])
      assert.strictEqual(ended.code, 2)
      assert.include(
        ended.stderr,
        `--upstream: localhost:${port} is where this proxy itself listens; give another one\n`
      )
    }))

  it.live("says which of several is no URL", () =>
    Effect.gen(function*() {
      const env = { SLUICE_UPSTREAM: "socks5h://127.0.0.1,http://ann:S3cr3t@b.test:0" }
      const ended = yield* Cli.run(["serve"], { env })
      assert.strictEqual(ended.code, 2)
      assert.match(ended.stderr, /SLUICE_UPSTREAM: number 2 of 2: the port is not a number from 1 to 65535\n$/)
      assert.notInclude(ended.stderr, "S3cr3t")
    }))

  it.live("is refused in one line without a password when it is no URL", () =>
    Effect.gen(function*() {
      const ended = yield* Cli.run(["serve", "--upstream", "ftp://ann:S3cr3t@127.0.0.1"])
      assert.strictEqual(ended.code, 2)
      assert.match(ended.stderr, /--upstream: not the URL of a proxy; give [^\n]+\n$/)
      assert.notInclude(ended.stderr, "S3cr3t")
    }))
})
