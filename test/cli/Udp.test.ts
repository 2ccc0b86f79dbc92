/** UDP ASSOCIATE in the program itself: its flags, its workers, its log, and a flood. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import { comesToRest } from "../support/Polling.ts"
import { descriptors, residentMemory } from "../support/ProcessInfo.ts"
import { probe } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import { associated, boundPorts, consecutive, U4, UD, type Udp, udp, udpEcho } from "../support/Udp.ts"

/** An answer's data, without its header. */
const dataOf = (answer: { readonly bytes: Buffer }) => answer.bytes.toString("latin1", 10)

/** Sends many datagrams, as fast as the system takes them. */
const flood = (
  from: Udp,
  to: { readonly host: string; readonly port: number },
  count: number,
  datagram: (index: number) => Uint8Array
) =>
  Effect.forEach(Array.from({ length: Math.ceil(count / 50) }), (_, batch) =>
    Effect.callback<void>((resume) => {
      for (let index = 0; index < 49; index++) from.socket.send(datagram(50 * batch + index), to.port, to.host)
      from.socket.send(datagram(50 * batch + 49), to.port, to.host, () => resume(Effect.void))
    }), { discard: true })

describe("serve", () => {
  it.live("relays datagrams with several workers, whose associations share a range of ports", () =>
    Effect.gen(function*() {
      const from = yield* consecutive(8)
      const { port, ...cli } = yield* Cli.serve({ args: ["--workers", "2", "--udp-ports", `${from}-${from + 7}`] })
      const target = yield* udpEcho()
      const ports = new Set<number>()
      const clients = yield* Effect.forEach(
        Array.from({ length: 8 }),
        () => associated(port),
        { concurrency: 4 }
      )
      for (const [index, { exchange, relay }] of clients.entries()) {
        assert.strictEqual(dataOf(yield* exchange(U4(target.port, `from ${index}`))), `from ${index}`)
        ports.add(relay.port)
      }
      assert.sameMembers([...ports], Array.from({ length: 8 }, (_, index) => from + index))
      for (const { client } of clients) yield* client.end
      for (let count = 0; count < 8; count++) {
        const line = yield* cli.takeLine(/connection ended/)
        assert.match(line, / up=6 down=6 datagrams_up=1 datagrams_down=1 duration_ms=.* worker=[12]$/)
      }
    }))

  it.live("takes --udp-advertise and --udp-fragments", () =>
    Effect.gen(function*() {
      const { port } = yield* Cli.serve({ args: ["--udp-advertise", "127.0.0.1", "--udp-fragments"] })
      const target = yield* udpEcho()
      const { exchange, send } = yield* associated(port, { localAddress: "127.0.0.1" })
      yield* send(U4(target.port, "two ", [127, 0, 0, 1], 1))
      assert.strictEqual(dataOf(yield* exchange(U4(target.port, "parts", [127, 0, 0, 1], 0x82))), "two parts")
    }))

  it.live("A39 keeps an association until the drain limit, and ends with it", () =>
    Effect.gen(function*() {
      const { port, ...cli } = yield* Cli.serve({ args: ["--drain-timeout", "1s"] })
      const target = yield* udpEcho()
      const { client, exchange, relay } = yield* associated(port)
      yield* exchange(U4(target.port, "before"))
      yield* cli.signal("SIGTERM")
      yield* cli.takeLine(/stopping/)
      assert.strictEqual(dataOf(yield* exchange(U4(target.port, "meanwhile"))), "meanwhile")
      assert.strictEqual(yield* cli.exitCode, 0)
      assert.match(
        yield* cli.takeLine(/connection ended/),
        / datagrams_up=2 datagrams_down=2 .* reason="server stopped"/
      )
      assert.strictEqual((yield* client.readToEnd).length, 0)
      assert.isFalse((yield* boundPorts).has(relay.port))
    }))

  it.live("keeps its memory and the association in a flood of every kind", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set("never.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const { pid, port, ...cli } = yield* Cli.serve({ args: ["--dns", NetAddress.formatInet(dns.address)] })
      const target = yield* udpEcho()
      const closed = (yield* Effect.scoped(udp())).port
      const stranger = yield* udp("127.0.0.2")
      const { client, exchange, relay, socket } = yield* associated(port)
      const data = Buffer.alloc(1400, "data")
      const one = U4(closed, data)
      const floods: ReadonlyArray<readonly [from: Udp, count: number, datagram: (index: number) => Uint8Array]> = [
        [socket, 20_000, () => one],
        [socket, 10_000, (index) => U4(1 + index % 60_000, data, [127, 1, index >> 8, index & 255])],
        [socket, 5_000, (index) => UD(`${index}.never.test`, 53, data)],
        [socket, 2_000, () => UD("never.test", 53, Buffer.alloc(60_000))],
        [socket, 5_000, (index) => Buffer.alloc(index % 30, index)],
        [stranger, 5_000, () => one]
      ]
      yield* exchange(U4(target.port, "before"))
      for (const [from, , datagram] of floods) yield* flood(from, relay, 200, datagram)
      const files = yield* descriptors(pid)
      // What is kept is kept again in each round; what only waits to be collected is not there twice.
      let grown = Infinity
      for (let round = 0; round < 3 && grown >= 128 * 1024 * 1024; round++) {
        const memory = yield* residentMemory(pid)
        for (const [from, count, datagram] of floods) yield* flood(from, relay, count, datagram)
        assert.isTrue(yield* comesToRest(() => target.received.length))
        grown = (yield* residentMemory(pid)) - memory
      }
      assert.isBelow(grown, 128 * 1024 * 1024)
      // The association's own sockets, and those of 64 lookups.
      assert.isBelow((yield* descriptors(pid)) - files, 150)
      socket.received.splice(0)
      // In a flood the system may have dropped all of a kind before the proxy could count one.
      yield* flood(stranger, relay, 50, () => U4(closed, "x"))
      yield* flood(socket, relay, 50, (index) => Buffer.alloc(index % 4, index))
      yield* flood(socket, relay, 100, (index) => UD(`last-${index}.never.test`, 53, "x"))
      assert.strictEqual(dataOf(yield* exchange(U4(target.port, "after"))), "after")
      assert.isTrue(yield* probe(port, (yield* echo()).port))
      yield* client.end
      const line = yield* cli.takeLine(/connection ended.* datagrams_up=/)
      for (const why of ["foreign", "malformed", "congested"]) assert.match(line, new RegExp(` dropped_${why}=\\d+`))
      assert.notMatch(cli.stderr(), /uncaught|unhandled|level=(error|fatal)/i)
      yield* cli.stop
    }))
})
