import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Https from "node:https"
import * as SocksClient from "../../src/client/SocksClient.ts"
import * as Certificates from "../support/Certificates.ts"
import { httpOrigin, listen } from "../support/HttpOrigin.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { proxy } from "../support/Proxy.ts"
import { closedPort, type Target, target } from "../support/Targets.ts"

const kinds = ["http", "https"] as const

type Kind = typeof kinds[number]

const agentOf = (kind: Kind, port: number, options: SocksClient.AgentOptions = {}) =>
  (kind === "http" ? SocksClient.agent : SocksClient.httpsAgent)(`socks5h://127.0.0.1:${port}`, options)

interface Ended {
  readonly text?: string
  readonly error?: Error & { readonly code?: string }
}

/** A request, how it ended, and what can be done to it in between. */
const begin = (url: string, options: Https.RequestOptions, then: (ended: Ended) => void): Http.ClientRequest => {
  const get = url.startsWith("https") ? Https.get : Http.get
  return get(url, options, (response) => {
    let text = ""
    response.setEncoding("utf8").on("data", (part: string) => {
      text += part
    })
    response.on("end", () => then({ text }))
  }).on("error", (error) => then({ error }))
}

const request = (url: string, options: Https.RequestOptions, act?: (request: Http.ClientRequest) => void) =>
  Effect.callback<Ended>((resume) => {
    const request = begin(url, options, (ended) => resume(Effect.succeed(ended)))
    act?.(request)
  }).pipe(Effect.timeout("5 seconds"))

/** An origin that answers each request a little later, and the most requests and connections that it has had at a time. */
const slowOrigin = Effect.fnUntraced(function*(kind: Kind) {
  const peak = { requests: 0, connections: 0 }
  let running = 0
  const pair = yield* Certificates.make(yield* Certificates.directory, "origin", "localhost")
  const answer: Http.RequestListener = (_, response) => {
    peak.requests = Math.max(peak.requests, ++running)
    setTimeout(() => {
      running--
      response.end("ok")
    }, 5)
  }
  const server = kind === "http"
    ? Http.createServer(answer)
    : Https.createServer({ cert: readFileSync(pair.cert), key: readFileSync(pair.key) }, answer)
  const open = new Set<object>()
  server.on("connection", (socket) => {
    open.add(socket)
    peak.connections = Math.max(peak.connections, open.size)
    socket.once("close", () => open.delete(socket))
  })
  const port = yield* listen(server)
  return { url: `${kind}://localhost:${port}/`, ca: readFileSync(pair.cert), peak }
})

/** Takes connections, says nothing, and leaves when the client does. */
const silent = target((socket) => socket.resume().on("end", () => socket.end()))

const isClosed = ({ open }: Target) => within(Effect.sync(() => open.size === 0))

describe.each(kinds)("the agent of node:%s", (kind) => {
  it.live.each<SocksClient.AgentOptions>([
    { maxSockets: 5 },
    { maxSockets: 5, keepAlive: true },
    { maxTotalSockets: 5, keepAlive: true }
  ])("keeps to %j", (limits) =>
    Effect.gen(function*() {
      const origin = yield* slowOrigin(kind)
      const agent = agentOf(kind, (yield* proxy()).port, { ...limits, ca: origin.ca })
      const all = yield* Effect.all(Array.from({ length: 100 }, () => request(origin.url, { agent })), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(all, all.map(() => ({ text: "ok" })))
      assert.strictEqual(origin.peak.requests, 5)
      // Of those that are not kept, one may still be closing as the next one comes.
      if (limits.keepAlive === true) assert.strictEqual(origin.peak.connections, 5)
      agent.destroy()
    }))

  it.live("ends a request that is aborted while the proxy is silent, and hangs up", () =>
    Effect.gen(function*() {
      const mute = yield* silent
      const agent = agentOf(kind, mute.port)
      const controller = new AbortController()
      const { error } = yield* request(`${kind}://a.test/`, { agent, signal: controller.signal }, () => {
        setTimeout(() => controller.abort(), 20)
      })
      assert.strictEqual(error?.name, "AbortError")
      assert.isTrue(yield* isClosed(mute), "the connection to the proxy is closed")
    }))

  it.live("ends one that is aborted at once, before anything was dialled", () =>
    Effect.gen(function*() {
      const mute = yield* silent
      const { error } = yield* request(`${kind}://a.test/`, { agent: agentOf(kind, mute.port) }, (made) => {
        made.destroy()
      })
      assert.strictEqual(error?.code, "ECONNRESET")
      assert.isTrue(yield* isClosed(mute))
    }))

  it.live.each(["option", "agent", "setTimeout"])(
    "tells a request of its timeout (%s) while it connects",
    (where) =>
      Effect.gen(function*() {
        const mute = yield* silent
        const agent = agentOf(kind, mute.port, where === "agent" ? { timeout: 40 } : {})
        const options = { agent, ...where === "option" && { timeout: 40 } }
        const { error } = yield* request(`${kind}://a.test/`, options, (made) => {
          if (where === "setTimeout") made.setTimeout(40)
          made.once("timeout", () => made.destroy())
        })
        assert.strictEqual(error?.code, "ECONNRESET")
        assert.isTrue(yield* isClosed(mute))
      })
  )

  it.live("goes on with the next request when one could not connect", () =>
    Effect.gen(function*() {
      const origin = yield* slowOrigin(kind)
      const agent = agentOf(kind, (yield* proxy()).port, { maxTotalSockets: 1, ca: origin.ca })
      const [failed, got] = yield* Effect.all([
        request(`${kind}://127.0.0.1:${yield* closedPort}/`, { agent }),
        request(origin.url, { agent })
      ], { concurrency: 2 })
      assert.deepInclude<object>(failed.error ?? {}, { _tag: "ReplyError", code: 5 })
      assert.deepStrictEqual(got, { text: "ok" })
    }))

  it.live("ends what is under way when it is destroyed, as Node's own does, and serves again", () =>
    Effect.gen(function*() {
      const mute = yield* silent
      const agent = agentOf(kind, mute.port)
      const { error } = yield* request(`${kind}://a.test/`, { agent }, () => void setTimeout(() => agent.destroy(), 20))
      assert.strictEqual(error?.code, "ECONNRESET")
      assert.isTrue(yield* isClosed(mute))
      const controller = new AbortController()
      const again = yield* request(`${kind}://a.test/`, { agent, signal: controller.signal }, () => {
        setTimeout(() => controller.abort(), 20)
      })
      assert.strictEqual(again.error?.name, "AbortError")
      assert.strictEqual(mute.accepted(), 2)
    }))

  it.live("fails with what came in the way", () =>
    Effect.gen(function*() {
      const unreachable = yield* request(`${kind}://a.test/`, { agent: agentOf(kind, yield* closedPort) })
      assert.deepInclude<object>(unreachable.error ?? {}, { _tag: "ProxyUnreachable", code: "ECONNREFUSED" })
      const nowhere = yield* request(`${kind}://a..test/`, { agent: agentOf(kind, 1) })
      assert.deepInclude<object>(nowhere.error ?? {}, { _tag: "NetAddressError" })
    }))

  it.live("lets the process end while a connection is kept alive", () =>
    Effect.gen(function*() {
      const origin = yield* slowOrigin(kind)
      const { port } = yield* proxy()
      const program = `
        import * as Client from "node:${kind}"
        import { SocksClient } from ${JSON.stringify(new URL("../../dist/index.js", import.meta.url).href)}
        const agent = SocksClient.${kind === "http" ? "agent" : "httpsAgent"}("socks5h://127.0.0.1:${port}", {
          keepAlive: true, rejectUnauthorized: false
        })
        Client.get("${origin.url}", { agent }, (response) => response.pipe(process.stdout))
      `
      const ended = yield* Program.run(process.execPath, ["--input-type=module", "-e", program]).pipe(
        Effect.timeout("4 seconds")
      )
      assert.deepStrictEqual([ended.code, ended.stdout], [0, "ok"])
    }))
})

it.live("sends a body that is written before the way is open", () =>
  Effect.gen(function*() {
    const port = yield* httpOrigin()
    const body = "0123456789abcdef".repeat(64 * 1024)
    const agent = agentOf("http", (yield* proxy()).port)
    const text = yield* Effect.callback<string, Error>((resume) => {
      const made = Http.request(`http://localhost:${port}/`, { agent, method: "PUT" }, (response) => {
        let text = ""
        response.setEncoding("utf8").on("data", (part: string) => {
          text += part
        })
        response.on("end", () => resume(Effect.succeed(text)))
      })
      made.on("error", (error) => resume(Effect.fail(error)))
      made.end(body)
    })
    assert.isTrue(text === body, `${text.length} of ${body.length}`)
  }))
