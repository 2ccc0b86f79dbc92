import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { existsSync } from "node:fs"
import { join } from "node:path"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { C4, connect, G0, hex, probe, type RawClient, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import * as UnixClient from "../support/UnixClient.ts"

const asks = Effect.fnUntraced(function*(client: RawClient, port: number) {
  yield* client.send(G0, C4(port))
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  assert.strictEqual((yield* readReply(client))[1], 0)
  yield* client.send("ping")
  assert.strictEqual((yield* client.read(4)).toString(), "ping")
})

const setup = Effect.gen(function*() {
  const directory = yield* Certificates.directory
  const pair = yield* Certificates.make(directory, "server", "server")
  const path = join(directory, "sluice.sock")
  return { pair, path, query: `cert=${pair.cert}&key=${pair.key}` }
})

describe("sluice serve --listen", () => {
  it.live("tls://… unix:… serves there, and logs strangers sparingly", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { pair, path, query } = yield* setup
      const proxy = yield* Cli.serve({
        args: ["--listen", `tls://localhost:0?${query}`, "--listen", `unix:${path}`, "--listen", "127.0.0.1:0"]
      })
      const [tlsPort = 0, , tcpPort = 0] = proxy.ports
      assert.strictEqual(
        proxy.stdout(),
        `listening on tls://127.0.0.1:${tlsPort}\nlistening on unix:${path}\nlistening on socks5://127.0.0.1:${tcpPort}\n`
      )
      yield* Effect.scoped(Effect.flatMap(Certificates.connect(tlsPort, pair), (client) => asks(client, target.port)))
      yield* Effect.scoped(Effect.flatMap(UnixClient.connect(path), (client) => asks(client, target.port)))
      assert.isTrue(yield* probe(tcpPort, target.port))
      assert.include(yield* proxy.takeLine(/client=unix:/), ` client=unix:${path} protocol=socks5 `)

      for (let count = 0; count < 5; count++) {
        const stranger = yield* connect(tlsPort)
        yield* stranger.send("GET / HTTP/1.1\r\n\r\n")
        yield* Effect.exit(stranger.readToEnd)
      }
      yield* Effect.scoped(Effect.flatMap(Certificates.connect(tlsPort, pair), (client) => asks(client, target.port)))
      assert.strictEqual(yield* proxy.stop, 0)
      const complaints = proxy.stderr().match(/reason="no TLS: [^"]*"/g) ?? []
      assert.strictEqual(complaints.length, 1)
      assert.match(complaints[0] ?? "", /client connection failed \(ERR_SSL_HTTP_REQUEST\)/)
      assert.isFalse(existsSync(path))
    }))

  it.live("the same with workers, also after all of them were replaced", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { pair, path, query } = yield* setup
      const proxy = yield* Cli.serve({
        args: [
          "--workers",
          "2",
          "--listen",
          `unix:${path}`,
          "--listen",
          `tls://127.0.0.1:0?${query}`,
          "--listen",
          "127.0.0.1:0"
        ]
      })
      const [, tlsPort = 0, tcpPort = 0] = proxy.ports
      const serves = Effect.gen(function*() {
        for (let count = 0; count < 4; count++) {
          yield* Effect.scoped(
            Effect.flatMap(Certificates.connect(tlsPort, pair), (client) => asks(client, target.port))
          )
          yield* Effect.scoped(Effect.flatMap(UnixClient.connect(path), (client) => asks(client, target.port)))
          assert.isTrue(yield* probe(tcpPort, target.port))
        }
      })
      yield* serves
      yield* proxy.signal("SIGHUP")
      yield* proxy.takeLine(/msg=restarted/)
      yield* serves
      const workers = new Set([...proxy.stderr().matchAll(/client=unix:.* worker=(\d+)/g)].map(([, worker]) => worker))
      assert.isAbove(workers.size, 1)
      assert.strictEqual(yield* proxy.stop, 0)
      assert.isTrue(yield* within(Effect.sync(() => !existsSync(path))))
    }))

  it.live("says in one line what is wrong", () =>
    Effect.gen(function*() {
      const { pair, path } = yield* setup
      yield* Cli.serve({ args: ["--listen", `unix:${path}`] })
      const inUse = `unix:${path} is in use; stop what holds it or choose another path`
      const cases: ReadonlyArray<readonly [args: ReadonlyArray<string>, code: number, complaint: string]> = [
        [["--listen", `unix:${path}`], 1, inUse],
        [["--listen", `unix:${path}`, "--workers", "2"], 1, inUse],
        [
          ["--listen", `tls://127.0.0.1:0?cert=/none&key=${pair.key}`, "--workers", "2"],
          2,
          "tls://127.0.0.1:0: cert /none: no such file; correct the path"
        ],
        [["--listen", "tls://127.0.0.1:1"], 2, "\"tls://127.0.0.1:1\" has no certificate; add cert=FILE"]
      ]
      for (const [args, code, complaint] of cases) {
        assert.deepStrictEqual(yield* Cli.run(["serve", ...args]), {
          code,
          stdout: "",
          stderr: `sluice: --listen: ${complaint}\n`
        })
      }
      assert.isTrue(existsSync(path))
    }))
})
