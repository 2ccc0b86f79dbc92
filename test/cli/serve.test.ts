import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Cli from "../support/Cli.ts"
import * as ProcessInfo from "../support/ProcessInfo.ts"
import { AU, C4, CD, connect, connectThrough, G0, G2, hex, probe, refusesConnections } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const canary = "S3cr3t-canary"

describe("sluice serve", () => {
  it.live("names its listeners on stdout, serves, and logs on stderr", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const proxy = yield* Cli.serve({ args: ["--listen", "127.0.0.1:0", "--listen", "[::1]:0"] })
      assert.match(
        proxy.stdout(),
        /^listening on socks5:\/\/127\.0\.0\.1:[1-9]\d*\nlistening on socks5:\/\/\[::1\]:[1-9]\d*\n$/
      )
      assert.isTrue(yield* probe(proxy.port, target.port))
      const line = yield* proxy.takeLine(/connection ended/)
      assert.match(line, /^time=\S+ level=info msg="connection ended" id=1 client=127\.0\.0\.1:\d+ protocol=socks5 /)
      assert.include(line, ` destination=127.0.0.1:${target.port} address=127.0.0.1:${target.port} reply=0 `)
      assert.include(line, " up=4 down=4 ")
      assert.strictEqual(yield* proxy.stop, 0)
      assert.match(proxy.stderr(), /msg=stopped\n$/)
    }))

  it.live("takes its settings from the environment", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const proxy = yield* Cli.serve({ env: { SLUICE_USER: "alice:a bob:b", SLUICE_LOG_FORMAT: "json" } })
      assert.isTrue(yield* probe(proxy.port, target.port, AU("bob", "b")))
      const event = JSON.parse(yield* proxy.takeLine(/connection ended/))
      assert.deepInclude(event, { user: "bob", up: 4, down: 4, reply: 0, status: "succeeded" })
    }))

  it.live("says what holds a port", () =>
    Effect.gen(function*() {
      const { port } = yield* echo()
      assert.deepStrictEqual(yield* Cli.run(["serve", "--listen", `127.0.0.1:${port}`]), {
        code: 1,
        stdout: "",
        stderr: `sluice: --listen: 127.0.0.1:${port} is in use; stop what holds it or choose another port\n`
      })
    }))

  it.live("says where a users file is wrong, and never what stands there", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempFileScoped()
      yield* fs.writeFileString(path, `# users\nalice:${canary}\n`)
      const { code, stderr, stdout } = yield* Cli.run(["serve", "--listen", "127.0.0.1:0", "--users", path])
      assert.deepStrictEqual([code, stdout], [2, ""])
      assert.strictEqual(
        stderr,
        `sluice: --users: ${path}:2: password of "alice" is not hashed; run: sluice hash\n`
      )
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.live("listens beyond this machine when it is meant, or guarded", () =>
    Effect.gen(function*() {
      const open = yield* Cli.serve({ args: ["--listen", "0.0.0.0:0", "--open-proxy"] })
      assert.match(open.stdout(), /^listening on socks5:\/\/0\.0\.0\.0:\d+\n$/)
      const guarded = yield* Cli.serve({ args: ["--listen", "0.0.0.0:0", "--user", "alice:a"] })
      const client = yield* connect(guarded.port)
      yield* client.send(G0)
      assert.deepStrictEqual(yield* client.read(2), hex("05 ff"))
    }))

  describe("at the end", () => {
    it.live.each(["SIGTERM", "SIGINT"] as const)(
      "%s: refuses clients at once, and waits for those it has",
      (signal) =>
        Effect.gen(function*() {
          const target = yield* echo()
          const proxy = yield* Cli.serve({ env: { SLUICE_DRAIN_TIMEOUT: "30s" } })
          const client = yield* connectThrough(proxy.port, target.port)
          yield* proxy.signal(signal)
          const line = yield* proxy.takeLine(/stopping/)
          assert.include(line, `signal=${signal}`)
          assert.isTrue(yield* refusesConnections(proxy.port))
          yield* client.send("still here")
          assert.strictEqual((yield* client.read(10)).toString(), "still here")
          yield* client.end
          assert.strictEqual((yield* client.readToEnd).length, 0)
          assert.strictEqual(yield* proxy.exitCode, 0)
          assert.match(proxy.stderr(), /connection ended[^\n]* up=10 down=10 [^\n]*\n[^\n]*msg=stopped\n$/)
        })
    )

    it.live.each(["SIGHUP", "SIGUSR1"] as const)(
      "ignores %s, and opens no debugger",
      (signal) =>
        Effect.gen(function*() {
          const target = yield* echo()
          const proxy = yield* Cli.serve()
          const client = yield* connectThrough(proxy.port, target.port)
          yield* proxy.signal(signal)
          const line = yield* proxy.takeLine(/signal ignored/)
          assert.include(line, `signal=${signal}`)
          yield* client.send("still here")
          assert.strictEqual((yield* client.read(10)).toString(), "still here")
          assert.notInclude(proxy.stderr(), "Debugger listening")
          assert.strictEqual(yield* ProcessInfo.listeners(proxy.pid), 1)
        })
    )

    it.live("waits no longer than --drain-timeout, and loses no log line", () =>
      Effect.gen(function*() {
        const target = yield* echo()
        const proxy = yield* Cli.serve({ args: ["--drain-timeout", "100ms"] })
        const clients = yield* Effect.forEach([1, 2, 3], () => connectThrough(proxy.port, target.port))
        assert.strictEqual(yield* proxy.stop, 0)
        assert.strictEqual(proxy.stderr().match(/connection ended/g)?.length, clients.length)
      }))

    it.live.each([["SIGTERM", 143], ["SIGINT", 130]] as const)(
      "a second signal, %s, ends it at once",
      ([signal, code]) =>
        Effect.gen(function*() {
          const target = yield* echo()
          const proxy = yield* Cli.serve({ env: { SLUICE_DRAIN_TIMEOUT: "1h" } })
          yield* connectThrough(proxy.port, target.port)
          yield* proxy.signal("SIGTERM")
          yield* proxy.takeLine(/stopping/)
          // At once, the same signal would be taken for the echo of the first.
          yield* Effect.sleep("100 millis")
          yield* proxy.signal(signal)
          assert.strictEqual(yield* proxy.exitCode, code)
        })
    )
  })

  it.live("A36: no output shows a password", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const proxy = yield* Cli.serve({ args: ["--user", `alice:${canary}`, "--log-level", "trace"] })
      assert.isTrue(yield* probe(proxy.port, target.port, AU("alice", canary)))
      const rejected = yield* connect(proxy.port)
      yield* rejected.send(G2, AU("mallory", canary))
      assert.deepStrictEqual((yield* rejected.readToEnd).subarray(0, 3), hex("05 02 01"))
      yield* proxy.takeLine(/connection ended.*alice/)
      yield* proxy.takeLine(/connection ended(?!.*alice)/)
      assert.strictEqual(yield* proxy.stop, 0)
      for (const encoding of ["utf8", "hex", "base64", "base64url"] as const) {
        assert.notInclude(proxy.stdout() + proxy.stderr(), Buffer.from(canary).toString(encoding))
      }
    }))

  it.live("A37: a name from the wire can't forge a line or steer a terminal", () =>
    Effect.gen(function*() {
      const proxy = yield* Cli.serve({ env: { SLUICE_USER: "alice:a", SLUICE_LOG_FORMAT: "pretty" } })
      const hostile = "a\u001b[2K\r\nOK user=root.test"
      const asName = yield* connect(proxy.port)
      yield* asName.send(G2, AU("alice", "a"), CD(hostile, 80))
      yield* asName.readToEnd
      const asUser = yield* connect(proxy.port)
      yield* asUser.send(G2, AU(hostile, "a"), C4(80))
      yield* asUser.readToEnd
      yield* proxy.takeLine(/connection ended/)
      yield* proxy.takeLine(/connection ended/)
      assert.strictEqual(yield* proxy.stop, 0)
      const lines = proxy.stderr().split("\n").slice(0, -1)
      assert.deepStrictEqual(lines.map((line) => /^\S+ INFO {2}(connection ended|stop)/.exec(line)?.[1]), [
        "connection ended",
        "connection ended",
        "stop",
        "stop"
      ])
      // oxlint-disable-next-line no-control-regex
      for (const line of lines) assert.notMatch(line, /[\u0000-\u001f\u007f-\u009f]/)
    }))
})
