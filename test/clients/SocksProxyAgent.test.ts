import { assert, layer } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { createHash, randomBytes } from "node:crypto"
import * as Http from "node:http"
import * as Https from "node:https"
import { buffer } from "node:stream/consumers"
import { SocksProxyAgent } from "socks-proxy-agent"
import { answer, greeting, listen } from "../support/HttpOrigin.ts"
import { closedPort } from "../support/Targets.ts"
import { Fixture, name } from "./Fixture.ts"

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

class RequestError extends Data.TaggedError("RequestError")<{ readonly message: string }> {}

const agentFor = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => new SocksProxyAgent(url, { keepAlive: true, timeout: 20_000 })),
    (agent) => Effect.sync(() => agent.destroy())
  )

/** The body of the answer. */
const send = (request: Http.ClientRequest, body?: Uint8Array) =>
  Effect.tryPromise({
    try: () =>
      new Promise<Buffer>((resolve, reject) => {
        request.once("error", reject)
        request.once("response", (response) => buffer(response).then(resolve, reject))
        request.end(body)
      }),
    catch: (error) => new RequestError({ message: error instanceof Error ? error.message : String(error) })
  })

// With a shared key the TLS origin needs no certificate.
const sharedKey = { ciphers: "PSK", minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const
const psk = Buffer.from("0123456789abcdef")

layer(Fixture.layer, { excludeTestServices: true })("socks-proxy-agent", (it) => {
  it.effect("sends the name with socks5h, and keeps the connection", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const agent = yield* agentFor(`socks5h://127.0.0.1:${open.port}`)
      const url = `http://${name}:${origin}/`
      assert.strictEqual((yield* send(Http.get(url, { agent }))).toString(), greeting)
      const bytes = randomBytes(8 * 1024 * 1024)
      const echoed = yield* send(Http.request(url, { agent, method: "PUT" }), bytes)
      assert.strictEqual(hashOf(echoed), hashOf(bytes))
      agent.destroy()
      const line = yield* open.takeLine(/connection ended/)
      assert.include(line, ` destination=${name}:${origin} address=127.0.0.1:${origin} reply=0 `)
      const [, up] = / up=(\d+) /.exec(line) ?? []
      assert.isAbove(Number(up), bytes.length)
    }))

  it.effect("sends the address with socks5", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const agent = yield* agentFor(`socks5://127.0.0.1:${open.port}`)
      assert.strictEqual((yield* send(Http.get(`http://127.0.0.1:${origin}/`, { agent }))).toString(), greeting)
      agent.destroy()
      assert.include(yield* open.takeLine(/connection ended/), ` destination=127.0.0.1:${origin} `)
    }))

  it.effect("speaks TLS through the proxy, after a login", () =>
    Effect.gen(function*() {
      const { guarded } = yield* Fixture
      const origin = yield* listen(Https.createServer({ ...sharedKey, pskCallback: () => psk }, answer))
      const agent = yield* agentFor(`socks5h://ann:sesame@127.0.0.1:${guarded.port}`)
      const options = {
        ...sharedKey,
        agent,
        pskCallback: () => ({ psk, identity: "test" }),
        checkServerIdentity: () => undefined
      }
      const body = yield* send(Https.get(`https://${name}:${origin}/`, options))
      assert.strictEqual(body.toString(), greeting)
      agent.destroy()
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann destination=origin\.test:\d+ .* reply=0 /)
    }))

  it.effect("is told why not", () =>
    Effect.gen(function*() {
      const { guarded, open, origin } = yield* Fixture
      const url = `http://127.0.0.1:${origin}/`
      const wrong = yield* agentFor(`socks5h://ann:opensesame@127.0.0.1:${guarded.port}`)
      assert.match((yield* Effect.flip(send(Http.get(url, { agent: wrong })))).message, /Authentication failed/)
      const none = yield* agentFor(`socks5h://127.0.0.1:${guarded.port}`)
      assert.match(
        (yield* Effect.flip(send(Http.get(url, { agent: none })))).message,
        /no accepted authentication type/i
      )
      const agent = yield* agentFor(`socks5h://127.0.0.1:${open.port}`)
      const nobody = yield* closedPort
      const refused = yield* Effect.flip(send(Http.get(`http://127.0.0.1:${nobody}/`, { agent })))
      assert.match(refused.message, /ConnectionRefused/)
      const unknown = yield* Effect.flip(send(Http.get(`http://nowhere.test:${origin}/`, { agent })))
      assert.match(unknown.message, /HostUnreachable/)
    }))

  it.effect("serves 50 requests at once, each on its own connection", () =>
    Effect.gen(function*() {
      const { open, origin } = yield* Fixture
      const agent = yield* agentFor(`socks5h://127.0.0.1:${open.port}`)
      const bodies = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, index) => Buffer.from(`request ${index}`)),
        (body) => Effect.map(send(Http.request(`http://${name}:${origin}/`, { agent, method: "PUT" }), body), String),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(bodies, Array.from({ length: 50 }, (_, index) => `request ${index}`))
    }))
})
