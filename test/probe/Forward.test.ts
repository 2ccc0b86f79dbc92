import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import * as Forward from "../../src/probe/Forward.ts"
import { page } from "../../src/probe/Targets.ts"
import { httpProxy } from "../support/HttpProxy.ts"
import { proxy } from "../support/Proxy.ts"
import { here, http, probing } from "./Hostile.ts"

const withLogin = (url: string) => url.replace("//", "//ann:S3cr3t@")

const forward = Effect.fnUntraced(function*(url: string) {
  const given = yield* probing(url)
  const { detail, verdict } = yield* Forward.check(given, given.targets, here)
  return `${verdict}: ${detail}`
})

/** Passes on what it gets, as it is. */
const passing = http((head, client) => {
  const [, port = ""] = /^GET http:\/\/127\.0\.0\.1:(\d+)\//.exec(head) ?? []
  const upstream = Net.connect({ host: "127.0.0.1", port: Number(port) }, () => {
    upstream.write(head)
    upstream.pipe(client)
  })
})

describe("HTTP forwarding", () => {
  it.live("is served by Sluice, which keeps the login to itself", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      assert.match(yield* forward(`http://127.0.0.1:${port}`), /^ok: GET http:\/\/127\.0\.0\.1:\d+\/$/)
      assert.match(yield* forward(`http://ann:S3cr3t@127.0.0.1:${port}`), /^ok: GET /)
    }))

  it.live("is not served by whoever says so, or closes", () =>
    Effect.gen(function*() {
      const says = yield* http((_, client) => client.end("HTTP/1.1 405 Method Not Allowed\r\n\r\n"))
      assert.strictEqual(yield* forward(says), "warn: not served: status 405")
      const { port } = yield* httpProxy()
      assert.match(
        yield* forward(`http://127.0.0.1:${port}`),
        /^warn: not served: the proxy (closed|reset) the connection$/
      )
    }))

  it.live("is no good when the login leaks, or the page is another", () =>
    Effect.gen(function*() {
      const url = yield* passing
      assert.match(yield* forward(url), /^ok: /)
      assert.strictEqual(yield* forward(withLogin(url)), "fail: the login is passed on to the target")
      for (const text of ["", page.slice(1), "x".repeat(100_000)]) {
        const other = yield* http((_, client) => client.end(`HTTP/1.1 200 OK\r\n\r\n${text}`))
        assert.strictEqual(yield* forward(other), "fail: another page came than the target has sent")
      }
    }))
})
