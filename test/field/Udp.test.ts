/** Field reports on UDP ASSOCIATE: A15 to A22. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as DnsServer from "../support/DnsServer.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { connect, G0, hex, probe, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import { associate, associated, boundPorts, consecutive, U4, U6, UA, UA6, UD, udp, udpEcho } from "../support/Udp.ts"

const ipv6Loopback = hex("00000000 00000000 00000000 00000001")

/** Time for a datagram that must not come: those of loopback take less than 1 ms. */
const pause = Effect.sleep("100 millis")

const aliveStill = Effect.fnUntraced(function*(port: number) {
  return yield* probe(port, (yield* echo()).port)
})

describe("the client's address", () => {
  for (
    const [form, request] of [
      ["IPv4", UA],
      ["IPv6", UA6],
      ["its own address and a wrong port", hex("05 03 00 01 7f000001 0001")],
      ["a private address behind some router", hex("05 03 00 01 c0a80107 1234")]
    ] as const
  ) {
    it.live(`A15 need not be known: ${form}`, () =>
      Effect.gen(function*() {
        const { port } = yield* proxy()
        const target = yield* udpEcho()
        const { exchange, relay } = yield* associated(port, { request })
        const answer = yield* exchange(U4(target.port, "hello"))
        assert.deepStrictEqual(answer, { bytes: U4(target.port, "hello"), host: "127.0.0.1", port: relay.port })
        assert.isTrue(yield* aliveStill(port))
      }))
  }

  it.live("A16 is the only one that is heard, and answered", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const target = yield* udpEcho()
      const { client, exchange, relay, socket } = yield* associated(port)
      const stranger = yield* udp("127.0.0.2")
      yield* stranger.send(U4(target.port, "before"), relay)
      yield* pause
      assert.strictEqual((yield* exchange(U4(target.port, "mine"))).bytes.toString("latin1", 10), "mine")
      yield* stranger.send(U4(target.port, "after"), relay)
      // Nor another socket of the same host, once the client's is known.
      const other = yield* udp()
      yield* other.send(U4(target.port, "another"), relay)
      yield* pause
      assert.strictEqual((yield* exchange(U4(target.port, "mine too"))).bytes.toString("latin1", 10), "mine too")
      assert.deepStrictEqual(target.received.map(({ bytes }) => bytes.toString()), ["mine", "mine too"])
      assert.deepStrictEqual([stranger.received, other.received, socket.received], [[], [], []])
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], {
        bytesUp: 12,
        bytesDown: 12,
        datagrams: { up: 2, down: 2, dropped: { foreign: 3 } },
        reason: "done"
      })
      assert.isTrue(yield* aliveStill(port))
    }))

  it.live("A16 answers come from whom they come, and from nobody whom the client did not ask", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const helper = yield* udp()
      const stranger = yield* udp("127.0.0.3")
      // Answers from another port of the same host; a stranger answers too.
      const target = yield* udp("127.0.0.1", ({ bytes, port }) => {
        helper.socket.send(bytes, port, "127.0.0.1")
        stranger.socket.send(bytes, port, "127.0.0.1")
      })
      const { client, exchange, socket } = yield* associated(port)
      assert.deepStrictEqual((yield* exchange(U4(target.port, "who?"))).bytes, U4(helper.port, "who?"))
      yield* pause
      assert.deepStrictEqual(socket.received, [])
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepStrictEqual(records[0]?.datagrams, { up: 1, down: 1, dropped: { unsolicited: 1 } })
      assert.isTrue(yield* aliveStill(port))
    }))
})

describe("fragments", () => {
  const fragments = [0x01, 0x80, 0xff, 0x7f]

  it.live("A17 are dropped, and the association stays", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const target = yield* udpEcho()
      const { client, exchange, send } = yield* associated(port)
      for (const fragment of fragments) yield* send(U4(target.port, "x", [127, 0, 0, 1], fragment))
      yield* pause
      assert.deepStrictEqual((yield* exchange(U4(target.port, "whole"))).bytes, U4(target.port, "whole"))
      assert.deepStrictEqual(target.received.map(({ bytes }) => bytes.toString()), ["whole"])
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepStrictEqual(records[0]?.datagrams, { up: 1, down: 1, dropped: { fragment: 4 } })
      assert.isTrue(yield* aliveStill(port))
    }))

  it.live("A17 are joined where that is offered", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ udpFragments: true })
      const target = yield* udpEcho()
      const { client, exchange, send } = yield* associated(port)
      const part = (fragment: number, data: Uint8Array | string) => U4(target.port, data, [127, 0, 0, 1], fragment)
      yield* send(part(1, "he"))
      yield* send(part(2, "ll"))
      assert.deepStrictEqual((yield* exchange(part(0x83, "o"))).bytes, U4(target.port, "hello"))
      // A gap; and one that stands alone.
      yield* send(part(1, "x"))
      yield* send(part(3, "y"))
      assert.deepStrictEqual((yield* exchange(part(0, "alone"))).bytes, U4(target.port, "alone"))
      // More than one datagram from a client could carry.
      const half = Buffer.alloc(32_750, "h")
      yield* send(part(1, half))
      yield* send(part(0x82, half))
      assert.isTrue(yield* within(Effect.sync(() => target.received.length === 3)))
      assert.deepStrictEqual(target.received.map(({ bytes }) => bytes.length), [5, 5, 65_500])
      yield* pause
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      // The answer of 65,500 bytes has no room for its header.
      assert.deepInclude(records[0]?.datagrams, { up: 3, dropped: { fragment: 2, unsendable: 1 } })
      assert.isTrue(yield* aliveStill(port))
    }))
})

describe("the end", () => {
  for (const how of ["FIN", "RST", "half-close"] as const) {
    it.live(`A18 of the TCP connection ends the association within a second: ${how}`, () =>
      Effect.gen(function*() {
        const { port, records, sessions } = yield* proxy()
        const target = yield* udpEcho()
        const target6 = yield* udpEcho("::1")
        const { client, exchange, relay } = yield* associated(port)
        yield* exchange(U4(target.port, "one"))
        yield* exchange(U6(target6.port, "one", ipv6Loopback))
        const ports = [relay.port, target.received[0]?.port ?? 0, target6.received[0]?.port ?? 0]
        assert.includeMembers([...yield* boundPorts], ports)
        if (how === "RST") yield* client.reset
        else if (how === "half-close") yield* client.end
        else yield* Effect.sync(() => client.socket.destroy())
        assert.isTrue(yield* within(Effect.map(boundPorts, (bound) => !ports.some((port) => bound.has(port)))))
        assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
        const reason = how === "RST" ? "client connection reset (ECONNRESET)" : "done"
        assert.deepInclude(records[0], { reply: 0, reason, datagrams: { up: 2, down: 2, dropped: {} } })
        assert.isTrue(yield* aliveStill(port))
      }))
  }
})

describe("BND.ADDR", () => {
  it.live("A19 is the address that the client has connected to", () =>
    Effect.gen(function*() {
      const target = yield* udpEcho()
      for (const [listen, hosts] of [["0.0.0.0:0", ["127.0.0.1", "127.0.0.2"]], ["[::]:0", ["127.0.0.1"]]] as const) {
        const { port } = yield* proxy({ listen })
        for (const host of hosts) {
          const { exchange, relay } = yield* associated(port, { host })
          assert.strictEqual(relay.host, host)
          assert.notStrictEqual(relay.port, 0)
          const answer = yield* exchange(U4(target.port, host))
          assert.deepStrictEqual(answer, { bytes: U4(target.port, host), host, port: relay.port })
        }
        assert.isTrue(yield* aliveStill(port))
      }
      const { port } = yield* proxy({ listen: "[::]:0" })
      const { relay, reply } = yield* associate(port, { host: "::1" })
      assert.deepStrictEqual([reply[3], relay.host], [4, "::1"])
      const socket = yield* udp("::1")
      yield* socket.send(U4(target.port, "six"), relay)
      assert.deepStrictEqual((yield* socket.next).bytes, U4(target.port, "six"))
    }))

  it.live("A19 is what --udp-advertise says, to clients of its family", () =>
    Effect.gen(function*() {
      const udpAdvertise = NetAddress.ipFromStringUnsafe("192.0.2.7")
      const { port } = yield* proxy({ listen: "[::]:0", udpAdvertise })
      const target = yield* udpEcho()
      const { relay } = yield* associate(port)
      assert.strictEqual(relay.host, "192.0.2.7")
      const socket = yield* udp()
      // As the router would send it on.
      yield* socket.send(U4(target.port, "nat"), { port: relay.port })
      assert.deepStrictEqual((yield* socket.next).bytes, U4(target.port, "nat"))
      assert.strictEqual((yield* associate(port, { host: "::1" })).relay.host, "::1")
      assert.isTrue(yield* aliveStill(port))
    }))

  it.live("A19 has a port of --udp-ports, and there are no more associations than ports", () =>
    Effect.gen(function*() {
      const from = yield* consecutive(3)
      const busy = yield* udp("127.0.0.1", undefined, from)
      const { port, records } = yield* proxy({ udpPorts: { from, to: from + 2 } })
      const target = yield* udpEcho()
      const ports: Array<number> = []
      yield* Effect.scoped(Effect.gen(function*() {
        for (let count = 0; count < 2; count++) {
          const { exchange, relay } = yield* associated(port)
          yield* exchange(U4(target.port, "hello"))
          ports.push(relay.port)
        }
        const late = yield* connect(port)
        yield* late.send(G0, UA)
        yield* late.read(2)
        assert.deepStrictEqual(yield* readReply(late), hex("05 01 00 01 00000000 0000"))
      }))
      assert.sameMembers(ports, [busy.port + 1, busy.port + 2])
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      assert.sameMembers(records.map(({ reply }) => reply), [0, 0, 1])
      // Those that have ended gave theirs back.
      assert.oneOf((yield* associate(port)).relay.port, ports)
    }))
})

describe("datagrams", () => {
  it.live("A20 of any size come through whole", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const target = yield* udpEcho()
      const target6 = yield* udpEcho("::1")
      const { exchange } = yield* associated(port)
      for (const size of [0, 1, 1024, 1472, 9000, 65_497]) {
        const datagram = U4(target.port, Buffer.alloc(size, `${size} `))
        assert.isTrue((yield* exchange(datagram)).bytes.equals(datagram), String(size))
      }
      const datagram = U6(target6.port, Buffer.alloc(65_485, "six "), ipv6Loopback)
      assert.isTrue((yield* exchange(datagram)).bytes.equals(datagram))
      assert.isTrue(yield* aliveStill(port))
    }))

  it.live("A20 that have no room for the header are dropped, and not shortened", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const target = yield* udp("127.0.0.1", ({ port }, socket) => {
        socket.send(Buffer.alloc(65_498, "x"), port)
        socket.send(Buffer.alloc(65_497, "y"), port)
      })
      const { client, exchange } = yield* associated(port)
      assert.isTrue((yield* exchange(U4(target.port, "?"))).bytes.equals(U4(target.port, Buffer.alloc(65_497, "y"))))
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0]?.datagrams?.dropped, { unsendable: 1 })
      assert.isTrue(yield* aliveStill(port))
    }))

  it.live("A21 go to IPv4, IPv6 and names in one association", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set("dual.test", { A: DnsServer.records(["127.0.0.1"]), AAAA: DnsServer.records(["::1"]) })
      dns.set("six.test", { AAAA: DnsServer.records(["::1"]) })
      const { port, records } = yield* proxy({ services: DnsServer.resolver(dns) })
      const target = yield* udpEcho()
      const target6 = yield* udpEcho("::1")
      const { client, exchange, send, socket } = yield* associated(port)
      const four = U4(target.port, "4")
      const six = U6(target6.port, "6", ipv6Loopback)
      assert.deepStrictEqual((yield* exchange(four)).bytes, four)
      assert.deepStrictEqual((yield* exchange(six)).bytes, six)
      // The answer comes from where it comes: an address.
      assert.deepStrictEqual((yield* exchange(UD("localhost", target.port, "4"))).bytes, four)
      assert.deepStrictEqual((yield* exchange(UD("dual.test", target.port, "4"))).bytes, four)
      assert.deepStrictEqual((yield* exchange(UD("six.test", target6.port, "6"))).bytes, six)
      assert.deepStrictEqual((yield* exchange(UD("127.0.0.1", target.port, "4"))).bytes, four)
      yield* send(UD("nx.invalid", target.port, "nobody"))
      assert.isTrue(yield* within(Effect.sync(() => dns.names().includes("nx.invalid"))))
      assert.deepStrictEqual((yield* exchange(four)).bytes, four)
      assert.deepStrictEqual(socket.received, [])
      yield* pause
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepStrictEqual(records[0]?.datagrams, { up: 7, down: 7, dropped: { unresolved: 1 } })
      assert.isTrue(yield* aliveStill(port))
    }))

  it.live("A22 that are malformed are dropped and counted", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const target = yield* udpEcho()
      const { client, exchange, send } = yield* associated(port)
      const malformed = [
        "",
        "00",
        "00 00 00",
        "00 00 00 01 7f",
        "00 00 00 03 ff 61",
        "00 00 00 03 00 00 35",
        "00 00 00 05 00 00",
        "00 00 00 04 00 00 00",
        // Reserved bytes, a NUL in a name, port 0.
        "00 01 00 01 7f 00 00 01 00 35 78",
        "01 00 00 01 7f 00 00 01 00 35 78",
        "00 00 00 03 02 61 00 00 35 78",
        "00 00 00 01 7f 00 00 01 00 00 78"
      ]
      for (const bytes of malformed) yield* send(hex(bytes))
      yield* pause
      assert.deepStrictEqual((yield* exchange(U4(target.port, "fine"))).bytes, U4(target.port, "fine"))
      assert.strictEqual(target.received.length, 1)
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      const dropped = { malformed: malformed.length }
      assert.deepStrictEqual(records[0]?.datagrams, { up: 1, down: 1, dropped })
      assert.isTrue(yield* aliveStill(port))
    }))
})
