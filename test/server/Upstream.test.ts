import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Chain from "../../src/client/Chain.ts"
import * as UpstreamPool from "../../src/client/UpstreamPool.ts"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { SocksServer } from "../../src/server/SocksServer.ts"
import { Resolver } from "../../src/transport/Resolver.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { ask, C4, CD, connect, connectThrough, G0, hex, port16 } from "../support/RawClient.ts"
import { closedPort, echo, target } from "../support/Targets.ts"
import * as Upstream from "../support/Upstream.ts"

/** Services that go out through proxies. */
const through = (...urls: ReadonlyArray<string>) =>
  UpstreamPool.layer({ chains: [Result.getOrThrow(Chain.fromInput(urls))] }).pipe(Layer.provide(SocksServer.defaults))

/** A SOCKS5 proxy that gives one answer, and keeps what it was asked. */
const answering = Effect.fnUntraced(function*(reply: Uint8Array) {
  const requests: Array<string> = []
  const { port } = yield* target((socket) => {
    socket.once("data", () => {
      socket.write(hex("05 00"))
      socket.once("data", (request: Buffer) => {
        requests.push(request.toString("hex"))
        socket.write(reply)
      })
    })
  })
  return { port, requests, url: `socks5h://127.0.0.1:${port}` }
})

const granted = hex("05 00 00 01 00 00 00 00 00 00")

describe("upstreams", () => {
  it.live("of other makers take a client to its target, alone and one behind the other", () =>
    Effect.gen(function*() {
      const [dante, microsocks] = yield* Effect.all([Upstream.dante, Upstream.microsocks(["ann", "sesame"])])
      const { port: origin } = yield* echo()
      const chains = [
        [`socks5h://127.0.0.1:${dante}`],
        [`socks4://127.0.0.1:${dante}`],
        [`socks5://ann:sesame@127.0.0.1:${microsocks}`],
        [`socks5h://127.0.0.1:${dante}`, `socks5h://ann:sesame@127.0.0.1:${microsocks}`]
      ]
      for (const urls of chains) {
        const { port, records } = yield* proxy({ services: through(...urls) })
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connectThrough(port, origin)
          yield* client.send("ping")
          assert.strictEqual((yield* client.read(4)).toString(), "ping")
        }))
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        const first = urls[0]?.includes("ann") === true ? microsocks : dante
        assert.deepInclude(records[0], {
          destination: `127.0.0.1:${origin}`,
          address: `127.0.0.1:${first}`,
          reply: 0,
          bytesUp: 4,
          bytesDown: 4
        })
      }
    }))

  it.live("that are Sluice itself speak every protocol of it", () =>
    Effect.gen(function*() {
      const inner = yield* proxy()
      const { port: origin } = yield* echo()
      for (const protocol of ["socks5", "socks5h", "socks4", "socks4a", "http"]) {
        const { port } = yield* proxy({ services: through(`${protocol}://127.0.0.1:${inner.port}`) })
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connect(port)
          yield* client.send(G0, CD("localhost", origin), "early")
          assert.strictEqual((yield* client.read(2 + 10)).toString("hex", 0, 4), "05000500")
          assert.strictEqual((yield* client.read(5)).toString(), "early")
          yield* client.end
          assert.strictEqual((yield* client.readToEnd).length, 0)
        }))
      }
      assert.isTrue(yield* within(Effect.sync(() => inner.records.length === 5)))
      assert.deepStrictEqual(
        inner.records.map(({ destination }) => destination),
        ["127.0.0.1", "localhost", "127.0.0.1", "localhost", "localhost"].map((host) => `${host}:${origin}`)
      )
    }))

  it.live("get a name as it was sent, once the policy has judged it, and a literal once its address was judged", () =>
    Effect.gen(function*() {
      const upstream = yield* answering(granted)
      const judged: Array<string> = []
      const policy = Layer.succeed(AccessPolicy, {
        authorize: ({ destination: { host } }) =>
          host === "forbidden.test" ? Effect.fail(new AccessDenied({ rule: "test" })) : AccessPolicy.permit,
        authorizeAddress: (_, address) =>
          Effect.suspend(() => {
            judged.push(NetAddress.formatIp(address))
            return NetAddress.formatIp(address) === "10.0.0.1"
              ? Effect.fail(new AccessDenied({ rule: "test" }))
              : AccessPolicy.permit
          })
      })
      const { port } = yield* proxy({ services: Layer.merge(through(upstream.url), policy) })
      assert.strictEqual((yield* ask(port, CD("Nowhere.Test", 80)))[1], 0)
      assert.deepStrictEqual(upstream.requests, [CD("nowhere.test", 80).toString("hex")])
      assert.deepStrictEqual(judged, [])
      assert.strictEqual((yield* ask(port, CD("forbidden.test", 80)))[1], 2)
      assert.strictEqual((yield* ask(port, C4(80, [10, 0, 0, 1])))[1], 2)
      assert.strictEqual((yield* ask(port, CD("10.0.0.1", 80)))[1], 2)
      assert.strictEqual(upstream.requests.length, 1)
      assert.strictEqual((yield* ask(port, C4(80, [10, 0, 0, 2])))[1], 0)
      assert.strictEqual(upstream.requests.length, 2)
      assert.deepStrictEqual(judged, ["10.0.0.1", "10.0.0.1", "10.0.0.2"])
    }))

  it.live("that look no names up get addresses that were judged", () =>
    Effect.gen(function*() {
      const upstream = yield* answering(granted)
      const ips = ["10.0.0.1", "10.0.0.2"].map(NetAddress.ipFromStringUnsafe)
      const services = Layer.mergeAll(
        through(upstream.url.replace("socks5h", "socks5")),
        Layer.succeed(Resolver, {
          resolve: () => Arr.isReadonlyArrayNonEmpty(ips) ? Effect.succeed(ips) : Effect.die("no addresses")
        }),
        Layer.succeed(AccessPolicy, {
          authorize: () => AccessPolicy.permit,
          authorizeAddress: (_, address) =>
            NetAddress.formatIp(address) === "10.0.0.1"
              ? Effect.fail(new AccessDenied({ rule: "test" }))
              : AccessPolicy.permit
        })
      )
      const { port } = yield* proxy({ services })
      assert.strictEqual((yield* ask(port, CD("two.test", 80)))[1], 0)
      assert.deepStrictEqual(upstream.requests, [C4(80, [10, 0, 0, 2]).toString("hex")])
    }))

  it.live.each([1, 2, 3, 4, 5, 6, 7, 8])("pass reply %i on", (code) =>
    Effect.gen(function*() {
      const upstream = yield* answering(Buffer.concat([Buffer.from([5, code]), granted.subarray(2)]))
      const { port, records } = yield* proxy({ services: through(upstream.url) })
      assert.strictEqual((yield* ask(port, CD("a.test", 80)))[1], code)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { reply: code })
      assert.include(records[0]?.reason, `upstream ${upstream.url}: reply 0${code} (`)
    }))

  it.live.each([[403, 2], [407, 1], [404, 4], [502, 5], [503, 4], [504, 4], [500, 1], [302, 1]])(
    "answer status %i, which becomes reply %i",
    ([status, code]) =>
      Effect.gen(function*() {
        const { port: upstream } = yield* target((socket) => {
          socket.once("data", () => socket.end(`HTTP/1.1 ${status} No\r\n\r\n`))
        })
        const { port } = yield* proxy({ services: through(`http://127.0.0.1:${upstream}`) })
        assert.strictEqual((yield* ask(port, CD("a.test", 80)))[1], code)
      })
  )

  it.live("that can't be reached, or refuse our login, are a general failure, and the log says why", () =>
    Effect.gen(function*() {
      const closed = `socks5h://127.0.0.1:${yield* closedPort}`
      const dead = yield* proxy({ services: through(closed) })
      assert.strictEqual((yield* ask(dead.port, C4(80)))[1], 1)
      assert.isTrue(yield* within(Effect.sync(() => dead.records.length === 1)))
      assert.strictEqual(dead.records[0]?.reason, `upstream ${closed}: can't be reached: ECONNREFUSED`)
      const microsocks = yield* Upstream.microsocks(["ann", "sesame"])
      const wrong = yield* proxy({ services: through(`socks5h://ann:S3cr3t@127.0.0.1:${microsocks}`) })
      assert.strictEqual((yield* ask(wrong.port, C4(80)))[1], 1)
      assert.isTrue(yield* within(Effect.sync(() => wrong.records.length === 1)))
      assert.strictEqual(
        wrong.records[0]?.reason,
        `upstream socks5h://ann@127.0.0.1:${microsocks}: refuses the user name and password`
      )
    }))

  it.live("lose nothing of what a target says first", () =>
    Effect.gen(function*() {
      const upstream = yield* answering(Buffer.concat([granted, Buffer.from("220 early bird\r\n")]))
      const { port } = yield* proxy({ services: through(upstream.url) })
      const client = yield* connect(port)
      yield* client.send(G0, CD("a.test", 25))
      yield* client.read(2 + 10)
      assert.strictEqual((yield* client.read(16)).toString(), "220 early bird\r\n")
    }))

  it.live("are replaced by the next one before the client hears of it", () =>
    Effect.gen(function*() {
      const inner = yield* proxy()
      const { port: origin } = yield* echo()
      const urls = [`socks5h://127.0.0.1:${yield* closedPort}`, `socks5h://127.0.0.1:${inner.port}`] as const
      const chains = Arr.map(urls, (url) => Result.getOrThrow(Chain.fromInput(url)))
      const services = UpstreamPool.layer({ chains }).pipe(Layer.provide(SocksServer.defaults))
      const { port, records } = yield* proxy({ services })
      for (let i = 1; i <= 3; i++) {
        yield* Effect.scoped(connectThrough(port, origin))
        assert.isTrue(yield* within(Effect.sync(() => records.length === i)))
        assert.deepInclude(records[i - 1], { reply: 0, address: `127.0.0.1:${inner.port}` })
      }
    }))

  it.live("are hung up on when the client leaves during the dial", () =>
    Effect.gen(function*() {
      const mute = yield* target((socket) => socket.resume().on("end", () => socket.end()))
      const { port, records } = yield* proxy({ services: through(`socks5h://127.0.0.1:${mute.port}`) })
      const client = yield* connect(port)
      yield* client.send(G0, CD("a.test", 80))
      assert.isTrue(yield* within(Effect.sync(() => mute.open.size === 1)))
      yield* client.reset
      assert.isTrue(yield* within(Effect.sync(() => mute.open.size === 0)))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.reason, "client left during the dial")
    }))

  it.live("leave no way past them: BIND is not served", () =>
    Effect.gen(function*() {
      const upstream = yield* answering(granted)
      const { port } = yield* proxy({ services: through(upstream.url) })
      assert.strictEqual((yield* ask(port, Buffer.concat([hex("05 02 00 01 7f000001"), port16(80)])))[1], 7)
      assert.deepStrictEqual(upstream.requests, [])
    }))

  it.live("forward a request of HTTP too", () =>
    Effect.gen(function*() {
      const inner = yield* proxy()
      const { port: origin } = yield* target((socket) => {
        socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      })
      const { port } = yield* proxy({ services: through(`socks5h://127.0.0.1:${inner.port}`) })
      const client = yield* connect(port)
      yield* client.send(
        `GET http://localhost:${origin}/ HTTP/1.1\r\nHost: localhost:${origin}\r\nConnection: close\r\n\r\n`
      )
      assert.match((yield* client.readToEnd).toString(), /^HTTP\/1\.1 200 .*ok$/s)
      const refused = yield* connect(port)
      yield* refused.send(`CONNECT localhost:${yield* closedPort} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      assert.match((yield* refused.readToEnd).toString(), /^HTTP\/1\.1 502 .*the next proxy can't connect\n$/s)
    }))
})
