import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type * as Socket from "effect/socket/Socket"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import type { ProxyError } from "../../src/client/ProxyError.ts"
import * as SocksClient from "../../src/client/SocksClient.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as Certificates from "../support/Certificates.ts"
import { httpOrigin, listen } from "../support/HttpOrigin.ts"
import { httpProxy } from "../support/HttpProxy.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { proxy } from "../support/Proxy.ts"
import { closedPort, echo, silent, target } from "../support/Targets.ts"
import * as Upstream from "../support/Upstream.ts"

/** Everything that comes, and how it ends. */
const readAll = Effect.fnUntraced(function*(socket: Socket.Socket) {
  const { pull } = yield* socket.reader
  const parts: Array<Buffer> = []
  const end = yield* Effect.flip(
    Effect.forever(Effect.map(pull, (chunk) => chunk.forEach((part) => parts.push(Buffer.from(part)))))
  )
  return { text: Buffer.concat(parts).toString(), end }
})

/** Sends a text, half-closes, and reads what comes back. */
const say = Effect.fnUntraced(function*(socket: Socket.Socket, text: string) {
  yield* Effect.scoped(Effect.flatMap(socket.writer, ({ write }) => write(text)))
  return yield* readAll(socket)
})

/** A ping, while both sides are open. */
const pings = Effect.fnUntraced(
  function*(
    proxies: SocksClient.Proxies,
    destination: string,
    options?: SocksClient.Options
  ) {
    const socket = yield* SocksClient.connect(proxies, destination, options)
    const [reader, writer] = [yield* socket.reader, yield* socket.writer]
    yield* writer.write("hello")
    assert.strictEqual(Buffer.concat((yield* reader.pull).map((part) => Buffer.from(part))).toString(), "hello")
  },
  Effect.scoped,
  Effect.provide(SocksClient.layer)
)

/** The same behind a half-close, which microsocks does not keep. */
const echoes = Effect.fnUntraced(
  function*(proxies: SocksClient.Proxies, destination: string) {
    const { end, text } = yield* say(yield* SocksClient.connect(proxies, destination), "hello")
    assert.strictEqual(text, "hello")
    assert.deepInclude(end.reason, { _tag: "SocketCloseError", code: 1000 })
  },
  Effect.scoped,
  Effect.provide(SocksClient.layer)
)

const refusal = (proxies: SocksClient.Proxies, destination: string, options?: SocksClient.Options) =>
  Effect.flip(Effect.scoped(SocksClient.connect(proxies, destination, options))).pipe(
    Effect.provide(SocksClient.layer)
  )

class Proxies extends Context.Service<Proxies, {
  readonly dante: string
  readonly microsocks: string
  readonly guarded: number
  readonly sluice: string
  readonly echo: number
}>()("test/client/Proxies") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const dante = yield* Upstream.dante
      const microsocks = yield* Upstream.microsocks()
      const guarded = yield* Upstream.microsocks(["ann", "p:ss"])
      const { port } = yield* proxy()
      return {
        dante: `socks5h://127.0.0.1:${dante}`,
        microsocks: `socks5h://127.0.0.1:${microsocks}`,
        guarded,
        sluice: `socks5h://127.0.0.1:${port}`,
        echo: (yield* echo()).port
      }
    })
  )
}

layer(Proxies.layer, { excludeTestServices: true })("SocksClient through real proxies", (it) => {
  it.effect("moves bytes and half-closes through dante, microsocks and Sluice", () =>
    Effect.gen(function*() {
      const { dante, echo, microsocks, sluice } = yield* Proxies
      for (const url of [dante, microsocks, sluice]) {
        yield* pings(url, `127.0.0.1:${echo}`)
        yield* pings(url, `localhost:${echo}`)
        yield* pings(url.replace("socks5h", "socks5"), `localhost:${echo}`)
      }
      yield* echoes(dante, `127.0.0.1:${echo}`)
      yield* echoes(sluice, `localhost:${echo}`)
      yield* echoes(sluice.replace("socks5h", "http"), `localhost:${echo}`)
      yield* echoes(sluice.replace("socks5h", "socks4a"), `localhost:${echo}`)
      yield* echoes(sluice.replace("socks5h", "socks4"), `localhost:${echo}`)
      yield* echoes(dante.replace("socks5h", "socks4"), `127.0.0.1:${echo}`)
    }))

  it.effect("goes through one behind the other", () =>
    Effect.gen(function*() {
      const { dante, echo, guarded, microsocks, sluice } = yield* Proxies
      yield* pings([dante, microsocks], `127.0.0.1:${echo}`)
      yield* echoes([sluice.replace("socks5h", "http"), dante.replace("socks5h", "socks5")], `127.0.0.1:${echo}`)
      yield* pings([microsocks, `socks5h://ann:p%3Ass@127.0.0.1:${guarded}`, sluice], `localhost:${echo}`)
    }))

  it.effect("tells refusals apart", () =>
    Effect.gen(function*() {
      const { dante, echo, guarded, microsocks } = yield* Proxies
      const closed = yield* closedPort
      for (const url of [dante, microsocks]) {
        assert.deepInclude(yield* refusal(url, `127.0.0.1:${closed}`), { _tag: "ReplyError", code: 5 })
      }
      assert.deepInclude(yield* refusal(dante, `127.0.0.9:${echo}`), { _tag: "ReplyError", code: 2 })
      const wanted = { _tag: "MethodRefused", login: false } as const
      assert.deepInclude(yield* refusal(`socks5://127.0.0.1:${guarded}`, `127.0.0.1:${echo}`), wanted)
      const wrong = yield* refusal(`socks5://ann:S3cr3t@127.0.0.1:${guarded}`, `127.0.0.1:${echo}`)
      assert.strictEqual(wrong._tag, "LoginRefused")
      assert.notInclude(JSON.stringify(wrong) + wrong.message, "S3cr3t")
    }))

  it.effect("says which proxy of a chain can't be reached, and by whom", () =>
    Effect.gen(function*() {
      const { dante, echo, microsocks } = yield* Proxies
      const closed = `socks5h://127.0.0.1:${yield* closedPort}`
      const first = yield* refusal([closed, microsocks], `127.0.0.1:${echo}`)
      assert.deepInclude(first, { _tag: "ProxyUnreachable", proxy: closed, code: "ECONNREFUSED" })
      const second = yield* refusal([dante, closed], `127.0.0.1:${echo}`)
      assert.deepInclude(second, { _tag: "ProxyUnreachable", proxy: closed, via: dante, code: "reply 05" })
    }))

  it.effect("serves node:http, with and without keep-alive", () =>
    Effect.gen(function*() {
      const { dante, microsocks, sluice } = yield* Proxies
      const origin = yield* httpOrigin()
      for (const url of [dante, microsocks, sluice]) {
        const agent = SocksClient.agent(url, { keepAlive: true, maxSockets: 1 })
        const ports = new Set<number | undefined>()
        for (let i = 0; i < 3; i++) {
          const { port, text } = yield* get(`http://localhost:${origin}/`, agent)
          assert.strictEqual(text, "through the sluice\n")
          ports.add(port)
        }
        assert.strictEqual(ports.size, 1, "one connection serves all three")
        agent.destroy()
      }
    }))
})

/** A request, its body, and the local port of the connection to the proxy. */
const get = (url: string, agent: Http.Agent) =>
  Effect.callback<{ readonly text: string; readonly port: number | undefined }, Error>((resume) => {
    let port: number | undefined
    const request = Http.get(url, { agent, timeout: 5000 }, (response) => {
      port = response.socket.localPort
      let text = ""
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part
      })
      response.on("end", () => resume(Effect.succeed({ text, port })))
    })
    request.on("error", (error) => resume(Effect.fail(error)))
  })

/** A proxy that says what it is told to, and closes. */
const scripted = (...answers: ReadonlyArray<string>) =>
  target((socket) => {
    let next = 0
    socket.on("data", () => {
      const answer = answers[next++]
      if (answer !== undefined) socket.write(Buffer.from(answer, "latin1"))
      if (next >= answers.length) socket.end()
    })
  })

describe("SocksClient", () => {
  it.live.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 0xff])("fails with reply %i as it came", (code) =>
    Effect.gen(function*() {
      const { port } = yield* scripted("\x05\x00", `\x05${String.fromCharCode(code)}\0\x01\0\0\0\0\0\0`)
      const error = yield* refusal(`socks5h://127.0.0.1:${port}`, "a.test:80")
      assert.deepInclude(error, { _tag: "ReplyError", protocol: "socks5", code })
    }))

  it.live.each<readonly [protocol: string, answers: ReadonlyArray<string>, error: Partial<ProxyError>]>([
    ["socks5h", ["\x05\xff"], { _tag: "MethodRefused" }],
    ["socks5h", ["\x05\x02"], { _tag: "MethodRefused" }],
    ["socks5h", ["\x05"], { _tag: "ProxyUnreachable", code: "EEND" }],
    ["socks5h", ["HTTP/1.1 400 No\r\n\r\n"], { _tag: "BadAnswer" }],
    ["socks5h", ["\x05\x00", "\x05\x00\0"], { _tag: "ProxyUnreachable", code: "EEND" }],
    ["socks4a", ["\0\x5b\0\0\0\0\0\0"], { _tag: "ReplyError", protocol: "socks4", code: 91 }],
    ["http", ["HTTP/1.1 403 Forbidden\r\n\r\n"], { _tag: "StatusError", status: 403 }],
    ["http", ["HTTP/1.1 407 Login\r\n\r\n"], { _tag: "StatusError", status: 407 }],
    ["http", ["\x05\xff"], { _tag: "BadAnswer" }]
  ])("of %s with the answers %j fails typed", ([protocol, answers, expected]) =>
    Effect.gen(function*() {
      const { port } = yield* scripted(...answers)
      const error = yield* refusal(`${protocol}://127.0.0.1:${port}`, "a.test:80")
      assert.deepInclude<object>(error, expected)
      assert.include(error.message, `${protocol}://127.0.0.1:${port}: `)
    }))

  it.live("hands on what the target says first, with the proxy's answer in one piece", () =>
    Effect.gen(function*() {
      const { port } = yield* scripted("\x05\x00", "\x05\0\0\x01\0\0\0\0\0\x00220 early bird\r\n")
      const socket = yield* SocksClient.connect(`socks5h://127.0.0.1:${port}`, "a.test:25")
      const { text } = yield* readAll(socket)
      assert.strictEqual(text, "220 early bird\r\n")
    }).pipe(Effect.provide(SocksClient.layer)))

  it.live("logs in to an HTTP proxy", () =>
    Effect.gen(function*() {
      const { port } = yield* echo()
      const through = yield* httpProxy({ authorization: `Basic ${btoa("ann:p:w")}` })
      yield* pings(`http://ann:p%3Aw@127.0.0.1:${through.port}`, `127.0.0.1:${port}`)
      const error = yield* refusal(`http://ann@127.0.0.1:${through.port}`, `127.0.0.1:${port}`)
      assert.deepInclude(error, { _tag: "StatusError", status: 407 })
    }))

  it.live("speaks to an HTTPS proxy, alone, and behind another", () =>
    Effect.gen(function*() {
      const { port } = yield* echo()
      const pair = yield* Certificates.make(yield* Certificates.directory, "proxy", "localhost")
      const address = NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")
      const outer = yield* proxy({ listen: ListenAddress.tls({ address, ...pair }) })
      const { port: first } = yield* proxy()
      const secured = `https://127.0.0.1:${outer.port}`
      const tls = { ca: readFileSync(pair.cert, "utf8") }
      const text = "0123456789abcdef".repeat(256 * 1024)
      for (const proxies of [[secured], [`socks5h://127.0.0.1:${first}`, secured]]) {
        yield* pings(proxies, `127.0.0.1:${port}`, { tls })
        const socket = yield* SocksClient.connect(proxies, `127.0.0.1:${port}`, { tls })
        const send = Effect.scoped(Effect.flatMap(socket.writer, ({ write }) => write(text)))
        const [, echoed] = yield* Effect.all([send, readAll(socket)], { concurrency: 2 })
        assert.isTrue(echoed.text === text, `${echoed.text.length} of ${text.length}`)
        assert.deepInclude(echoed.end.reason, { _tag: "SocketCloseError", code: 1000 })
      }
      const untrusted = yield* refusal(secured, `127.0.0.1:${port}`)
      assert.deepInclude(untrusted, { _tag: "ProxyUnreachable", code: "DEPTH_ZERO_SELF_SIGNED_CERT" })
      yield* pings(secured, `127.0.0.1:${port}`, { tls: { rejectUnauthorized: false } })
      const plain = yield* refusal(`https://127.0.0.1:${first}`, `127.0.0.1:${port}`, { tls })
      assert.strictEqual(plain._tag, "ProxyUnreachable")
    }).pipe(Effect.provide(SocksClient.layer)))

  it.live("serves node:https", () =>
    Effect.gen(function*() {
      const { cert, key } = yield* Certificates.make(yield* Certificates.directory, "origin", "localhost")
      const server = Https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (_, response) => {
        response.end("secret")
      })
      const origin = yield* listen(server)
      const { port } = yield* proxy()
      const agent = SocksClient.httpsAgent(`socks5h://127.0.0.1:${port}`, { keepAlive: true, ca: readFileSync(cert) })
      for (let i = 0; i < 2; i++) {
        const text = yield* Effect.callback<string, Error>((resume) => {
          Https.get(`https://127.0.0.1:${origin}/`, { agent }, (response) => {
            response.once("data", (part: Buffer) => resume(Effect.succeed(part.toString())))
          }).on("error", (error) => resume(Effect.fail(error)))
        })
        assert.strictEqual(text, "secret")
      }
      agent.destroy()
    }))

  it.live("has limits for the proxy, and for its answer", () =>
    Effect.gen(function*() {
      const { port } = yield* silent
      const dead = yield* refusal(`socks5h://127.0.0.1:${port}`, "a.test:80", { connectTimeout: 50 })
      assert.deepInclude(dead, { _tag: "ProxyUnreachable", code: "ETIMEDOUT" })
      const slow = yield* refusal(`http://127.0.0.1:${port}`, "a.test:80", { answerTimeout: 50 })
      assert.strictEqual(slow._tag, "AnswerTimedOut")
    }))

  it.live("refuses what is no URL, and what is no destination", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* refusal("ftp://127.0.0.1", "a.test:80"))._tag, "ProxyUrlError")
      assert.strictEqual((yield* refusal([], "a.test:80"))._tag, "ProxyUrlError")
      assert.strictEqual((yield* refusal("socks5://127.0.0.1", "a test"))._tag, "NetAddressError")
      assert.strictEqual((yield* refusal("socks4a://127.0.0.1:1", "[::1]:80"))._tag, "Unsendable")
      assert.throws(() => SocksClient.agent("ftp://127.0.0.1"), /not the URL of a proxy/)
    }))

  it.live("lets the process end while a connection is kept alive, and reads a response to its end", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const body = "x".repeat(300_000)
      const origin = yield* target((socket) => {
        socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\n\r\n${body}`))
      })
      const agent = SocksClient.agent(`socks5h://127.0.0.1:${port}`, { keepAlive: true })
      const { text } = yield* get(`http://127.0.0.1:${origin.port}/`, agent)
      assert.strictEqual(text.length, body.length)
      const kept = yield* httpOrigin()
      const program = `
        import * as Http from "node:http"
        import { SocksClient } from ${JSON.stringify(new URL("../../dist/index.js", import.meta.url).href)}
        const agent = SocksClient.agent("socks5h://127.0.0.1:${port}", { keepAlive: true })
        Http.get("http://127.0.0.1:${kept}/", { agent }, (response) => response.pipe(process.stdout))
      `
      const ended = yield* Program.run(process.execPath, ["--input-type=module", "-e", program]).pipe(
        Effect.timeout("4 seconds")
      )
      assert.deepStrictEqual(ended, { code: 0, stdout: "through the sluice\n", stderr: "" })
    }))

  it.live("tells a request of node:http that nothing comes", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const origin = yield* target((socket) => socket.resume().on("end", () => socket.end()))
      const agent = SocksClient.agent(`socks5h://127.0.0.1:${port}`)
      const event = yield* Effect.callback<string>((resume) => {
        const request = Http.get({ host: "127.0.0.1", port: origin.port, agent, timeout: 50 })
        request.once("timeout", () => {
          request.destroy()
          resume(Effect.succeed("timeout"))
        })
        request.on("error", () => resume(Effect.succeed("error")))
      })
      assert.strictEqual(event, "timeout")
      assert.isTrue(yield* within(Effect.sync(() => origin.open.size === 0), "5 seconds"), "the connection is closed")
    }))

  it.live("fails a request of node:http with the typed error", () =>
    Effect.gen(function*() {
      const { port } = yield* scripted("\x05\x00", "\x05\x02\0\x01\0\0\0\0\0\0")
      const error = yield* Effect.flip(get("http://a.test/", SocksClient.agent(`socks5h://127.0.0.1:${port}`)))
      assert.deepInclude<object>(error, { _tag: "ReplyError", code: 2 })
    }))
})
