import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Address from "../../src/protocol/Address.ts"
import * as HttpTarget from "../../src/protocol/HttpTarget.ts"
import type { ProtocolError } from "../../src/protocol/ProtocolError.ts"
import { holds } from "./Frames.ts"

/** A name as browsers send it. */
const Name = Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9]{0,20}(?:-[a-z]{1,9})?(?:\.[a-z]{2,5})?$/))
const Port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))
const Path = Schema.String.check(Schema.isPattern(/^\/[!-"$-~]{0,40}$/))

const hostPort = (parsed: Result.Result<Address.Address, ProtocolError>) => Result.flatMap(parsed, Address.toHostPort)
const show = (parsed: Result.Result<Address.Address, ProtocolError>) =>
  Host.formatHostPort(Result.getOrThrow(hostPort(parsed)))

const why = <A>(parsed: Result.Result<A, ProtocolError>) => {
  if (Result.isSuccess(parsed)) return assert.fail("it was taken")
  const { frame, reason } = parsed.failure
  assert.strictEqual(frame, "HTTP request")
  return reason._tag === "BadRequest" ? `${reason.status} ${reason.why}` : assert.fail(reason._tag)
}

describe("authority form", () => {
  it.each([
    ["example.com:443", "example.com:443"],
    ["EXAMPLE.com.:1", "example.com.:1"],
    ["127.0.0.1:65535", "127.0.0.1:65535"],
    ["[::1]:443", "[::1]:443"],
    ["[::ffff:127.0.0.1]:443", "127.0.0.1:443"]
  ])("%s leads to %s", (target, address) => {
    assert.strictEqual(show(HttpTarget.fromAuthority(target)), address)
  })

  it.each([
    ["", /not HOST:PORT/],
    ["a", /no port/],
    ["a:", /no port/],
    ["a:0", /from 1 to 65535/],
    ["a:65536", /from 1 to 65535/],
    ["a:1x", /not HOST:PORT/],
    ["a:000001", /not HOST:PORT/],
    [":1", /not HOST:PORT/],
    ["a:1:2", /not HOST:PORT/],
    ["::1:443", /not HOST:PORT/],
    ["[::1:443", /not HOST:PORT/],
    ["u@a:1", /not HOST:PORT/],
    ["a/:1", /not HOST:PORT/],
    ["a?:1", /not HOST:PORT/],
    ["a\\b:1", /not HOST:PORT/],
    ["a b:1", /not HOST:PORT/],
    ["ä:1", /not HOST:PORT/],
    ["a\r\n:1", /not HOST:PORT/],
    ["http://a:1", /not HOST:PORT/]
  ])("%j is refused", (target, reason) => {
    assert.match(why(HttpTarget.fromAuthority(target)), reason)
  })

  it.effect("leads to each name and port", () =>
    holds(Arbitrary.schema(Schema.Tuple([Name, Port])), ([name, port]) => {
      assert.strictEqual(show(HttpTarget.fromAuthority(`${name}:${port}`)), `${name}:${port}`)
    }))

  it.effect("leads to each address", () =>
    holds(Arbitrary.schema(Schema.Tuple([Schema.Union([Address.Ipv4, Address.Ipv6]), Port])), ([ip, port]) => {
      const written = Host.formatHostPort(Host.hostPortUnsafe(ip, port))
      const canonical = Host.formatHostPort(Host.hostPortUnsafe(NetAddress.toCanonical(ip), port))
      assert.strictEqual(show(HttpTarget.fromAuthority(written)), canonical)
    }))
})

describe("absolute form", () => {
  it.each([
    ["GET", "http://a.b", "a.b", "/", "a.b:80"],
    ["GET", "HTTP://A.b/", "A.b", "/", "a.b:80"],
    ["GET", "http://a:8080/x?y=z", "a:8080", "/x?y=z", "a:8080"],
    ["GET", "http://a:/x", "a:", "/x", "a:80"],
    ["GET", "http://a?y", "a", "/?y", "a:80"],
    ["GET", "http://a//b", "a", "//b", "a:80"],
    ["GET", "http://[::1]:81/", "[::1]:81", "/", "[::1]:81"],
    ["GET", "http://a/http://b@c:1/", "a", "/http://b@c:1/", "a:80"],
    ["OPTIONS", "http://a", "a", "*", "a:80"],
    ["OPTIONS", "http://a/", "a", "/", "a:80"]
  ])("%s %s goes to %s for %s", (method, url, authority, path, address) => {
    const forwarded = Result.getOrThrow(HttpTarget.fromAbsolute(method, url))
    assert.deepInclude(forwarded, { authority, path })
    assert.strictEqual(show(Result.succeed(forwarded.address)), address)
  })

  it.each([
    ["/", /400 this port is a proxy, not a web server/],
    ["*", /this port is a proxy/],
    ["", /this port is a proxy/],
    ["a:80", /this port is a proxy/],
    ["http:/a", /this port is a proxy/],
    [" http://a/", /this port is a proxy/],
    ["httpx://a/", /this port is a proxy/],
    ["https://a/", /CONNECT/],
    ["http:///", /not HOST:PORT/],
    ["http://:80/", /not HOST:PORT/],
    ["http://a\\b/", /not HOST:PORT/],
    ["http://u@a/", /user information/],
    ["http://u:p@a/", /user information/],
    ["http://a/#b", /fragment/],
    ["http://a#b", /not HOST:PORT|fragment/],
    ["http://a/b c", /characters/],
    ["http://a/b\r\nX: y", /this port is a proxy|characters/],
    ["http://a/\u00e4", /characters/],
    ["http://a:0/", /from 1 to 65535/]
  ])("%j is refused", (url, reason) => {
    assert.match(why(HttpTarget.fromAbsolute("GET", url)), reason)
  })

  it.effect("is taken apart without loss", () =>
    holds(Arbitrary.schema(Schema.Tuple([Name, Port, Path])), ([name, port, path]) => {
      const forwarded = Result.getOrThrow(HttpTarget.fromAbsolute("GET", `http://${name}:${port}${path}`))
      assert.strictEqual(`http://${forwarded.authority}${forwarded.path}`, `http://${name}:${port}${path}`)
      assert.strictEqual(show(Result.succeed(forwarded.address)), `${name}:${port}`)
    }))

  it.effect("of any text is refused, or has nothing that could split a request", () =>
    holds(Arbitrary.schema(Schema.String), (text) => {
      const parsed = HttpTarget.fromAbsolute("GET", `http://${text}`)
      if (Result.isFailure(parsed)) return
      assert.match(parsed.success.authority, /^[!-~]+$/)
      assert.match(parsed.success.path, /^\/[!-~]*$/)
      assert.notInclude(parsed.success.authority, "@")
    }))
})
