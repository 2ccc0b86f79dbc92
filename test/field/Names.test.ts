/** Field reports on addresses and names: A05, A11, A12, A13, A14. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { Dialer } from "../../src/transport/Dialer.ts"
import { DialError } from "../../src/transport/Transport.ts"
import * as DnsServer from "../support/DnsServer.ts"
import * as Elsewhere from "../support/Elsewhere.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { C4, C6, CD, connect, G0, hex, probe, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const ipv6Loopback = hex("00000000 00000000 00000000 00000001")

/** The reply to a request, as hex; and, when it is a success, the payload that came back. */
const ask = Effect.fnUntraced(function*(port: number, request: Uint8Array) {
  const client = yield* connect(port)
  yield* client.send(G0, request, "HELLO")
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  const reply = yield* readReply(client)
  yield* client.end
  return { reply, rest: (yield* client.readToEnd).toString() }
}, Effect.scoped)

/** Expects a refusal with this code and nothing behind it. */
const refused = Effect.fnUntraced(function*(port: number, request: Uint8Array, code: number) {
  const { reply, rest } = yield* ask(port, request)
  assert.deepStrictEqual([reply.toString("hex"), rest], [`050${code}0001000000000000`, ""])
})

/** Expects a connection: the reply's code, and the echo. */
const connected = Effect.fnUntraced(function*(port: number, request: Uint8Array) {
  const { reply, rest } = yield* ask(port, request)
  assert.deepStrictEqual([reply[1], rest], [0, "HELLO"])
})

describe("IPv6", () => {
  it.live("A05 an IPv6 address is connected to", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const origin = yield* echo("::1")
      yield* connected(port, C6(origin.port, ipv6Loopback))
      assert.strictEqual(origin.accepted(), 1)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.destination, `[::1]:${origin.port}`)
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))

  it.live("A05 all sixteen octets of an IPv6 address reach the dialer in their order", () =>
    Effect.gen(function*() {
      const dialed: Array<NetAddress.IpAddress> = []
      const dialer = Layer.succeed(Dialer, {
        dial: ([ip], port) => {
          dialed.push(ip)
          const address = NetAddress.inetAddressUnsafe(ip, port)
          return Effect.fail(new DialError({ reason: "NetworkUnreachable", address, code: "ENETUNREACH" }))
        }
      })
      const { port } = yield* proxy({ services: dialer })
      const texts = new Map([
        ["20010db8000a00000000000000000102", "2001:db8:a::102"],
        ["00000000000000000000000000000000", "::"],
        ["ffffffffffffffffffffffffffffffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ["01000000000000000000000000000000", "100::"],
        ["00010000000000000000000000000000", "1::"],
        ["00000100000000000000000000000000", "0:100::"],
        ["00000001000000000000000000000000", "0:1::"],
        ["00000000010000000000000000000000", "0:0:100::"],
        ["00000000000100000000000000000000", "0:0:1::"],
        ["00000000000001000000000000000000", "0:0:0:100::"],
        ["00000000000000010000000000000000", "0:0:0:1::"],
        ["00000000000000000100000000000000", "::100:0:0:0"],
        ["00000000000000000001000000000000", "::1:0:0:0"],
        ["00000000000000000000010000000000", "::100:0:0"],
        ["00000000000000000000000100000000", "::1:0:0"],
        ["00000000000000000000000001000000", "::100:0"],
        ["00000000000000000000000000010000", "::1:0"],
        ["00000000000000000000000000000100", "::100"],
        ["00000000000000000000000000000001", "::1"]
      ])
      for (const bytes of texts.keys()) yield* refused(port, C6(80, hex(bytes)), 3)
      assert.deepStrictEqual(dialed.map(NetAddress.formatIp), [...texts.values()])
      const back = dialed.map((ip) => NetAddress.ipFromStringUnsafe(NetAddress.formatIp(ip)))
      const octets = back.map((ip) => NetAddress.isIpv6Address(ip) ? NetAddress.ipv6ToOctets(ip) : [])
      assert.deepStrictEqual(octets.map((bytes) => Buffer.from(bytes).toString("hex")), [...texts.keys()])
      assert.isTrue(yield* probe((yield* proxy()).port, (yield* echo()).port))
    }))
})

/** A proxy whose resolver asks the test's own DNS server. */
const withDns = Effect.gen(function*() {
  const dns = yield* DnsServer.make
  return { dns, origin: yield* echo(), ...yield* proxy({ services: DnsServer.resolver(dns) }) }
})

const loopback = { A: DnsServer.records(["127.0.0.1"]) }

describe("names", () => {
  it.live("A11 an address sent as a name is that address, and nobody asks DNS for it", () =>
    Effect.gen(function*() {
      const { dns, origin, port, records } = yield* withDns
      const origin6 = yield* echo("::1")
      yield* connected(port, CD("127.0.0.1", origin.port))
      yield* connected(port, CD("::1", origin6.port))
      yield* connected(port, CD("[::1]", origin6.port))
      assert.strictEqual(origin6.accepted(), 2)
      assert.deepStrictEqual(dns.names(), [])
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      assert.deepStrictEqual(records.map(({ address, destination }) => [destination, address]), [
        [`127.0.0.1:${origin.port}`, `127.0.0.1:${origin.port}`],
        [`[::1]:${origin6.port}`, `[::1]:${origin6.port}`],
        [`[::1]:${origin6.port}`, `[::1]:${origin6.port}`]
      ])
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A11 an address sent as a name is judged as that address", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      const { port, records } = yield* proxy({ services: Layer.merge(Elsewhere.layer, DnsServer.resolver(dns)) })
      const origin = yield* echo()
      const origin6 = yield* echo("::1")
      yield* refused(port, CD("127.0.0.1", origin.port), 2)
      yield* refused(port, CD("::1", origin6.port), 2)
      yield* refused(port, CD("::ffff:127.0.0.1", origin.port), 2)
      assert.strictEqual(origin.accepted() + origin6.accepted(), 0)
      assert.deepStrictEqual(dns.names(), [])
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      for (const { reason } of records) assert.include(reason, "(loopback)")
      assert.isTrue(yield* probe((yield* proxy()).port, origin.port))
    }))

  it.live("A12 an underscore, a trailing dot and an A-label are looked up as they are", () =>
    Effect.gen(function*() {
      const { dns, origin, port } = yield* withDns
      const names = ["my_host.test", "host.test", "xn--bcher-kva.test"]
      for (const name of names) dns.set(name, loopback)
      yield* connected(port, CD("my_host.test", origin.port))
      yield* connected(port, CD("host.test.", origin.port))
      yield* connected(port, CD("xn--bcher-kva.test", origin.port))
      assert.deepStrictEqual(dns.names(), names)
      assert.strictEqual(origin.accepted(), 3)
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A12 a name in UTF-8 is looked up by its A-label", () =>
    Effect.gen(function*() {
      const { dns, origin, port, records } = yield* withDns
      dns.set("xn--bcher-kva.test", loopback)
      const request = CD("bücher.test", origin.port)
      assert.strictEqual(request[4], 12)
      yield* connected(port, request)
      assert.deepStrictEqual(dns.names(), ["xn--bcher-kva.test"])
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.destination, `xn--bcher-kva.test:${origin.port}`)
      // Cut inside its second character.
      yield* refused(port, CD(Buffer.from("bü").subarray(0, 2), origin.port), 4)
      assert.deepStrictEqual(dns.names(), ["xn--bcher-kva.test"])
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A13 a name with a NUL is refused without a lookup", () =>
    Effect.gen(function*() {
      const { dns, origin, port, records } = yield* withDns
      dns.set("localhost", loopback)
      dns.set("host.test", loopback)
      const request = CD("localhost\0", origin.port)
      assert.deepStrictEqual(request.subarray(0, 15), hex("05 01 00 03 0a 6c6f63616c686f7374 00"))
      yield* refused(port, request, 4)
      yield* refused(port, CD("host.test\0", origin.port), 4)
      yield* refused(port, CD("host.test\0.evil.test", origin.port), 4)
      yield* refused(port, CD("\0", origin.port), 4)
      assert.deepStrictEqual(dns.names(), [])
      assert.strictEqual(origin.accepted(), 0)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 4)))
      for (const { reason } of records) assert.include(reason, String.raw`\x00": control character`)
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A14 port 0 is refused, in every form of address", () =>
    Effect.gen(function*() {
      const { origin, port, records } = yield* withDns
      yield* refused(port, C4(0), 5)
      yield* refused(port, CD("localhost", 0), 5)
      yield* refused(port, C6(0, ipv6Loopback), 5)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      assert.isTrue(yield* probe(port, origin.port))
    }))
})
