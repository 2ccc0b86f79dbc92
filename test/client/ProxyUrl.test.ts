import { assert, describe, it } from "@effect/vitest"
import * as Host from "effect/net/Host"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as ProxyUrl from "../../src/client/ProxyUrl.ts"

const read = (text: string, passwordElsewhere = "") => Result.getOrThrow(ProxyUrl.parse(text, { passwordElsewhere }))

const passwordOf = (text: string) => read(text, "elsewhere").credentials?.password

describe("ProxyUrl", () => {
  it.each([
    ["socks5://127.0.0.1:1080", "socks5", "127.0.0.1:1080"],
    ["socks5://127.0.0.1", "socks5", "127.0.0.1:1080"],
    ["socks5h://proxy.example:9", "socks5h", "proxy.example:9"],
    ["SOCKS5://[::1]:1080/", "socks5", "[::1]:1080"],
    ["socks4://10.0.0.1", "socks4", "10.0.0.1:1080"],
    ["socks4a://Proxy.Example", "socks4a", "proxy.example:1080"],
    ["http://127.0.0.1:8080", "http", "127.0.0.1:8080"],
    ["http://localhost:80", "http", "localhost:80"],
    ["http://localhost", "http", "localhost:1080"],
    ["https://proxy.example/", "https", "proxy.example:443"]
  ])("reads %s", (text, protocol, address) => {
    const url = read(text)
    assert.deepStrictEqual([url.protocol, Host.formatHostPort(url.address)], [protocol, address])
    assert.isUndefined(url.credentials)
  })

  it("reads a login, and never writes its password", () => {
    const url = read("socks5://an%40n:p%2Fss@127.0.0.1:1080")
    assert.strictEqual(url.credentials?.user, "an@n")
    assert.strictEqual(Redacted.value(url.credentials?.password ?? Redacted.make("")), "p/ss")
    assert.strictEqual(ProxyUrl.format(url), "socks5://an%40n@127.0.0.1:1080")
    assert.notInclude(JSON.stringify(url), "p/ss")
  })

  it("takes a password from elsewhere where the URL has none", () => {
    assert.deepStrictEqual(passwordOf("socks5://ann@127.0.0.1"), Redacted.make("elsewhere"))
    assert.deepStrictEqual(passwordOf("socks5://ann:here@127.0.0.1"), Redacted.make("here"))
    assert.isUndefined(passwordOf("socks5://127.0.0.1"))
  })

  it.each([
    "",
    "127.0.0.1:1080",
    "ftp://S3cr3t@127.0.0.1",
    "socks5://",
    "socks5://ann:S3cr3t@",
    "socks5://ann:S3cr3t@h:x",
    "socks5://ann:S3cr3t@h:0",
    "socks5://ann:S3cr3t@h:70000",
    "socks5://ann:S3cr3t@[fe80::1%25eth0]:1080",
    "socks5://ann:S3cr3t@b\u00fccher.test",
    "socks5://h:1080:ann:S3cr3t",
    "socks5://ann:S3cr3t@ho st",
    "socks5://ann:S3cr3t@h/path",
    "socks5://ann:S3/cr3t@h",
    "http://ann:S3cr3t@h?x",
    "socks5://ann:S3cr3t%zz@h",
    `socks5://ann:${"S3cr3t".repeat(50)}@h`,
    "http://an%3An:S3cr3t@h",
    "socks4://ann:S3cr3t@h",
    "socks4://S3%00cr3t@h"
  ])("refuses %j in one line that repeats nothing", (text) => {
    const refused = ProxyUrl.parse(text)
    const message = Result.isFailure(refused) ? refused.failure : ""
    assert.match(message, /^[^\n]{10,}$/)
    assert.notMatch(message, /S3|cr3t/)
  })

  it.each([
    ["socks5://h:0", /^the port is not a number from 1 to 65535$/],
    ["socks5://h:70000", /^the port /],
    ["socks5://h:socks/", /^the port /],
    ["socks5://ann:pw@h:-1", /^the port /],
    ["socks5://[::1]:0", /^the port /],
    ["socks5://[fe80::1%eth0]:1080", /^an IPv6 address with a zone /],
    ["socks5://[fe80::1%25eth0]", /^an IPv6 address with a zone /],
    ["socks5://::1:1080", /^more than one colon /],
    ["socks5://h:1080:ann:pw", /^more than one colon /],
    ["socks5://b\u00fccher.test:1080", /^a host name that is not ASCII/],
    ["socks5://ann:a/b@h:1080", /^more than a host and a port; .*%2F/],
    ["socks5://ann:8080/b@h:1080", /^more than a host and a port; /],
    ["socks5://ann:a#b@h", /^more than a host and a port; /],
    ["ftp://h:0", /^not the URL of a proxy; /]
  ])("says what is wrong with %s", (text, message) => {
    const refused = ProxyUrl.parse(text)
    assert.match(Result.isFailure(refused) ? refused.failure : "", message)
  })

  it("takes an at sign in a password, and letters of other alphabets before the host", () => {
    assert.deepStrictEqual(passwordOf("socks5://ann:p@ss@h"), Redacted.make("p@ss"))
    assert.deepStrictEqual(passwordOf("socks5://ann:p%2C%C3%BC@h:1"), Redacted.make("p,\u00fc"))
  })
})
