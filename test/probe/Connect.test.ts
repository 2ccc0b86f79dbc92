import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Connect from "../../src/probe/Connect.ts"
import { proxy } from "../support/Proxy.ts"
import { http, probing } from "./Hostile.ts"

const connect = Effect.fnUntraced(function*(url: string) {
  const given = yield* probing(url)
  const { findings, reached } = yield* Connect.check(given)
  return { given, reached, findings: new Map(findings.map((finding) => [finding.name, finding])) }
})

describe("CONNECT", () => {
  it.live("has advice for each status of an HTTP proxy, which has judged by that", () =>
    Effect.gen(function*() {
      for (
        const [status, advice] of [
          [403, /^its rules forbid it$/],
          [405, /^it serves no CONNECT/],
          [502, /^it does not reach this machine there/],
          [503, /^it does not reach this machine there/],
          [504, /^the target does not answer/]
        ] as const
      ) {
        const url = yield* http((_, client) => client.end(`HTTP/1.1 ${status} No\r\n\r\n`))
        const { findings } = yield* connect(url)
        assert.match(findings.get("CONNECT IPv4")?.advice ?? "", advice)
        assert.strictEqual(findings.get("CONNECT name")?.detail, `status ${status}`)
      }
    }))

  it.live("proves no DNS by localhost", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const { findings } = yield* connect(`socks5://127.0.0.1:${port}`)
      assert.strictEqual(findings.get("CONNECT name")?.verdict, "ok")
      assert.include(findings.get("CONNECT name")?.advice, "socks5h:// sends them")
      assert.deepInclude(findings.get("remote DNS"), {
        verdict: "skipped",
        detail: "only localhost was tried, which takes no DNS; --target NAME:PORT tells more"
      })
    }))

  it.live("leaves from an address of each family", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const { given, reached } = yield* connect(`socks5h://127.0.0.1:${port}`)
      assert.strictEqual((yield* Connect.sourceAddress(given, reached)).detail, "127.0.0.1, ::1")
    }))
})
