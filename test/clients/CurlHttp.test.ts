import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createHash, randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import * as NodeHttp from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import { greeting, httpOrigin, listen } from "../support/HttpOrigin.ts"
import * as Program from "../support/Program.ts"
import { closedPort } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

/** Without its configuration file. */
const curl = (args: ReadonlyArray<string>, env?: Program.RunOptions["env"]) =>
  Program.run("curl", ["-q", "-sS", "--max-time", "25", ...args], env === undefined ? {} : { env })

const fetched = { code: 0, stdout: greeting, stderr: "" }

/** curl: "couldn't receive data", which is what a tunnel that was refused is to it. */
const tunnelRefused = 56

/** How it is told apart: what the proxy answered, and what came through. */
const codes = ["-o", "/dev/null", "-w", "%{http_connect} %{response_code} %{num_connects}\n"]

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-curl-http-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const hashOf = (file: string) => createHash("sha256").update(Fs.readFileSync(file)).digest("hex")

layer(Fixture.layer, { excludeTestServices: true })("curl over HTTP", (it) => {
  it.effect("--proxy forwards a request for a URL", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["--proxy", `http://127.0.0.1:${open.port}`, `http://${name}:${origin}/`])
      assert.deepStrictEqual(ended, fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
      assert.include(line, " protocol=http ")
      assert.include(line, " reason=done")
    }))

  it.effect("http_proxy does so too, in HTTP/1.0 and with an upgrade that nobody takes", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      for (const how of ["--http1.0", "--http2"]) {
        const env = { http_proxy: `http://127.0.0.1:${open.port}` }
        assert.deepStrictEqual(yield* curl([how, `http://${name}:${origin}/`], env), fetched)
        assert.match(yield* open.takeLine(/connection ended/), / protocol=http .* reason=done/)
      }
    }))

  it.effect("-p makes a tunnel", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const proxied = ["-p", "--proxy", `http://127.0.0.1:${open.port}`]
      assert.deepStrictEqual(yield* curl([...proxied, `http://${name}:${origin}/`]), fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
      const ipv6 = yield* httpOrigin("::1")
      assert.deepStrictEqual(yield* curl([...proxied, `http://[::1]:${ipv6}/`]), fetched)
      assert.include(yield* open.takeLine(/connection ended/), `:${ipv6} reply=0 `)
    }))

  it.effect("keeps one connection for several URLs", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const other = yield* httpOrigin()
      const proxied = ["--proxy", `http://127.0.0.1:${open.port}`, "-w", "%{num_connects}\n"]
      const [one, two] = [`http://127.0.0.1:${origin}/`, `http://${name}:${other}/`]
      const ended = yield* curl([...proxied, one, two, one])
      assert.deepStrictEqual(ended, { code: 0, stderr: "", stdout: `${greeting}1\n${greeting}0\n${greeting}0\n` })
      yield* open.takeLine(/connection ended/)
    }))

  it.effect("--proxy-user logs in", () =>
    Effect.gen(function*() {
      const { guarded, origin } = yield* Fixture
      const proxied = ["--proxy", `http://127.0.0.1:${guarded.port}`, `http://${name}:${origin}/`]
      for (const tunnel of [[], ["-p"]]) {
        assert.deepStrictEqual(yield* curl([...tunnel, "--proxy-user", "ann:sesame", ...proxied]), fetched)
        assert.match(yield* guarded.takeLine(/connection ended/), / user=ann /)
        assert.deepStrictEqual(yield* curl([...tunnel, "--proxy-user", "bo b:p:ä%", ...proxied]), fetched)
        assert.match(yield* guarded.takeLine(/connection ended/), / user="bo b" /)
        // Asks first which schemes there are.
        const any = yield* curl([...tunnel, "--proxy-anyauth", "--proxy-user", "ann:sesame", ...proxied])
        assert.deepStrictEqual(any, fetched)
        assert.match(yield* guarded.takeLine(/connection ended/), / reason="no acceptable method/)
        assert.match(yield* guarded.takeLine(/connection ended/), / user=ann /)
      }
      assert.notMatch(guarded.stdout() + guarded.stderr(), /sesame|p:ä%/)
    }))

  it.effect("--proxy https:// does all of this in TLS", () =>
    Effect.gen(function*() {
      const { origin } = yield* Fixture
      const { cert, key } = yield* Certificates.make(yield* Certificates.directory, "server", "server")
      const listen = ["--listen", `tls://127.0.0.1:0?cert=${cert}&key=${key}`]
      const [open, guarded] = yield* Effect.all([
        Cli.serve({ args: listen }),
        Cli.serve({ args: [...listen, "--user", "ann:sesame"] })
      ], { concurrency: 2 })
      const url = `http://127.0.0.1:${origin}/`
      const proxied = ({ port }: Cli.Cli) => ["--proxy", `https://127.0.0.1:${port}`, "--proxy-cacert", cert]
      for (const tunnel of [[], ["-p"]]) {
        assert.deepStrictEqual(yield* curl([...tunnel, ...proxied(open), url]), fetched)
        const line = yield* open.takeLine(/connection ended/)
        assert.include(line, ` destination=127.0.0.1:${origin} address=127.0.0.1:${origin} reply=0 `)
        assert.match(line, / protocol=http .* reason=done/)

        const login = [...tunnel, "--proxy-user", "ann:sesame"]
        assert.deepStrictEqual(yield* curl([...login, ...proxied(guarded), url]), fetched)
        assert.match(yield* guarded.takeLine(/connection ended/), / user=ann .* reason=done/)
        const none = yield* curl([...codes, ...tunnel, ...proxied(guarded), url])
        assert.strictEqual(none.stdout, tunnel.length === 0 ? "000 407 1\n" : "407 000 1\n")
        assert.match(yield* guarded.takeLine(/connection ended/), / reason="no acceptable method/)
        const wrong = yield* curl([...codes, ...tunnel, "--proxy-user", "ann:x", ...proxied(guarded), url])
        assert.strictEqual(wrong.stdout, tunnel.length === 0 ? "000 407 1\n" : "407 000 1\n")
        assert.match(yield* guarded.takeLine(/connection ended/), / reason="authentication failed"/)
      }
      const several = yield* curl([...proxied(open), "-w", "%{num_connects}\n", url, url])
      assert.strictEqual(several.stdout, `${greeting}1\n${greeting}0\n`)
      yield* open.takeLine(/connection ended/)
      const plain = yield* curl(["--proxy", `http://127.0.0.1:${open.port}`, url])
      assert.notStrictEqual(plain.code, 0)
      assert.strictEqual(plain.stdout, "")
      yield* open.takeLine(/no TLS/)
    }))

  it.effect("is told that its password is wrong, and that it needs one", () =>
    Effect.gen(function*() {
      const { guarded, origin } = yield* Fixture
      const proxied = ["--proxy", `http://127.0.0.1:${guarded.port}`, `http://127.0.0.1:${origin}/`]
      const wrong = yield* curl([...codes, "--proxy-user", "ann:opensesame", ...proxied])
      assert.strictEqual(wrong.stdout, "000 407 1\n")
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann .* reason="authentication failed"/)
      const none = yield* curl([...codes, "-p", ...proxied])
      assert.strictEqual(none.code, tunnelRefused)
      assert.strictEqual(none.stdout, "407 000 1\n")
      assert.match(yield* guarded.takeLine(/connection ended/), / reason="no acceptable method/)
    }))

  it.effect("is told why it can't get there", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const nobody = yield* closedPort
      const proxied = ["--proxy", `http://127.0.0.1:${open.port}`]
      const refused = yield* curl([...proxied, `http://127.0.0.1:${nobody}/`])
      assert.match(refused.stdout, /^502 Bad Gateway: can't connect \(ECONNREFUSED\)\n$/)
      assert.match(yield* open.takeLine(/connection ended/), / reply=5 /)
      const unknown = yield* curl([...codes, "-p", ...proxied, `http://nowhere.test:${origin}/`])
      assert.deepInclude(unknown, { code: tunnelRefused, stdout: "502 000 1\n" })
      assert.match(yield* open.takeLine(/connection ended/), / destination=nowhere\.test:\d+ reply=4 /)
      const asServer = yield* curl([`http://127.0.0.1:${open.port}/`])
      assert.match(asServer.stdout, /^400 Bad Request: this port is a proxy/)
      yield* open.takeLine(/connection ended/)
    }))

  it.effect("-I sends HEAD", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const ended = yield* curl(["-I", "--proxy", `http://127.0.0.1:${open.port}`, `http://127.0.0.1:${origin}/`])
      assert.match(ended.stdout, /^HTTP\/1\.1 200 OK\r\n(.+\r\n)+\r\n$/)
      assert.strictEqual(ended.code, 0)
      yield* open.takeLine(/connection ended/)
    }))

  it.effect("waits for 100 Continue, and is not held up by a refusal", () =>
    Effect.gen(function*() {
      const { open } = yield* Fixture
      const server = NodeHttp.createServer()
      server.on("checkContinue", (request, response) => {
        if (request.url === "/no") {
          response.statusCode = 417
          return response.end("no")
        }
        response.writeContinue()
        return request.pipe(response)
      })
      const port = yield* listen(server)
      const expecting = ["-H", "Expect: 100-continue", "--expect100-timeout", "20", "--max-time", "5", "-d", "hello"]
      const proxied = ["--proxy", `http://127.0.0.1:${open.port}`, ...expecting]
      const yes = yield* curl([...proxied, `http://127.0.0.1:${port}/yes`])
      assert.deepStrictEqual(yes, { code: 0, stdout: "hello", stderr: "" })
      yield* open.takeLine(/connection ended/)
      // It may send the content without the expectation, and another time.
      const no = yield* curl(["-o", "/dev/null", "-w", "%{http_code}", ...proxied, `http://127.0.0.1:${port}/no`])
      assert.match(no.stdout, /^(417|200)$/)
      yield* open.takeLine(/connection ended/)
    }))

  it.effect("sends 64 MiB and gets them back at the same time, to the byte, by length and in chunks", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const folder = yield* temporaryFolder
      const [up, down] = [Path.join(folder, "up"), Path.join(folder, "down")]
      const size = 64 * 1024 * 1024
      Fs.writeFileSync(up, randomBytes(size))
      for (const how of [[], ["-H", "Transfer-Encoding: chunked"], ["-p"]]) {
        const proxied = [...how, "--proxy", `http://127.0.0.1:${open.port}`, `http://${name}:${origin}/`]
        const ended = yield* curl(["-T", up, "-o", down, ...proxied])
        assert.deepStrictEqual(ended, { code: 0, stdout: "", stderr: "" })
        assert.strictEqual(hashOf(down), hashOf(up))
        const [, sent, received] = / up=(\d+) down=(\d+) /.exec(yield* open.takeLine(/connection ended/)) ?? []
        assert.isAbove(Number(sent), size)
        assert.isAbove(Number(received), size)
        Fs.rmSync(down)
      }
    }))
})
