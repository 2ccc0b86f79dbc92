/** How a client's HTTP connection comes to its end: by its own, the origin's, or the proxy's doing. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as NodeHttp from "node:http"
import { Dialer } from "../../src/transport/Dialer.ts"
import { DialError } from "../../src/transport/Transport.ts"
import { listen } from "../support/HttpOrigin.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { connect, type RawClient } from "../support/RawClient.ts"
import { target } from "../support/Targets.ts"

const request = (port: number, method = "GET", fields = "") =>
  `${method} http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${fields}\r\n`

/** An origin that answers each connection with the same bytes. */
const saying = (answer: string) => target((socket) => socket.once("data", () => void socket.end(answer)))

const ask = (port: number, text: string) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* connect(port)
    yield* client.send(text)
    return (yield* client.readToEnd).toString("latin1")
  }))

/** Up to and with what is behind the head: two bytes. */
const readOk = Effect.fnUntraced(function*(client: RawClient) {
  let text = ""
  while (!text.endsWith("\r\n\r\nok")) text += (yield* client.read(1)).toString("latin1")
  return text
})

describe("a response", () => {
  it.live.each(["gzip", "gzip, chunked", "identity", "chunked, chunked"])(
    "whose transfer-encoding is %s is none: its content would be taken for plain",
    (coding) =>
      Effect.gen(function*() {
        const { port } = yield* proxy()
        const origin = yield* saying(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`)
        assert.match(yield* ask(port, request(origin.port)), /^HTTP\/1\.1 502 .*\r\n\r\n502 .*\n$/s)
      })
  )

  it.live("that is chunked, in whatever letters, is passed on", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const origin = yield* saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
      assert.match(yield* ask(port, request(origin.port, "GET", "Connection: close\r\n")), /^HTTP\/1\.1 200 .*ok/s)
    }))

  it.live("that comes before the request is whole says that it is the last", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const origin = yield* saying("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
      const answer = yield* ask(port, `${request(origin.port, "POST", "Content-Length: 1000\r\n")}some`)
      assert.match(answer, /^HTTP\/1\.1 413 .*\r\nConnection: close\r\n/s)
    }))

  it.live.each(["EMFILE", "EADDRNOTAVAIL", "ENOBUFS"])(
    "tells of %s here as of this proxy's trouble: 503",
    (code) =>
      Effect.gen(function*() {
        const address = NetAddress.inetAddressFromStringUnsafe("127.0.0.1:80")
        const { port } = yield* proxy({
          services: Layer.succeed(Dialer, {
            dial: () => Effect.fail(new DialError({ reason: "Unknown", address, code }))
          })
        })
        assert.match(yield* ask(port, request(80)), new RegExp(`^HTTP/1.1 503 Service Unavailable\r\n.*${code}`, "s"))
      })
  )
})

describe("a drain", () => {
  const slow = Effect.suspend(() =>
    listen(NodeHttp.createServer((incoming, response) => {
      setTimeout(() => response.end("ok"), incoming.url === "/slow" ? 300 : 0)
    }))
  )

  it.live("ends connections that wait for another request at once", () =>
    Effect.gen(function*() {
      const to = yield* slow
      const { port, records, server } = yield* proxy({ drainTimeout: "20 seconds" })
      const client = yield* connect(port)
      yield* client.send(request(to))
      assert.match(yield* readOk(client), /\r\nConnection: keep-alive\r\n/)
      const drained = yield* Effect.forkChild(server.drain)
      assert.strictEqual((yield* Effect.timeout(client.readToEnd, "2 seconds")).length, 0)
      yield* client.end
      yield* Effect.timeout(Fiber.join(drained), "2 seconds")
      assert.deepInclude(records[0], { reason: "done", protocol: "http" })
    }))

  it.live("lets the answer that is under way come, as the last", () =>
    Effect.gen(function*() {
      const to = yield* slow
      const { port, server, sessions } = yield* proxy({ drainTimeout: "20 seconds" })
      const client = yield* connect(port)
      yield* client.send(request(to).replace(`:${to}/`, `:${to}/slow`))
      assert.isTrue(
        yield* within(Effect.map(sessions.list, ([session]) => session?.phase === "relay"), "2 seconds")
      )
      const drained = yield* Effect.forkChild(server.drain)
      const answer = (yield* client.readToEnd).toString()
      assert.match(answer, /^HTTP\/1\.1 200 OK\r\n.*\r\nConnection: close\r\n.*ok/s)
      yield* client.end
      yield* Effect.timeout(Fiber.join(drained), "2 seconds")
    }))
})
