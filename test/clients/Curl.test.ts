import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createHash, randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { greeting, httpOrigin } from "../support/HttpOrigin.ts"
import * as Program from "../support/Program.ts"
import { closedPort } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

/** Without its configuration file. */
const curl = (args: ReadonlyArray<string>, env?: Program.RunOptions["env"]) =>
  Program.run("curl", ["-q", "-sS", "--max-time", "25", ...args], env === undefined ? {} : { env })

const fetched = { code: 0, stdout: greeting, stderr: "" }

/** curl: "Proxy handshake error". */
const proxyError = 97

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-curl-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const hashOf = (file: string) => createHash("sha256").update(Fs.readFileSync(file)).digest("hex")

layer(Fixture.layer, { excludeTestServices: true })("curl", (it) => {
  it.effect("--socks5 resolves the name itself", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["-4", "--socks5", `127.0.0.1:${open.port}`, `http://localhost:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=127.0.0.1:${origin} address=127.0.0.1:${origin} reply=0 `)
      assert.include(line, " reason=done")
    }))

  it.effect("--socks5-hostname has the proxy resolve localhost", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["--socks5-hostname", `127.0.0.1:${open.port}`, `http://localhost:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=localhost:${origin} address=127.0.0.1:${origin} reply=0 `)
    }))

  it.effect("--socks5-hostname has the proxy resolve a name that this machine does not know", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["--socks5-hostname", `127.0.0.1:${open.port}`, `http://${name}:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
    }))

  it.effect("reaches an IPv6 address", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const origin = yield* httpOrigin("::1")
      const ended = yield* curl(["--socks5", `127.0.0.1:${open.port}`, `http://[::1]:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      assert.include(yield* open.takeLine(/connection ended/), `:${origin} reply=0 `)
    }))

  it.effect("names the reply when nobody listens at the destination", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const nobody = yield* closedPort
      const ended = yield* curl(["--socks5", `127.0.0.1:${open.port}`, `http://127.0.0.1:${nobody}/`])
      assert.strictEqual(ended.code, proxyError)
      assert.match(ended.stderr, /Can't complete SOCKS5 connection to 127\.0\.0\.1\. \(5\)/)
      assert.match(yield* open.takeLine(/connection ended/), / reply=5 /)
    }))

  it.effect("names the reply when a name does not exist", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["--socks5-hostname", `127.0.0.1:${open.port}`, `http://nowhere.test:${origin}/`])
      assert.strictEqual(ended.code, proxyError)
      assert.match(ended.stderr, /Can't complete SOCKS5 connection to nowhere\.test\. \(4\)/)
      assert.match(yield* open.takeLine(/connection ended/), / destination=nowhere\.test:\d+ reply=4 /)
    }))

  it.effect("--socks4a has the proxy resolve the name, --socks4 does so itself", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["--socks4a", `127.0.0.1:${open.port}`, `http://${name}:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const named = yield* open.takeLine(/connection ended/)
      assert.include(named, " protocol=socks4 ")
      assert.include(named, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
      const itself = yield* curl(["-4", "--socks4", `127.0.0.1:${open.port}`, `http://localhost:${origin}/`])
      assert.deepStrictEqual(itself, fetched)
      assert.include(yield* open.takeLine(/connection ended/), ` destination=127.0.0.1:${origin} `)
    }))

  it.effect("--socks4a is refused where nobody listens, and where users have passwords", () =>
    Effect.gen(function*() {
      const { guarded, open, origin } = yield* Fixture
      const nobody = yield* closedPort
      const missing = yield* curl(["--socks4a", `127.0.0.1:${open.port}`, `http://localhost:${nobody}/`])
      assert.strictEqual(missing.code, proxyError)
      assert.match(missing.stderr, /Can't complete SOCKS4 connection .*\(91\), request rejected or failed/)
      assert.match(yield* open.takeLine(/connection ended/), / reply=5 /)
      const url = `http://127.0.0.1:${origin}/`
      const ann = yield* curl(["--socks4a", `127.0.0.1:${guarded.port}`, "--proxy-user", "ann:sesame", url])
      assert.strictEqual(ann.code, proxyError)
      const line = yield* guarded.takeLine(/connection ended/)
      assert.match(line, / user=ann .* reply=2 .* reason="authentication failed"/)
      assert.notMatch(line, /sesame/)
    }))

  it.effect("logs in, in all the ways to write a user", () =>
    Effect.gen(function*() {
      const { guarded, origin } = yield* Fixture
      const proxy = `127.0.0.1:${guarded.port}`
      const url = `http://${name}:${origin}/`
      assert.deepStrictEqual(yield* curl(["--socks5-hostname", proxy, "--proxy-user", "ann:sesame", url]), fetched)
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann /)
      assert.deepStrictEqual(yield* curl(["--socks5-hostname", `ann:sesame@${proxy}`, url]), fetched)
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann /)
      assert.deepStrictEqual(yield* curl([url], { ALL_PROXY: `socks5h://ann:sesame@${proxy}` }), fetched)
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann /)
      assert.deepStrictEqual(yield* curl(["--socks5-hostname", proxy, "--proxy-user", "bo b:p:ä%", url]), fetched)
      assert.match(yield* guarded.takeLine(/connection ended/), / user="bo b" /)
      assert.notMatch(guarded.stdout() + guarded.stderr(), /sesame|p:ä%/)
    }))

  it.effect("is told that its password is wrong, and that it needs one", () =>
    Effect.gen(function*() {
      const { guarded, origin } = yield* Fixture
      const url = `http://127.0.0.1:${origin}/`
      const wrong = yield* curl(["--socks5", `ann:opensesame@127.0.0.1:${guarded.port}`, url])
      assert.strictEqual(wrong.code, proxyError)
      assert.match(wrong.stderr, /User was rejected by the SOCKS5 server/)
      assert.notMatch(yield* guarded.takeLine(/connection ended/), / reply=|opensesame/)
      const none = yield* curl(["--socks5", `127.0.0.1:${guarded.port}`, url])
      assert.strictEqual(none.code, proxyError)
      assert.match(none.stderr, /No authentication method was acceptable/)
      assert.match(yield* guarded.takeLine(/connection ended/), / reason="no acceptable method/)
    }))

  it.effect("sends 64 MiB and gets them back at the same time, to the byte", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const folder = yield* temporaryFolder
      const [up, down] = [Path.join(folder, "up"), Path.join(folder, "down")]
      const size = 64 * 1024 * 1024
      Fs.writeFileSync(up, randomBytes(size))
      const url = `http://${name}:${origin}/`
      const ended = yield* curl(["--socks5-hostname", `127.0.0.1:${open.port}`, "-T", up, "-o", down, url])
      assert.deepStrictEqual(ended, { code: 0, stdout: "", stderr: "" })
      assert.strictEqual(Fs.statSync(down).size, size)
      assert.strictEqual(hashOf(down), hashOf(up))
      const [, sent, received] = / up=(\d+) down=(\d+) /.exec(yield* open.takeLine(/connection ended/)) ?? []
      assert.isAbove(Number(sent), size)
      assert.isAbove(Number(received), size)
    }))
})
