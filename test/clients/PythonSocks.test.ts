import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { greeting } from "../support/HttpOrigin.ts"
import * as Program from "../support/Program.ts"
import { closedPort } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

/** Debian's, which has the package `python3-socks`; another one in the PATH need not have it. */
const python = "/usr/bin/python3"

/** Fetches by a socket that speaks SOCKS. */
const program = `
import socks, sys
proxy, rdns, user, password, host, port = sys.argv[1:]
client = socks.socksocket()
client.settimeout(20)
client.set_proxy(socks.SOCKS5, "127.0.0.1", int(proxy), rdns == "rdns", user or None, password or None)
try:
    client.connect((host, int(port)))
except socks.ProxyError as error:
    sys.exit(f"{type(error).__name__}: {error}")
client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
answer = b"".join(iter(lambda: client.recv(65536), b""))
sys.stdout.write(answer.split(b"\\r\\n\\r\\n", 1)[1].decode())
`

interface Request {
  readonly proxy: number
  readonly host: string
  readonly port: number
  readonly rdns?: boolean
  readonly login?: readonly [user: string, password: string]
}

const get = ({ host, login = ["", ""], port, proxy, rdns = false }: Request) =>
  Program.run(python, ["-c", program, String(proxy), rdns ? "rdns" : "local", ...login, host, String(port)])

const fetched = { code: 0, stdout: greeting, stderr: "" }

layer(Fixture.layer, { excludeTestServices: true })("python3-socks", (it) => {
  it.effect("resolves the name itself", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      assert.deepStrictEqual(yield* get({ proxy: open.port, host: "localhost", port: origin }), fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=127.0.0.1:${origin} address=127.0.0.1:${origin} reply=0 `)
    }))

  it.effect("with rdns has the proxy resolve the name", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      assert.deepStrictEqual(yield* get({ proxy: open.port, host: name, port: origin, rdns: true }), fetched)
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
    }))

  it.effect("logs in", () =>
    Effect.gen(function*() {
      const { guarded, origin } = yield* Fixture
      for (const rdns of [true, false]) {
        const login = ["ann", "sesame"] as const
        const request = { proxy: guarded.port, host: "localhost", port: origin, login, rdns }
        assert.deepStrictEqual(yield* get(request), fetched)
        assert.match(yield* guarded.takeLine(/connection ended/), / user=ann .* reply=0 /)
      }
      const login = ["bo b", "p:ä%"] as const
      assert.deepStrictEqual(yield* get({ proxy: guarded.port, host: "127.0.0.1", port: origin, login }), fetched)
      assert.match(yield* guarded.takeLine(/connection ended/), / user="bo b" .* reply=0 /)
    }))

  it.effect("is told why not", () =>
    Effect.gen(function*() {
      const { guarded, open, origin } = yield* Fixture
      const login = ["ann", "opensesame"] as const
      const wrong = yield* get({ proxy: guarded.port, host: "127.0.0.1", port: origin, login })
      assert.strictEqual(wrong.code, 1)
      assert.match(wrong.stderr, /SOCKS5 authentication failed/)
      const none = yield* get({ proxy: guarded.port, host: "127.0.0.1", port: origin })
      assert.strictEqual(none.code, 1)
      assert.match(none.stderr, /All offered SOCKS5 authentication methods were rejected/)
      const refused = yield* get({ proxy: open.port, host: "127.0.0.1", port: yield* closedPort })
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, /0x05: Connection refused/)
      const unknown = yield* get({ proxy: open.port, host: "nowhere.test", port: origin, rdns: true })
      assert.strictEqual(unknown.code, 1)
      assert.match(unknown.stderr, /0x04: Host unreachable/)
    }))
})
