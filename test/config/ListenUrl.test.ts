import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ListenUrl from "../../src/config/ListenUrl.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"

const address = NetAddress.inetAddressFromStringUnsafe

describe("where to listen", () => {
  it.each<readonly [string, ListenAddress.ListenAddress]>([
    ["localhost:1", address("127.0.0.1:1")],
    ["tls://[::1]:1?cert=a&key=b", ListenAddress.tls({ address: address("[::1]:1"), cert: "a", key: "b" })],
    [
      "tls://localhost:0/?key=/etc/c++/key=1.pem&clientCa=%2Cca%20.pem&cert=c",
      ListenAddress.tls({ address: address("127.0.0.1:0"), cert: "c", key: "/etc/c++/key=1.pem", clientCa: ",ca .pem" })
    ],
    ["unix:/run/sluice.sock", ListenAddress.unix("/run/sluice.sock")],
    ["unix:a:b", ListenAddress.unix("a:b")],
    [`unix:${"x".repeat(107)}`, ListenAddress.unix("x".repeat(107))]
  ])("takes %s", (text, listen) => {
    assert.deepStrictEqual(ListenUrl.parse(text), Result.succeed(listen))
  })

  it.each([
    ["tls://127.0.0.1:1", "\"tls://127.0.0.1:1\" has no certificate; add cert=FILE"],
    ["tls://127.0.0.1:1?cert=a", "\"tls://127.0.0.1:1?cert=a\" has no key for its certificate; add key=FILE"],
    ["tls://127.0.0.1:1?cert=&key=b", "\"tls://127.0.0.1:1?cert=&key=b\" has no file for cert"],
    ["tls://127.0.0.1:1?cert=%&key=b", "\"tls://127.0.0.1:1?cert=%&key=b\" has no file for cert"],
    ["tls://127.0.0.1:1?cert=a&cert=b", "\"tls://127.0.0.1:1?cert=a&cert=b\" has cert twice"],
    [
      "tls://127.0.0.1:1?ca=a",
      "\"tls://127.0.0.1:1?ca=a\" has \"ca\", which is not one of cert, key, clientCa"
    ],
    [
      "tls://example.com:1?cert=a&key=b",
      "\"tls://example.com:1?cert=a&key=b\" is not tls://HOST:PORT?cert=FILE&key=FILE with an IP address or localhost"
    ],
    ["tls:", "\"tls:\" is not tls://HOST:PORT?cert=FILE&key=FILE with an IP address or localhost"],
    ["unix:", "\"unix:\" is not unix:PATH, such as unix:/run/sluice.sock"],
    [`unix:${"é".repeat(54)}`, `"unix:${"é".repeat(54)}" is too long for a socket: 108 bytes of at most 107`]
  ])("refuses %s", (text, problem) => {
    assert.deepStrictEqual(ListenUrl.parse(text), Result.fail(problem))
  })

  it.effect.each<ListenAddress.ListenAddress>([
    address("[::]:1080"),
    ListenAddress.tls({ address: address("127.0.0.1:1"), cert: "a", key: "b" }),
    ListenAddress.tls({ address: address("127.0.0.1:1"), cert: "a", key: "b", clientCa: "c" }),
    ListenAddress.unix("/a"),
    ListenAddress.descriptor(3, address("127.0.0.1:1")),
    ListenAddress.descriptor(4, ListenAddress.unix("/a"))
  ])("reaches other processes as it is", (listen) =>
    Effect.gen(function*() {
      const text = JSON.stringify(Schema.encodeSync(ListenAddress.Json)(listen))
      assert.deepStrictEqual(yield* Schema.decodeUnknownEffect(ListenAddress.Json)(JSON.parse(text)), listen)
    }))
})
