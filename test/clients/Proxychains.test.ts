import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { greeting } from "../support/HttpOrigin.ts"
import * as Program from "../support/Program.ts"
import { closedPort, echo } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

interface Chain {
  readonly port: number
  readonly login?: string
  /** Names go to the proxy; else the program that runs looks them up. */
  readonly proxyDns?: boolean
}

/** A configuration file. It names no `localnet`, so that loopback goes through the proxy as well. */
const configuration = ({ login = "", port, proxyDns = false }: Chain) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-proxychains-"))
      const lines = [
        "strict_chain",
        ...proxyDns ? ["proxy_dns"] : [],
        "remote_dns_subnet 224",
        "tcp_read_time_out 15000",
        "tcp_connect_time_out 15000",
        "[ProxyList]",
        `socks5 127.0.0.1 ${port} ${login}`
      ]
      Fs.writeFileSync(Path.join(folder, "proxychains.conf"), `${lines.join("\n")}\n`)
      return folder
    }),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  )

/** Runs a command whose connections go through the proxy. */
const proxychains = Effect.fnUntraced(function*(
  chain: Chain,
  command: ReadonlyArray<string>,
  options?: Program.RunOptions
) {
  const folder = yield* configuration(chain)
  return yield* Program.run("proxychains4", ["-q", "-f", Path.join(folder, "proxychains.conf"), ...command], options)
})

const curl = ["curl", "-q", "-sS", "--max-time", "25"]

const fetched = { code: 0, stdout: greeting, stderr: "" }

layer(Fixture.layer, { excludeTestServices: true })("proxychains4", (it) => {
  it.effect("takes curl to a loopback address", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* proxychains({ port: open.port }, [...curl, `http://127.0.0.1:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=127.0.0.1:${origin} address=127.0.0.1:${origin} reply=0 `)
    }))

  it.effect("with proxy_dns has the proxy resolve the name", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* proxychains({ port: open.port, proxyDns: true }, [...curl, `http://${name}:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
    }))

  it.effect("without proxy_dns sends the address that the machine knows for the name", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* proxychains({ port: open.port }, [...curl, "-4", `http://localhost:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      assert.include(yield* open.takeLine(/connection ended/), ` destination=127.0.0.1:${origin} `)
    }))

  it.effect("logs in, and not with a wrong password", () =>
    Effect.gen(function*() {
      const { guarded, origin } = yield* Fixture
      const url = `http://127.0.0.1:${origin}/`
      const right = yield* proxychains({ port: guarded.port, login: "ann sesame" }, [...curl, url])
      assert.deepStrictEqual(right, fetched)
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann .* reply=0 /)
      const wrong = yield* proxychains({ port: guarded.port, login: "ann opensesame" }, [...curl, url])
      assert.notStrictEqual(wrong.code, 0)
      assert.strictEqual(wrong.stdout, "")
      assert.notMatch(yield* guarded.takeLine(/connection ended/), / reply=|opensesame/)
    }))

  it.effect("takes nc to an echo and back", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const origin = yield* echo()
      const command = ["nc", "-N", "-w", "20", "127.0.0.1", String(origin.port)]
      const stdin = Stream.make(Buffer.from("up and down\n"))
      const ended = yield* proxychains({ port: open.port }, command, { stdin })
      assert.deepStrictEqual(ended, { code: 0, stdout: "up and down\n", stderr: "" })
      assert.include(yield* open.takeLine(/connection ended/), " up=12 down=12 ")
    }))

  it.effect("tells the program that nobody listens", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const nobody = yield* closedPort
      const ended = yield* proxychains({ port: open.port }, [...curl, `http://127.0.0.1:${nobody}/`])
      // curl: "Failed to connect to host".
      assert.strictEqual(ended.code, 7)
      assert.match(ended.stderr, /Connection refused|Couldn't connect|Failed to connect/)
      assert.match(yield* open.takeLine(/connection ended/), / reply=5 /)
    }))
})
