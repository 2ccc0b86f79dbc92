/** Field report on BIND: A23. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import * as Elsewhere from "../support/Elsewhere.ts"
import { within } from "../support/Polling.ts"
import * as ProcessInfo from "../support/ProcessInfo.ts"
import { proxy, type ProxyOptions } from "../support/Proxy.ts"
import { connect, G0, hex, port16, probe, type RawClient, readReply } from "../support/RawClient.ts"
import { closedPort, echo } from "../support/Targets.ts"

/** A BIND request for a peer at this address; port 0, as in the report. */
const bindFor = (ip: string) =>
  Buffer.concat([hex("05 02 00 01"), Buffer.from(ip.split(".").map(Number)), hex("00 00")])

/** A client that has its first reply, and the port that its peer is to connect to. */
const bound = Effect.fnUntraced(function*(proxyPort: number, request: Uint8Array) {
  const client = yield* connect(proxyPort)
  yield* client.send(G0, request)
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  const reply = yield* readReply(client)
  assert.deepStrictEqual(reply.subarray(0, 8), hex("05 00 00 01 7f 00 00 01"))
  const port = reply.readUInt16BE(8)
  assert.isAbove(port, 0)
  return { client, port }
})

const localPort = ({ socket }: RawClient) => port16(socket.localPort ?? 0)

/** Somebody who is not wanted comes to a port: the connection ends, with a reset or without, and nothing has come. */
const sentAway = (port: number, localAddress: string) =>
  connect(port, { localAddress }).pipe(
    Effect.flatMap((stranger) => stranger.readToEnd),
    // It may be reset before it knows that it is connected.
    Effect.match({ onFailure: ({ code }) => code, onSuccess: (bytes) => bytes.toString("hex") }),
    Effect.map((outcome) => assert.include(["", "ECONNRESET"], outcome))
  )

/** Nobody listens there any more. Who asks is not one who is expected anywhere. */
const gone = (port: number) =>
  within(Effect.scoped(Effect.match(connect(port, { localAddress: "127.0.0.99" }), {
    onFailure: ({ code }) => code === "ECONNREFUSED",
    onSuccess: () => false
  })))

describe("BIND", () => {
  it.live("A23 the second reply is sent when the expected peer has connected, and tells its address", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const { client, port: door } = yield* bound(port, bindFor("127.0.0.1"))

      // Somebody else is closed, hears nothing, and does not end the wait.
      for (let times = 0; times < 3; times++) {
        yield* sentAway(door, "127.0.0.2")
      }
      assert.strictEqual(client.socket.readableLength, 0)

      const peer = yield* connect(door, { localAddress: "127.0.0.1" })
      const { localPort: peerPort } = peer.socket
      const second = yield* readReply(client)
      assert.deepStrictEqual(second, Buffer.concat([hex("05 00 00 01 7f 00 00 01"), localPort(peer)]))
      assert.isTrue(yield* gone(door), "one peer, and no more")

      yield* peer.send("from the peer")
      assert.strictEqual((yield* client.read(13)).toString(), "from the peer")
      yield* client.send("from the client")
      yield* client.end
      assert.strictEqual((yield* peer.readToEnd).toString(), "from the client")
      yield* peer.send("still here")
      yield* peer.end
      assert.strictEqual((yield* client.readToEnd).toString(), "still here")
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], {
        destination: "127.0.0.1:0",
        address: `127.0.0.1:${peerPort}`,
        reply: 0,
        bytesUp: 15,
        bytesDown: 23,
        reason: "done"
      })
      assert.isTrue(yield* probe(port, (yield* echo()).port))
    }))

  it.live("A23 when nobody connects in time, the second reply is a failure, and the port is closed", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy({ bindTimeout: 200 })
      const { client, port: door } = yield* bound(port, bindFor("127.0.0.1"))
      yield* sentAway(door, "127.0.0.2")
      assert.deepStrictEqual(yield* client.readToEnd, hex("05 01 00 01 00 00 00 00 00 00"))
      assert.isTrue(yield* gone(door))
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { reply: 1, address: undefined })
      assert.strictEqual(records[0]?.reason, `nobody who was expected connected to 127.0.0.1:${door} in time`)
    }))

  it.live("A23 a client that leaves early takes its port along, however it leaves", () =>
    Effect.gen(function*() {
      const { port, records, sessions } = yield* proxy()
      const polite = yield* bound(port, bindFor("127.0.0.1"))
      yield* polite.client.end
      assert.isTrue(yield* gone(polite.port))
      assert.strictEqual((yield* polite.client.readToEnd).length, 0)

      const rude = yield* bound(port, bindFor("127.0.0.1"))
      yield* rude.client.reset
      assert.isTrue(yield* gone(rude.port))

      // What it sent ahead does not keep it.
      const eager = yield* bound(port, bindFor("127.0.0.1"))
      yield* eager.client.send("a", "b")
      yield* eager.client.end
      assert.isTrue(yield* gone(eager.port))
      assert.isTrue(yield* within(Effect.map(sessions.count, (count) => count === 0)))
      for (const record of records) {
        assert.deepInclude(record, { reply: undefined, address: undefined })
        assert.match(record.reason, /^client (left during the bind|connection reset)/)
      }
      assert.strictEqual(records.length, 3)
    }))

  it.live("A23 what the client sends ahead gets to its peer, and first", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const { client, port: door } = yield* bound(port, Buffer.concat([bindFor("127.0.0.1"), Buffer.from("one ")]))
      yield* client.send("two ")
      yield* Effect.sleep(50)
      yield* client.send("three ")
      const peer = yield* connect(door)
      yield* readReply(client)
      yield* client.send("four")
      assert.strictEqual((yield* peer.read(18)).toString(), "one two three four")
    }))

  it.live("A23 0.0.0.0 expects anybody, and a name those whom it stands for", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set("peer.test", { A: DnsServer.records(["127.0.0.3", "127.0.0.4"]) })
      const { port } = yield* proxy({ services: DnsServer.resolver(dns) })
      const anybody = yield* bound(port, bindFor("0.0.0.0"))
      const somebody = yield* connect(anybody.port, { localAddress: "127.0.0.9" })
      const second = yield* readReply(anybody.client)
      assert.deepStrictEqual(second, Buffer.concat([hex("05 00 00 01 7f 00 00 09"), localPort(somebody)]))

      const name = Buffer.from("peer.test")
      const request = Buffer.concat([hex("05 02 00 03"), Buffer.from([name.length]), name, hex("00 15")])
      const named = yield* bound(port, request)
      yield* sentAway(named.port, "127.0.0.1")
      yield* connect(named.port, { localAddress: "127.0.0.4" })
      assert.deepStrictEqual((yield* readReply(named.client)).subarray(0, 8), hex("05 00 00 01 7f 00 00 04"))
    }))

  it.live("A23 over IPv6 the port is one of that family", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ listen: "[::1]:0" })
      const client = yield* connect(port, { host: "::1" })
      const loopback = "00000000 00000000 00000000 00000001"
      yield* client.send(G0, hex(`05 02 00 04 ${loopback} 0000`))
      yield* client.read(2)
      const first = yield* readReply(client)
      assert.deepStrictEqual(first.subarray(0, 20), hex(`05 00 00 04 ${loopback}`))
      const peer = yield* connect(first.readUInt16BE(20), { host: "::1" })
      const second = yield* readReply(client)
      assert.deepStrictEqual(second, Buffer.concat([hex(`05 00 00 04 ${loopback}`), localPort(peer)]))
    }))

  it.live("A23 clients from elsewhere wait for nobody whom they could not connect to", () =>
    Effect.gen(function*() {
      // All who connect to this proxy come from 203.0.113.7, its peers too.
      const { port, records } = yield* proxy({ services: Elsewhere.layer })
      for (const ip of ["127.0.0.1", "10.1.2.3", "169.254.169.254"]) {
        const client = yield* connect(port)
        yield* client.send(G0, bindFor(ip))
        yield* client.read(2)
        assert.deepStrictEqual(yield* client.readToEnd, hex("05 02 00 01 00 00 00 00 00 00"), ip)
        yield* client.end
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      for (const address of ["203.0.113.7", "0.0.0.0"]) {
        const { client, port: door } = yield* bound(port, bindFor(address))
        yield* connect(door)
        assert.deepStrictEqual((yield* readReply(client)).subarray(0, 8), hex("05 00 00 01 cb 00 71 07"))
      }
      const { client, port: door } = yield* bound(port, bindFor("203.0.113.8"))
      yield* sentAway(door, "127.0.0.1")
      assert.strictEqual(client.socket.readableLength, 0)
    }))

  it.live("A23 no port is opened outside of --bind-ports", () =>
    Effect.gen(function*() {
      const free = yield* closedPort
      const options: ProxyOptions = { bindPorts: { from: free, to: free } }
      const { port, records } = yield* proxy(options)
      const first = yield* bound(port, bindFor("127.0.0.1"))
      assert.strictEqual(first.port, free)
      const second = yield* connect(port)
      yield* second.send(G0, bindFor("127.0.0.1"))
      yield* second.read(2)
      assert.deepStrictEqual(yield* second.readToEnd, hex("05 01 00 01 00 00 00 00 00 00"))
      yield* second.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.include(records[0]?.reason, "EADDRINUSE")
      // Free again with its peer there, or its client gone.
      yield* connect(free)
      yield* readReply(first.client)
      const third = yield* bound(port, bindFor("127.0.0.1"))
      assert.strictEqual(third.port, free)
    }))

  it.live("A23 of several workers, the one that has the client hears its peer", () =>
    Effect.gen(function*() {
      const cli = yield* Cli.serve({ args: ["--workers", "2"] })
      const all = yield* Effect.forEach(Array.from({ length: 6 }), () => bound(cli.port, bindFor("127.0.0.1")))
      assert.strictEqual(new Set(all.map(({ port }) => port)).size, all.length)
      for (const { client, port } of all) {
        const peer = yield* connect(port)
        assert.deepStrictEqual((yield* readReply(client)).subarray(8), localPort(peer))
      }
      assert.strictEqual(yield* cli.stop, 0)
    }), 20_000)

  it.live("A23 nothing of many waits is left in the process", () =>
    Effect.gen(function*() {
      const cli = yield* Cli.serve({ args: ["--bind-timeout", "300ms"] })
      const warm = yield* bound(cli.port, bindFor("127.0.0.1"))
      yield* warm.client.readToEnd
      yield* warm.client.reset
      yield* within(Effect.map(ProcessInfo.sockets(cli.pid), (sockets) => sockets.length === 0))
      const before = yield* ProcessInfo.descriptors(cli.pid)
      yield* Effect.forEach(Array.from({ length: 60 }), (_, i) =>
        Effect.scoped(Effect.gen(function*() {
          const { client, port } = yield* bound(cli.port, bindFor("127.0.0.1"))
          if (i % 3 === 0) yield* sentAway(port, "127.0.0.2")
          if (i % 3 === 1) return yield* connect(port)
          return yield* i % 2 === 0 ? client.reset : client.readToEnd
        })), { concurrency: 20, discard: true })
      assert.isTrue(
        yield* within(Effect.map(ProcessInfo.descriptors(cli.pid), (count) => count <= before), "5 seconds"),
        `${yield* ProcessInfo.descriptors(cli.pid)} descriptors after ${before}`
      )
      assert.strictEqual(yield* ProcessInfo.listeners(cli.pid), 1)
    }), 20_000)
})
