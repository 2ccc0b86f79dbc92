import { assert, describe, it } from "@effect/vitest"
import * as Host from "effect/net/Host"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as ProxyUrl from "../../src/bench/ProxyUrl.ts"

describe("the bench's ProxyUrl", () => {
  it.each([
    ["socks5://127.0.0.1", "socks5", "127.0.0.1:1080"],
    ["socks5h://proxy.example:9", "socks5", "proxy.example:9"],
    ["http://127.0.0.1:8080", "http", "127.0.0.1:8080"]
  ])("reads %s", (text, protocol, address) => {
    const url = Result.getOrThrow(ProxyUrl.parse(text))
    assert.deepStrictEqual([url.protocol, Host.formatHostPort(url.address)], [protocol, address])
  })

  it("takes a password from elsewhere", () => {
    const { credentials } = Result.getOrThrow(ProxyUrl.parse("socks5://ann@127.0.0.1", "elsewhere"))
    assert.deepStrictEqual(credentials?.password, Redacted.make("elsewhere"))
  })

  it.each(["socks5://:pw@127.0.0.1", "http://:pw@127.0.0.1"])("refuses %s: a password of nobody", (text) => {
    const refused = ProxyUrl.parse(text)
    assert.match(Result.isFailure(refused) ? refused.failure : "", /^a password, but no user name; /)
  })

  it.each(["https://127.0.0.1", "socks4://127.0.0.1"])("refuses %s, which it can't measure", (text) => {
    const refused = ProxyUrl.parse(text)
    assert.match(Result.isFailure(refused) ? refused.failure : "", /^not the URL of a proxy; give socks5:/)
  })
})
