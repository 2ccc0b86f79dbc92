import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { createHash, randomBytes } from "node:crypto"
import * as NodeHttp from "node:http"
import type * as Net from "node:net"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import * as Users from "../../src/policy/Users.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import { ResolveError, Resolver } from "../../src/transport/Resolver.ts"
import { timedOut } from "../../src/transport/Transport.ts"
import { answer, listen } from "../support/HttpOrigin.ts"
import { comesToRest, within } from "../support/Polling.ts"
import { type Proxy, proxy } from "../support/Proxy.ts"
import { connect, type RawClient } from "../support/RawClient.ts"
import { closedPort, echo, silent, target } from "../support/Targets.ts"

const mebibyte = 1024 * 1024
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const ended = ({ records }: Proxy, count = 1) =>
  Effect.map(within(Effect.sync(() => records.length >= count), "3 seconds"), (true_) => {
    assert.isTrue(true_, "a record")
    return records[count - 1]
  })

interface Answered {
  readonly status: number
  readonly head: string
  readonly body: string
}

const split = (bytes: Buffer): Answered => {
  const text = bytes.toString("latin1")
  const end = text.indexOf("\r\n\r\n")
  assert.isAtLeast(end, 0, `a head in ${JSON.stringify(text.slice(0, 200))}`)
  const head = text.slice(0, end + 2)
  const [, status = ""] = /^HTTP\/1\.1 (\d{3}) .*\r\n/.exec(head) ?? []
  return { status: Number(status), head, body: text.slice(end + 4) }
}

/** Sends it, and reads all that comes until the proxy closes. */
const ask = (port: number, ...parts: ReadonlyArray<string | Uint8Array>) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* connect(port)
    yield* client.send(...parts)
    return split(yield* client.readToEnd)
  }))

/** A head, up to and with its empty line. */
const readHead = Effect.fnUntraced(function*(client: RawClient) {
  let head = ""
  while (!head.endsWith("\r\n\r\n")) head += (yield* client.read(1)).toString("latin1")
  return head
})

/** A response with a Content-Length. */
const readResponse = Effect.fnUntraced(function*(client: RawClient) {
  const head = yield* readHead(client)
  const [, length = "0"] = /^content-length: (\d+)\r$/im.exec(head) ?? []
  return split(Buffer.concat([Buffer.from(head, "latin1"), yield* client.read(Number(length))]))
})

const get = (port: number, path = "/", fields = "") =>
  `GET http://127.0.0.1:${port}${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${fields}\r\n`

const origin = (handler: NodeHttp.RequestListener) => Effect.suspend(() => listen(NodeHttp.createServer(handler)))

/** An origin that keeps what it is asked, in the bytes of the head. */
const recorder = Effect.suspend(() => {
  const heads: Array<string> = []
  return Effect.map(
    target((socket) => {
      let text = ""
      socket.on("data", (data) => {
        text += data.toString("latin1")
        if (!text.includes("\r\n\r\n")) return
        heads.push(text)
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      })
    }),
    ({ accepted, port }) => ({ accepted, heads, port })
  )
})

const users = Layer.orDie(Users.layer({
  users: [{ name: "ann", password: Redacted.make("sesame") }, { name: "bö b", password: Redacted.make("p:ä%") }]
}))

const basic = (text: string) => `Proxy-Authorization: Basic ${Buffer.from(text).toString("base64")}\r\n`

describe("CONNECT", () => {
  it.live("makes a tunnel that half-closes, and keeps what was sent ahead", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* echo()
      const client = yield* connect(server.port)
      yield* client.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\nearly `)
      assert.strictEqual(yield* readHead(client), "HTTP/1.1 200 Connection established\r\n\r\n")
      yield* client.send("late")
      yield* client.end
      assert.strictEqual((yield* client.readToEnd).toString(), "early late")
      assert.deepInclude(yield* ended(server), {
        protocol: "http",
        destination: `127.0.0.1:${port}`,
        address: `127.0.0.1:${port}`,
        reply: 0,
        bytesUp: 10,
        bytesDown: 10,
        reason: "done"
      })
    }))

  it.live("keeps much that was sent ahead, to the byte", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* echo()
      const client = yield* connect(server.port)
      const early = randomBytes(2 * mebibyte)
      yield* client.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\n\r\n`, early)
      yield* client.end
      assert.include(yield* readHead(client), " 200 ")
      assert.strictEqual(sha256(yield* client.readToEnd), sha256(early))
      assert.deepInclude(yield* ended(server), { bytesUp: early.length, bytesDown: early.length, reason: "done" })
    }))

  it.live("is understood byte by byte, with a name, and from HTTP/1.0", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* echo()
      const client = yield* connect(server.port)
      for (const byte of Buffer.from(`CONNECT LOCALHOST:${port} HTTP/1.0\r\nX: y\r\n\r\n!`)) {
        yield* client.send(Uint8Array.of(byte))
        yield* Effect.sleep(1)
      }
      assert.include(yield* readHead(client), " 200 ")
      assert.strictEqual((yield* client.read(1)).toString(), "!")
      yield* client.end
      assert.deepInclude(yield* ended(server), { destination: `localhost:${port}` })
    }))

  it.live("reaches an IPv6 address", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* echo("::1")
      const client = yield* connect(server.port)
      yield* client.send(`CONNECT [::1]:${port} HTTP/1.1\r\n\r\n`)
      assert.include(yield* readHead(client), " 200 ")
      yield* client.end
      assert.deepInclude(yield* ended(server), { destination: `[::1]:${port}` })
    }))

  const refused: ReadonlyArray<readonly [string, string, number]> = [
    ["without a port", "CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n", 400],
    ["to port 0", "CONNECT 127.0.0.1:0 HTTP/1.1\r\n\r\n", 400],
    ["to port 65536", "CONNECT 127.0.0.1:65536 HTTP/1.1\r\n\r\n", 400],
    ["to a URL", "CONNECT http://127.0.0.1:80/ HTTP/1.1\r\n\r\n", 400],
    ["with user information", "CONNECT a@127.0.0.1:80 HTTP/1.1\r\n\r\n", 400],
    ["to what only a system resolver takes for an address", "CONNECT 127.1:80 HTTP/1.1\r\n\r\n", 400],
    ["with content", "CONNECT 127.0.0.1:80 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400]
  ]
  it.live.each(refused)("is refused %s", ([, request, status]) =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      assert.strictEqual((yield* ask(port, request)).status, status)
    }))
})

describe("a request for a URL", () => {
  it.live("goes on in origin form, without what is between client and proxy", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { heads, port } = yield* recorder
      const { body, head, status } = yield* ask(
        server.port,
        `GET http://LOCALHOST:${port}?q=1 HTTP/1.1\r\nX-First: 1\r\nHost: elsewhere\r\nConnection: close, X-Secret, HOST\r\n`,
        "X-Secret: 1\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\n",
        `${basic("who:cares")}Accept: */*\r\naccept: text/html\r\nMax-Forwards: 3\r\n\r\n`
      )
      assert.deepStrictEqual({ body, status }, { body: "ok", status: 200 })
      assert.match(head, /^HTTP\/1\.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n$/)
      assert.deepStrictEqual(heads, [
        `GET /?q=1 HTTP/1.1\r\nHost: LOCALHOST:${port}\r\nX-First: 1\r\nAccept: */*\r\naccept: text/html\r\n` +
        "Max-Forwards: 3\r\nConnection: close\r\n\r\n"
      ])
      assert.deepInclude(yield* ended(server), {
        protocol: "http",
        user: undefined,
        destination: `localhost:${port}`,
        address: `127.0.0.1:${port}`,
        reply: 0,
        bytesUp: heads[0]?.length ?? 0,
        bytesDown: 40,
        reason: "done"
      })
    }))

  it.live("is one of many on a connection, each with a destination of its own, and a tunnel at the end", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const [one, two] = [yield* origin((_, response) => response.end("one")), yield* recorder]
      const { port } = yield* echo()
      const client = yield* connect(server.port)
      for (let i = 0; i < 5; i++) {
        yield* client.send(get(one))
        const first = yield* readResponse(client)
        assert.deepInclude(first, { status: 200, body: "one" })
        assert.match(first.head, /\r\nConnection: keep-alive\r\n/)
        yield* client.send(get(two.port))
        assert.deepInclude(yield* readResponse(client), { status: 200, body: "ok" })
      }
      yield* client.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\n\r\nhello`)
      assert.include(yield* readHead(client), " 200 ")
      yield* client.end
      assert.strictEqual((yield* client.readToEnd).toString(), "hello")
      assert.deepInclude(yield* ended(server), { destination: `127.0.0.1:${port}`, reply: 0, reason: "done" })
      assert.strictEqual(server.records.length, 1)
    }))

  it.live("is answered in its turn when several are sent at once, however many", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const port = yield* origin((request, response) => setTimeout(() => response.end(request.url), Math.random() * 5))
      const { port: tunnel } = yield* echo()
      const client = yield* connect(server.port)
      const count = 200
      for (let i = 0; i < count; i++) yield* client.send(get(port, `/${i}`))
      yield* client.send(`CONNECT 127.0.0.1:${tunnel} HTTP/1.1\r\n\r\nhello`)
      yield* client.end
      for (let i = 0; i < count; i++) assert.deepInclude(yield* readResponse(client), { status: 200, body: `/${i}` })
      assert.include(yield* readHead(client), " 200 ")
      assert.strictEqual((yield* client.readToEnd).toString(), "hello")
    }))

  it.live("is not read while another one waits: a client that sends them without end has to stop", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { accepted, open, port } = yield* silent
      const client = yield* connect(server.port)
      const size = 32 * mebibyte
      yield* client.send(get(port).repeat(Math.ceil(size / get(port).length)))
      assert.isTrue(yield* comesToRest(() => client.socket.writableLength))
      // The kernel's buffers take some, the proxy next to nothing.
      assert.isAbove(client.socket.writableLength, size / 2)
      assert.strictEqual(accepted(), 1)
      client.socket.destroy()
      for (const socket of open) socket.destroy()
      assert.match((yield* ended(server))?.reason ?? "", /^no HTTP response/)
    }))

  it.live("keeps the connection of a client that half-closed until it has its answer", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* target((socket) => {
        socket.on("data", () => {})
        socket.on("end", () => setTimeout(() => socket.end("HTTP/1.0 200 Fine\r\n\r\nafter the end"), 50))
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      yield* client.end
      const { body, head } = split(yield* client.readToEnd)
      assert.match(head, /^HTTP\/1\.1 200 Fine\r\n(Connection|Transfer-Encoding): /)
      assert.include(body, "after the end")
      assert.deepInclude(yield* ended(server), { reason: "done" })
    }))

  it.live("has its status, all of its fields and no others answered", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* target((socket) => {
        socket.once("data", () =>
          socket.end(
            "HTTP/1.1 418 I'm a \u00e9 teapot\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nX-\u0041: \u00e4 \r\n" +
              "Connection: x-hop\r\nX-Hop: 1\r\nProxy-Authenticate: Basic\r\nKeep-Alive: timeout=5\r\n" +
              "Content-Length: 3\r\n\r\ntea",
            "latin1"
          ))
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      const { body, head } = yield* readResponse(client)
      assert.strictEqual(
        head,
        "HTTP/1.1 418 I'm a \u00e9 teapot\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nX-A: \u00e4\r\n" +
          "Content-Length: 3\r\nConnection: keep-alive\r\n"
      )
      assert.strictEqual(body, "tea")
    }))

  it.live("of HEAD has a length and no content, and the next one its answer", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const port = yield* origin((_, response) => {
        response.setHeader("Content-Length", 5)
        response.end("hello")
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port).replace("GET", "HEAD"))
      assert.match(yield* readHead(client), / 200 OK\r\n(.+\r\n)*Content-Length: 5\r\n/)
      yield* client.send(get(port))
      assert.deepInclude(yield* readResponse(client), { status: 200, body: "hello" })
    }))

  it.live("is answered by 204 and 304 without content", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const port = yield* origin((request, response) => {
        response.statusCode = Number(request.url?.slice(1))
        response.end()
      })
      const client = yield* connect(server.port)
      for (const status of [204, 304, 204]) {
        yield* client.send(get(port, `/${status}`))
        assert.match(yield* readHead(client), new RegExp(`^HTTP/1\\.1 ${status} `))
      }
    }))

  it.live("gets the head of an answer before its content comes", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const port = yield* origin((_, response) => response.flushHeaders())
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      assert.match(yield* readHead(client), /^HTTP\/1\.1 200 OK\r\n/)
    }))

  it.live("of HTTP/1.0 is answered up to the end of the connection", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const port = yield* origin((_, response) => {
        response.write("a")
        response.end("b")
      })
      const { body, head } = yield* ask(server.port, `GET http://127.0.0.1:${port}/ HTTP/1.0\r\n\r\n`)
      assert.strictEqual(body, "ab")
      assert.match(head, /\r\nConnection: close\r\n/)
      assert.notMatch(head, /transfer-encoding/i)
    }))

  it.live("asks the server itself by OPTIONS without a path", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { heads, port } = yield* recorder
      yield* ask(server.port, `OPTIONS http://127.0.0.1:${port} HTTP/1.1\r\nConnection: close\r\n\r\n`)
      assert.match(heads[0] ?? "", /^OPTIONS \* HTTP\/1\.1\r\n/)
    }))
})

describe("content", () => {
  it.live.each([["with a length", true], ["in chunks", false]] as const)(
    "goes both ways to the byte: 8 MiB %s",
    ([, known]) =>
      Effect.gen(function*() {
        const server = yield* proxy()
        const port = yield* origin((request, response) => {
          if (known) response.setHeader("Content-Length", request.headers["content-length"] ?? "")
          request.pipe(response)
        })
        const sent = randomBytes(8 * mebibyte)
        const received = createHash("sha256")
        let size = 0
        const status = yield* Effect.callback<number | undefined>((resume) => {
          const request = NodeHttp.request({
            host: "127.0.0.1",
            port: server.port,
            method: "PUT",
            path: `http://127.0.0.1:${port}/`,
            agent: false,
            headers: known ? { "Content-Length": sent.length } : {}
          }, (response) => {
            response.on("data", (data: Buffer) => {
              size += data.length
              received.update(data)
            })
            response.on("end", () => resume(Effect.succeed(response.statusCode)))
          })
          request.on("error", (error) => resume(Effect.die(error)))
          for (let at = 0; at < sent.length; at += 100_000) request.write(sent.subarray(at, at + 100_000))
          request.end()
        })
        assert.deepStrictEqual({ status, size }, { status: 200, size: sent.length })
        assert.strictEqual(received.digest("hex"), sha256(sent))
        const record = yield* ended(server)
        assert.isAtLeast(record?.bytesUp ?? 0, sent.length)
        assert.isAtLeast(record?.bytesDown ?? 0, sent.length)
      })
  )

  it.live("in chunks stays in chunks, whatever the method, and without content POST says so", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const bodies: Array<string> = []
      const port = yield* origin((request, response) => {
        let body = ""
        request.on("data", (data) => body += data)
        request.on("end", () => {
          const { "content-length": length, "transfer-encoding": coding } = request.headers
          bodies.push(`${request.method} ${length} ${coding} ${body}`)
          response.end()
        })
      })
      const client = yield* connect(server.port)
      for (const method of ["GET", "DELETE", "POST"]) {
        const head = get(port, "/", "Transfer-Encoding: Chunked\r\n").replace("GET", method)
        yield* client.send(head, "3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert.deepInclude(yield* readResponse(client), { status: 200 })
      }
      yield* client.send(get(port).replace("GET", "POST"))
      assert.deepInclude(yield* readResponse(client), { status: 200 })
      yield* client.send(get(port))
      assert.deepInclude(yield* readResponse(client), { status: 200 })
      assert.deepStrictEqual(bodies, [
        "GET undefined chunked abc",
        "DELETE undefined chunked abc",
        "POST undefined chunked abc",
        "POST 0 undefined ",
        "GET undefined undefined "
      ])
    }))

  it.live("is given up when the origin has answered without it", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* target((socket) => {
        socket.once("data", () => socket.end("HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\ntoo"))
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port, "/", `Content-Length: ${8 * mebibyte}\r\n`).replace("GET", "PUT"))
      yield* client.send(Buffer.alloc(mebibyte))
      assert.deepInclude(split(yield* client.readToEnd), { status: 413, body: "too" })
      yield* client.end
      assert.deepInclude(yield* ended(server), { reply: 0, reason: "done" })
    }))

  it.live("waits for an origin that does not read", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { open, port } = yield* silent
      const client = yield* connect(server.port)
      const size = 64 * mebibyte
      yield* client.send(get(port, "/", `Content-Length: ${size}\r\n`).replace("GET", "PUT"), Buffer.alloc(size))
      assert.isTrue(yield* comesToRest(() => client.socket.writableLength))
      // The kernel's buffers take some, the proxy next to nothing.
      assert.isAbove(client.socket.writableLength, size / 2)
      assert.strictEqual(open.size, 1)
      assert.strictEqual((yield* server.sessions.list)[0]?.phase, "relay")
    }))

  it.live("waits for a client that does not read", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      let sent = 0
      const block = Buffer.alloc(mebibyte)
      const port = yield* origin((_, response) => {
        const push = () => {
          while (sent < 256) {
            sent++
            if (!response.write(block)) return void response.once("drain", push)
          }
        }
        push()
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      yield* readHead(client)
      assert.isTrue(yield* comesToRest(() => sent))
      assert.isBelow(sent, 64)
    }))
})

const expecting = (port: number) =>
  get(port, "/", "Content-Length: 5\r\nExpect: 100-continue\r\n").replace("GET", "PUT")

describe("Expect: 100-continue", () => {
  it.live("is the origin's to meet", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const port = yield* origin(answer)
      const client = yield* connect(server.port)
      for (let i = 0; i < 2; i++) {
        yield* client.send(expecting(port))
        assert.strictEqual(yield* readHead(client), "HTTP/1.1 100 Continue\r\n\r\n")
        yield* client.send("hello")
        assert.match(yield* readHead(client), /^HTTP\/1\.1 200 OK\r\n(.+\r\n)*Connection: keep-alive\r\n/)
        assert.strictEqual((yield* client.read(15)).toString(), "5\r\nhello\r\n0\r\n\r\n")
      }
    }))

  it.live("that is not met ends the connection: what comes next can't be told from content", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const http = NodeHttp.createServer()
      http.on("checkContinue", (_, response) => {
        response.statusCode = 413
        response.end("no")
      })
      const port = yield* listen(http)
      const { body, head: answered, status } = yield* ask(server.port, expecting(port))
      assert.strictEqual(status, 413)
      assert.match(answered, /\r\nConnection: close\r\n/)
      assert.include(body, "no")
    }))

  it.live("is not needed for other informational responses", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* target((socket) => {
        socket.once("data", () =>
          socket.end(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
          ))
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      assert.strictEqual(
        yield* readHead(client),
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
      )
      assert.match(yield* readHead(client), /^HTTP\/1\.1 200 OK\r\n/)
    }))
})

describe("logging in", () => {
  const guarded = proxy({ services: users })

  it.live("is asked for, by Basic, of CONNECT and of URLs", () =>
    Effect.gen(function*() {
      const server = yield* guarded
      for (const request of [get(1), "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n"]) {
        const { body, head, status } = yield* ask(server.port, request)
        assert.strictEqual(status, 407)
        assert.match(head, /\r\nProxy-Authenticate: Basic realm="sluice"\r\n/)
        assert.match(body, /^407 .+: log in/)
      }
      assert.deepInclude(yield* ended(server), { user: undefined, reply: undefined, destination: undefined })
    }))

  const wrong: ReadonlyArray<readonly [string, string, string | undefined]> = [
    ["a wrong password", basic("ann:open"), "ann"],
    ["an unknown name", basic("bob:sesame"), "bob"],
    ["no colon", basic("ann"), undefined],
    ["no Base64", "Proxy-Authorization: Basic a\r\n", undefined],
    ["no UTF-8", `Proxy-Authorization: Basic ${Buffer.from("an\xff:x", "latin1").toString("base64")}\r\n`, undefined],
    ["another scheme", "Proxy-Authorization: Bearer YW5uOnNlc2FtZQ==\r\n", undefined],
    ["the field for origins", basic("ann:sesame").replace("Proxy-", ""), undefined]
  ]
  it.live.each(wrong)("fails with %s, and the log has the name", ([, field, user]) =>
    Effect.gen(function*() {
      const server = yield* guarded
      const { port } = yield* echo()
      assert.strictEqual((yield* ask(server.port, get(port, "/", field))).status, 407)
      const record = yield* ended(server)
      assert.deepInclude(record, { user, reply: undefined })
      assert.notMatch(JSON.stringify(record), /sesame/)
    }))

  it.live("fails with two logins at once", () =>
    Effect.gen(function*() {
      const server = yield* guarded
      const { accepted, port } = yield* echo()
      const { status } = yield* ask(server.port, get(port, "/", basic("ann:sesame") + basic("ann:open")))
      assert.strictEqual(status, 400)
      assert.strictEqual(accepted(), 0)
    }))

  it.live("is needed by each request, under the name that it has", () =>
    Effect.gen(function*() {
      const server = yield* guarded
      const { accepted, heads, port } = yield* recorder
      const client = yield* connect(server.port)
      yield* client.send(get(port, "/", basic("ann:sesame").replace("Basic", "bAsIc")))
      assert.deepInclude(yield* readResponse(client), { status: 200 })
      assert.strictEqual((yield* server.sessions.list)[0]?.user, "ann")
      yield* client.send(get(port, "/", basic("bö b:p:ä%")))
      assert.deepInclude(yield* readResponse(client), { status: 200 })
      assert.strictEqual((yield* server.sessions.list)[0]?.user, "bö b")
      assert.notMatch(heads.join(""), /proxy-authorization/i)
      yield* client.send(get(port))
      assert.deepInclude(split(yield* client.readToEnd), { status: 407 })
      assert.strictEqual(accepted(), 2)
      yield* client.end
      assert.deepInclude(yield* ended(server), { user: "bö b", reply: undefined })
    }))

  it.live("is checked once while it stays the same", () =>
    Effect.gen(function*() {
      let checked = 0
      const services = Layer.succeed(Authenticator, {
        required: true,
        authenticate: ({ username }) =>
          Effect.sync(() => {
            checked++
            return { name: `${username}!` }
          })
      })
      const server = yield* proxy({ services })
      const { port } = yield* recorder
      const client = yield* connect(server.port)
      for (const login of ["a:b", "a:b", "a:b", "a:c", "a:b"]) {
        yield* client.send(get(port, "/", basic(login)))
        assert.deepInclude(yield* readResponse(client), { status: 200 })
      }
      assert.strictEqual(checked, 3)
      assert.strictEqual((yield* server.sessions.list)[0]?.user, "a!")
    }))
})

describe("a request that two parsers could read in two ways", () => {
  const shapes: ReadonlyArray<readonly [string, (head: string) => string]> = [
    ["two equal lengths", (head) => `${head}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
    ["two lengths", (head) => `${head}Content-Length: 3\r\ncontent-length: 30\r\n\r\nabc`],
    ["a list of lengths", (head) => `${head}Content-Length: 3, 3\r\n\r\nabc`],
    ["a length with a sign", (head) => `${head}Content-Length: +3\r\n\r\nabc`],
    ["a length and chunks", (head) => `${head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["chunks and a length", (head) => `${head}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`],
    ["two codings", (head) => `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["chunks that are not last", (head) => `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
    ["a vertical tab", (head) => `${head}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
    ["chunks in HTTP/1.0", (head) => `${head.replace("1.1", "1.0")}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["a folded field", (head) => `${head}X: a\r\n b\r\n\r\n`],
    ["a folded coding", (head) => `${head}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`],
    ["a fold behind the request line", (head) => head.replace("\r\n", "\r\n ") + "\r\n"],
    ["bare LF in all lines", (head) => `${head}\r\n`.replaceAll("\r\n", "\n")],
    ["bare LF behind the request line", (head) => `${head.replace("\r\n", "\n")}\r\n`],
    ["bare LF behind a field", (head) => `${head}X: a\nY: b\r\n\r\n`],
    ["bare LF in the empty line", (head) => `${head}\n`],
    ["bare CR", (head) => `${head}X: a\rY: b\r\n\r\n`],
    ["a space before the colon", (head) => `${head}Content-Length : 3\r\n\r\nabc`],
    ["a tab before the colon", (head) => `${head}X\t: a\r\n\r\n`],
    ["a field without a name", (head) => `${head}: a\r\n\r\n`],
    ["a NUL", (head) => `${head}X: a\0b\r\n\r\n`],
    ["two hosts", (head) => `${head}Host: b\r\n\r\n`]
  ]
  it.live.each(shapes)("is refused: %s", ([, shape]) =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { accepted, port } = yield* recorder
      const bytes = Buffer.from(shape(get(port).slice(0, -2)), "latin1")
      assert.strictEqual((yield* ask(server.port, bytes)).status, 400)
      assert.strictEqual(accepted(), 0)
      assert.deepInclude(yield* ended(server), { protocol: "http", reply: 1 })
    }))

  it.live("is refused behind a good one, which has its answer", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { accepted, port } = yield* recorder
      const client = yield* connect(server.port)
      yield* client.send(get(port), get(port, "/", "X : y\r\n"))
      assert.deepInclude(yield* readResponse(client), { status: 200, body: "ok" })
      assert.deepInclude(split(yield* client.readToEnd), { status: 400 })
      assert.strictEqual(accepted(), 1)
    }))

  const chunks: ReadonlyArray<readonly [string, string]> = [
    ["no size", "xyz\r\n"],
    ["a bare LF behind the size", "3\nabc\r\n0\r\n\r\n"],
    ["a bare LF behind the data", "3\r\nabc\n0\r\n\r\n"],
    ["a bare LF in an extension", "3;a=\nb\r\nabc\r\n0\r\n\r\n"],
    ["more data than its size", "3\r\nabcd\r\n0\r\n\r\n"],
    ["a hexadecimal prefix", "0x3\r\nabc\r\n0\r\n\r\n"],
    ["a length in the trailer", "0\r\nContent-Length: 5\r\n\r\n"]
  ]
  it.live.each(chunks)(
    "is refused for a chunk with %s, and the origin's connection reset",
    ([, content]) =>
      Effect.gen(function*() {
        const server = yield* proxy()
        const { open, port } = yield* silent
        const { status } = yield* ask(server.port, get(port, "/", "Transfer-Encoding: chunked\r\n"), content)
        assert.strictEqual(status, 400)
        for (const socket of open) socket.resume()
        assert.isTrue(yield* within(Effect.sync(() => open.size === 0)))
      })
  )

  it.live("is not made by more fields than Node counts", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { heads, port } = yield* recorder
      const many = "a: b\r\n".repeat(1500)
      const fields = `${many}Connection: x, close\r\nX: y\r\nContent-Length: 0\r\n`
      assert.strictEqual((yield* ask(server.port, get(port, "/", fields))).status, 200)
      assert.match(heads[0] ?? "", /\r\na: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n$/)
      assert.notMatch(heads[0] ?? "", /\r\nx: /i)
    }))
})

const head = (line: string) => `${line}\r\nHost: a\r\n\r\n`

describe("what is not served", () => {
  const requests: ReadonlyArray<readonly [string, string, number, RegExp]> = [
    ["origin form", head("GET / HTTP/1.1"), 400, /this port is a proxy, not a web server/],
    ["the server as such", head("OPTIONS * HTTP/1.1"), 400, /this port is a proxy/],
    ["https", head("GET https://127.0.0.1/ HTTP/1.1"), 400, /CONNECT/],
    ["ftp", head("GET ftp://127.0.0.1/ HTTP/1.1"), 400, /this port is a proxy/],
    ["user information", head("GET http://a:b@127.0.0.1/ HTTP/1.1"), 400, /user information/],
    ["no host", head("GET http:///a HTTP/1.1"), 400, /destination/],
    ["a name that is none", head("GET http://a..b/ HTTP/1.1"), 400, /a\.\.b/],
    ["a fragment", head("GET http://127.0.0.1/#a HTTP/1.1"), 400, /fragment/],
    ["a high port", head("GET http://127.0.0.1:99999/ HTTP/1.1"), 400, /port/],
    ["a byte that is not ASCII", head("GET http://127.0.0.1/ä HTTP/1.1"), 400, /url/i],
    ["an unknown method", head("BREW http://127.0.0.1/ HTTP/1.1"), 501, /method/],
    ["TRACE", head("TRACE http://127.0.0.1/ HTTP/1.1"), 501, /TRACE/],
    ["other text", "HELLO there\r\n", 501, /method/],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, /./],
    ["a later version", head("GET http://127.0.0.1/ HTTP/2.0"), 505, /HTTP\/1\.1/],
    ["no version", "GET http://127.0.0.1/\r\n\r\n", 505, /HTTP\/1\.1/],
    ["a long head", head(`GET http://127.0.0.1/${"a".repeat(17_000)} HTTP/1.1`), 431, /16384/],
    ["another coding", `${get(1).slice(0, -2)}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501, /transfer-encoding/],
    ["one coding more", `${get(1).slice(0, -2)}Transfer-Encoding: gzip\r\n\r\n`, 501, /transfer-encoding/]
  ]
  it.live.each(requests)("is told so: %s", ([, request, status, why]) =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const answered = yield* ask(server.port, request)
      assert.strictEqual(answered.status, status)
      assert.match(answered.head, /\r\nContent-Type: text\/plain; charset=utf-8\r\n/)
      assert.match(answered.head, new RegExp(`\r\nContent-Length: ${answered.body.length}\r\n`))
      assert.match(answered.head, /\r\nConnection: close\r\n$/)
      assert.match(answered.body, new RegExp(`^${status} .*${why.source}.*\n$`, why.flags))
    }))

  it.live("ends in silence where HTTP is not among the protocols", () =>
    Effect.gen(function*() {
      const server = yield* proxy({ protocols: ["socks5"] })
      const client = yield* connect(server.port)
      yield* client.send(get(1))
      assert.strictEqual((yield* client.readToEnd).length, 0)
      yield* client.end
      assert.deepInclude(yield* ended(server), { protocol: undefined, looksLike: "HTTP, or other text" })
    }))
})

const resolving = (reason: "NotFound" | "TimedOut") =>
  Layer.succeed(Resolver, { resolve: (name) => Effect.fail(new ResolveError({ reason, name, code: "ECODE" })) })

describe("a refusal", () => {
  const open: AccessPolicy["Service"] = {
    authorize: () => AccessPolicy.permit,
    authorizeAddress: () => AccessPolicy.permit
  }
  const denied = Effect.fail(new AccessDenied({ rule: "a secret rule" }))
  const causes: ReadonlyArray<readonly [string, Layer.Layer<never>, number, number, RegExp]> = [
    ["of a request", Layer.succeed(AccessPolicy, { ...open, authorize: () => denied }), 403, 2, /does not let you/],
    ["of an address", Layer.succeed(AccessPolicy, { ...open, authorizeAddress: () => denied }), 403, 2, /let you/],
    ["of an unknown name", resolving("NotFound"), 502, 4, /name/],
    ["when names take too long", resolving("TimedOut"), 504, 4, /too long/],
    [
      "when connecting takes too long",
      Layer.succeed(Dialer, {
        dial: ([address], port) => Effect.fail(timedOut(NetAddress.inetAddressUnsafe(address, port)))
      }),
      504,
      4,
      /too long/
    ],
    [
      "when something breaks",
      Layer.succeed(AccessPolicy, { ...open, authorize: () => Effect.die("a bug") }),
      500,
      1,
      /./
    ]
  ]
  for (const [name, services, status, reply, why] of causes) {
    it.live(`has a status: ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* proxy({ services })
        for (const request of ["CONNECT localhost:80 HTTP/1.1\r\n\r\n", "GET http://localhost/ HTTP/1.1\r\n\r\n"]) {
          const answered = yield* ask(server.port, request)
          assert.strictEqual(answered.status, status)
          assert.match(answered.body, why)
          assert.notMatch(answered.body, /secret|127\.0\.0\.1|::1/)
        }
        assert.deepInclude(yield* ended(server, 2), { reply, destination: "localhost:80" })
      }).pipe(Effect.provide(Logger.layer([]))))
  }

  it.live("is logged without the address of the request before it on the same connection", () =>
    Effect.gen(function*() {
      const first = yield* origin((_, response) => response.end("one"))
      const services = Layer.succeed(AccessPolicy, {
        ...open,
        authorize: ({ destination: { port } }) => port === 25 ? denied : AccessPolicy.permit
      })
      const server = yield* proxy({ services })
      const client = yield* connect(server.port)
      yield* client.send(get(first))
      assert.deepInclude(yield* readResponse(client), { status: 200, body: "one" })
      yield* client.send(get(25))
      assert.deepInclude(yield* readResponse(client), { status: 403 })
      yield* client.end
      assert.deepInclude(yield* ended(server), { destination: "127.0.0.1:25", address: undefined, reply: 2 })
    }))

  it.live("has a status when nobody listens, and leaves no content behind HEAD", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const nobody = yield* closedPort
      const answered = yield* ask(server.port, get(nobody))
      assert.strictEqual(answered.status, 502)
      assert.match(answered.body, /ECONNREFUSED/)
      assert.deepInclude(yield* ended(server), { reply: 5, destination: `127.0.0.1:${nobody}` })
      const toHead = yield* ask(server.port, get(nobody).replace("GET", "HEAD"))
      assert.deepInclude(toHead, { status: 502, body: "" })
    }))

  it.live("reaches a client that still sends", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const nobody = yield* closedPort
      const client = yield* connect(server.port)
      yield* client.send(get(nobody, "/", `Content-Length: ${mebibyte}\r\n`).replace("GET", "PUT"))
      yield* client.send(Buffer.alloc(mebibyte / 2))
      assert.deepInclude(split(yield* client.readToEnd), { status: 502 })
    }))

  const origins: ReadonlyArray<readonly [string, (socket: Net.Socket) => void]> = [
    ["closes", (socket) => socket.end()],
    ["resets", (socket) => socket.resetAndDestroy()],
    ["speaks something else", (socket) => socket.end("220 mail ESMTP\r\n")],
    ["has two lengths", (socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")],
    ["has no status", (socket) => socket.end("HTTP/1.1 000 What\r\n\r\n")],
    ["changes the protocol", (socket) => socket.end("HTTP/1.1 101 Sure\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")]
  ]
  it.live.each(origins)("is a bad gateway when the origin %s", ([, behave]) =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* target((socket) => void socket.once("data", () => behave(socket)))
      assert.strictEqual((yield* ask(server.port, get(port))).status, 502)
      const record = yield* ended(server)
      assert.deepInclude(record, { reply: 1, destination: `127.0.0.1:${port}` })
      assert.match(record?.reason ?? "", /^no HTTP response from the destination/)
    }))
})

describe("a side that goes away", () => {
  const cuts: ReadonlyArray<readonly [string, string]> = [
    ["with a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"],
    ["in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n"],
    ["up to its end", "HTTP/1.1 200 OK\r\n\r\n"]
  ]
  it.live.each(cuts)(
    "cuts the client off when it is the origin, with content %s",
    ([, head]) =>
      Effect.gen(function*() {
        const server = yield* proxy()
        const { open, port } = yield* target((socket) => void socket.once("data", () => socket.write(`${head}abc`)))
        const client = yield* connect(server.port)
        yield* client.send(get(port))
        assert.include(yield* readHead(client), " 200 ")
        for (const socket of open) socket.resetAndDestroy()
        const rest = yield* Effect.exit(client.readToEnd)
        assert.strictEqual(rest._tag, "Failure")
        assert.match((yield* ended(server))?.reason ?? "", /^target connection reset/)
      })
  )

  it.live("cuts the client off when the origin ends too soon", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { port } = yield* target((socket) =>
        void socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"))
      )
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      assert.strictEqual((yield* Effect.exit(client.readToEnd))._tag, "Failure")
      assert.match((yield* ended(server))?.reason ?? "", /^target connection failed/)
    }))

  it.live("ends the origin's connection at once when it is the client, in the middle of an answer", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const block = Buffer.alloc(65_536)
      const { open, port } = yield* target((socket) => {
        socket.once("data", () => {
          socket.write("HTTP/1.1 200 OK\r\n\r\n")
          const push = () => {
            while (socket.write(block));
          }
          socket.on("drain", push)
          push()
        })
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      yield* readHead(client)
      client.socket.destroy()
      assert.isTrue(yield* within(Effect.sync(() => open.size === 0)))
      assert.match((yield* ended(server))?.reason ?? "", /^client connection/)
    }))

  it.live("ends the origin's connection when the client resets before the answer, or in its content", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { accepted, open, port } = yield* target((socket) => socket.on("data", () => {}))
      for (const [i, request] of [get(port), get(port, "/", "Content-Length: 5\r\n") + "abc"].entries()) {
        const client = yield* connect(server.port)
        yield* client.send(request)
        assert.isTrue(yield* within(Effect.sync(() => accepted() > i && open.size === 1)))
        yield* Effect.sleep(20)
        yield* client.reset
        assert.isTrue(yield* within(Effect.sync(() => open.size === 0)))
        assert.match((yield* ended(server, i + 1))?.reason ?? "", /^client connection reset/)
      }
    }))

  it.live("lets the origin know when it is the client, and gives up on it then", () =>
    Effect.gen(function*() {
      const server = yield* proxy({ halfCloseTimeout: 200 })
      let told = false
      const { open, port } = yield* target((socket) => {
        socket.on("data", () => {})
        socket.on("end", () => told = true)
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      assert.isTrue(yield* within(Effect.sync(() => open.size === 1)))
      client.socket.destroy()
      assert.isTrue(yield* within(Effect.sync(() => told)))
      assert.deepInclude(yield* ended(server), { reason: "half-closed timeout" })
      // Node reads no more behind the end, and so learns of the reset when it writes.
      for (const socket of open) socket.write("too late")
      assert.isTrue(yield* within(Effect.sync(() => open.size === 0)))
    }))

  it.live("ends the origin's connection when the client ends in its content", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { open, port } = yield* target((socket) => socket.on("data", () => {}))
      const client = yield* connect(server.port)
      yield* client.send(get(port, "/", "Content-Length: 5\r\n"), "abc")
      assert.isTrue(yield* within(Effect.sync(() => open.size === 1)))
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => open.size === 0)))
      assert.deepInclude(yield* ended(server), { reason: "client left during the relay" })
    }))

  it.live("has its connection ended with the session, in each phase", () =>
    Effect.gen(function*() {
      const server = yield* proxy()
      const { open, port } = yield* silent
      const idle = yield* recorder
      const clients = [yield* connect(server.port), yield* connect(server.port), yield* connect(server.port)]
      yield* clients[0]?.send("GET ht") ?? Effect.void
      yield* clients[1]?.send(get(port)) ?? Effect.void
      yield* clients[2]?.send(get(idle.port)) ?? Effect.void
      assert.isTrue(yield* within(Effect.sync(() => open.size === 1 && idle.accepted() === 1)))
      const reading = yield* Effect.forkChild(
        Effect.forEach(clients, (client) => Effect.exit(client.readToEnd), { concurrency: 3 })
      )
      yield* Effect.sleep(20)
      for (const { id } of yield* server.sessions.list) yield* server.sessions.interrupt(id)
      assert.strictEqual((yield* Fiber.join(reading)).length, 3)
      for (const socket of open) socket.resume()
      assert.isTrue(yield* within(Effect.sync(() => open.size === 0)))
      assert.deepStrictEqual(server.records.map(({ reason }) => reason), Array(3).fill("interrupted"))
    }))
})

describe("time limits", () => {
  it.live("hold for the first head, and for a connection without traffic behind it", () =>
    Effect.gen(function*() {
      const server = yield* proxy({ handshakeTimeout: 150, idleTimeout: 400 })
      const { port } = yield* recorder
      const slow = yield* connect(server.port)
      yield* slow.send(get(port).slice(0, -1))
      assert.strictEqual((yield* slow.readToEnd).length, 0)
      assert.deepInclude(yield* ended(server), { reason: "handshake timeout", protocol: "http" })
      const client = yield* connect(server.port)
      yield* client.send(get(port))
      assert.deepInclude(yield* readResponse(client), { status: 200 })
      assert.strictEqual((yield* client.readToEnd).length, 0)
      const record = yield* ended(server, 2)
      assert.deepInclude(record, { reason: "idle timeout" })
      assert.isAtLeast(record?.duration ?? 0, 400)
    }))

  it.live("don't hold for an origin that takes its time and a client that reads slowly", () =>
    Effect.gen(function*() {
      const server = yield* proxy({ handshakeTimeout: 100, idleTimeout: 300 })
      const port = yield* origin((_, response) => {
        let rest = 6
        const timer = setInterval(() => --rest > 0 ? response.write(".") : (clearInterval(timer), response.end()), 100)
      })
      const client = yield* connect(server.port)
      yield* client.send(get(port, "/", "Connection: close\r\n"))
      assert.include((yield* client.readToEnd).toString(), "0\r\n\r\n")
    }))
})
