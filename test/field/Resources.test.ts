/** Field reports on what runs out: A26, A27, A28, A30, A31, A32. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { createHash, randomBytes } from "node:crypto"
import type * as Net from "node:net"
import { fileURLToPath } from "node:url"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import { comesToRest, within } from "../support/Polling.ts"
import * as ProcessInfo from "../support/ProcessInfo.ts"
import { proxy } from "../support/Proxy.ts"
import { AU, C4, CD, connect, connectThrough, G0, G2, hex, probe, readReply } from "../support/RawClient.ts"
import { echo, stalled, target } from "../support/Targets.ts"

const mebibyte = 1024 * 1024

const lines = (text: string) => text.split("\n").filter((line) => line !== "")

/** Node opens all modules of an `import` at once, which takes more than 64 descriptors; those of a `require` one by one. */
const preload = ["--require", fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))]

/** The descriptors of a process that serves nobody. */
const idleDescriptors = Effect.fnUntraced(function*(pid: number) {
  assert.isTrue(yield* within(Effect.map(ProcessInfo.sockets(pid), (sockets) => sockets.length === 0), "5 seconds"))
  return yield* ProcessInfo.descriptors(pid)
})

/** Whether a process is back to the descriptors that it had, give or take 5. */
const returnsTo = (pid: number, baseline: number, limit: Duration.Input = "2 seconds") =>
  within(Effect.map(ProcessInfo.descriptors(pid), (count) => count <= baseline + 5), limit)

/** Whether the process has closed all that their other ends have. */
const noneLeft = (pid: number) =>
  Effect.map(ProcessInfo.sockets(pid), (lines) => !lines.some((line) => line.startsWith("CLOSE-WAIT")))

describe("descriptors", () => {
  it.live("A26 2,000 tunnels that their targets close leave no socket behind, nor do 100 clients that never close", () =>
    Effect.gen(function*() {
      const { pid, port } = yield* Cli.serve({ args: ["--half-close-timeout", "1s"] })
      const origin = yield* echo()
      const closing = yield* target((socket) => void socket.end("bye"))
      // Warm: what the first connections open for good is not a leak.
      assert.isTrue(yield* probe(port, origin.port))
      const baseline = yield* idleDescriptors(pid)

      for (let i = 0; i < 2000; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connectThrough(port, closing.port)
          assert.strictEqual((yield* client.readToEnd).toString(), "bye")
          yield* client.end
        }))
      }
      assert.strictEqual(closing.accepted(), 2000)
      assert.isTrue(yield* returnsTo(pid, baseline), "of the 2,000")
      assert.isTrue(yield* within(noneLeft(pid), "3 seconds"), "no socket is left")

      const lingering = yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => connectThrough(port, closing.port),
        { concurrency: 20 }
      )
      for (const client of lingering) assert.strictEqual((yield* client.readToEnd).toString(), "bye")
      assert.isTrue(lingering.every(({ socket }) => socket.writable), "the clients have not closed")
      // The limit for these is the half-close timeout, and then the 2 seconds of the case.
      assert.isTrue(yield* returnsTo(pid, baseline, "3 seconds"), "of the 100")
      assert.isTrue(yield* within(noneLeft(pid), "3 seconds"), "no socket is left")
      assert.isTrue(yield* probe(port, origin.port))
    }))

  const limits = [
    // (64 - 32) / 2.01
    { name: "the derived limit of 15 connections", args: [], holds: 15 },
    // So that the limit of descriptors is met, of which 64 / 8 are kept for targets.
    { name: "no limit of connections", args: ["--max-connections", "1000"], holds: 30 }
  ]
  for (const { args, holds, name } of limits) {
    it.live(`A27 100 clients on 64 descriptors neither stop it nor make it spin, with ${name}`, () =>
      Effect.gen(function*() {
        const { exitCode, pid, port, stderr } = yield* Cli.serve({
          args: ["--handshake-timeout", "1m", ...args],
          program: ["bash", "-c", "ulimit -n 64 && exec \"$@\"", "bash", process.execPath, ...preload, Cli.path]
        })
        const origin = yield* echo()
        assert.isTrue(yield* probe(port, origin.port))
        const baseline = yield* idleDescriptors(pid)
        const held = Effect.map(ProcessInfo.descriptors(pid), (count) => count - baseline)

        yield* Effect.scoped(Effect.gen(function*() {
          const first = yield* connect(port)
          yield* Effect.forEach(Array.from({ length: 99 }), () => connect(port), { concurrency: "unbounded" })
          assert.isTrue(
            yield* within(Effect.map(held, (count) => count >= holds), "5 seconds"),
            "it holds as many as it can"
          )
          const before = yield* ProcessInfo.processorSeconds(pid)
          const logged = lines(stderr()).length
          const window = 2
          yield* Effect.sleep(Duration.seconds(window))
          // A guard against spinning, which takes all of a core.
          assert.isBelow((yield* ProcessInfo.processorSeconds(pid)) - before, window / 2)
          assert.isAtMost(lines(stderr()).length - logged, 2)
          assert.isBelow(yield* held, 100)

          // One of those that got in goes on: there is a descriptor for its target.
          yield* first.send(G0, C4(origin.port))
          assert.match((yield* first.read(12)).toString("hex"), /^050005000001/)
          assert.match(stderr(), /turned 1 client away so far: .*limit|turned 1 client away so far: 15 connections/)
        }))

        assert.isTrue(yield* returnsTo(pid, baseline))
        // Next to a line for each connection that was served.
        assert.isAtMost(lines(stderr()).filter((line) => !line.includes("connection ended")).length, 3)
        for (let i = 0; i < 3; i++) assert.isTrue(yield* probe(port, origin.port))
        assert.isTrue(Option.isNone(yield* Effect.timeoutOption(exitCode, 0)), "the same process serves on")
      }))
  }
})

describe("resets", () => {
  it.live("A28 a client that has gone before it was accepted is logged as that, and not judged", () =>
    Effect.gen(function*() {
      const { port, signal, takeLine } = yield* Cli.serve()
      const origin = yield* echo()
      assert.isTrue(yield* probe(port, origin.port))
      yield* takeLine(/connection ended/)
      yield* signal("SIGSTOP")
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connect(port)
        yield* client.send(G0, C4(origin.port))
        yield* Effect.sleep(20)
        yield* client.reset
      }))
      yield* signal("SIGCONT")
      const line = yield* takeLine(/connection ended/)
      assert.include(line, "client left before it was served")
      assert.notInclude(line, "reply=")
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A28 clients that reset at any point of the connection, 200 times each, disturb nobody", () =>
    Effect.gen(function*() {
      const times = 200
      const login = AU("ann", "sesame")
      const { pid, port, stderr, stop } = yield* Cli.serve({
        args: ["--user", "ann:sesame", "--connect-timeout", "2s", "--log-level", "debug"]
      })
      const origin = yield* echo()
      // Resets the client as soon as its target is there, so while the reply is written.
      const resets = new Map<number, () => void>()
      const accepted: Array<number> = []
      const watched = yield* target((socket) => {
        socket.resume().on("end", () => socket.end())
        const reset = [...resets.values()].shift()
        accepted.push(socket.remotePort ?? 0)
        reset?.()
      })
      const block = randomBytes(64 * 1024)
      const flood = yield* target((socket) => {
        const push = () => {
          while (socket.write(block));
          socket.once("drain", push)
        }
        socket.on("close", () => socket.off("drain", push))
        socket.on("end", () => socket.destroy())
        socket.resume()
        push()
      })
      const full = yield* stalled
      assert.isTrue(yield* probe(port, origin.port, login))
      const baseline = yield* idleDescriptors(pid)

      const repeat = (point: (round: number) => Effect.Effect<void, unknown, Scope.Scope>, concurrency: number) =>
        Effect.forEach(Array.from({ length: times }, (_, i) => i), (i) => Effect.scoped(point(i)), {
          concurrency,
          discard: true
        })
      /** With and without having read what the server said. */
      const afterGreeting = Effect.fnUntraced(function*(round: number) {
        const client = yield* connect(port)
        yield* client.send(G2)
        if (round % 2 === 0) yield* client.read(2)
        yield* client.reset
      })
      const afterWrongPassword = Effect.fnUntraced(function*(round: number) {
        const client = yield* connect(port)
        yield* client.send(G2, AU("ann", "wrong"))
        if (round % 2 === 0) assert.deepStrictEqual(yield* client.read(4), hex("05 02 01 01"))
        yield* client.reset
      })
      const duringConnect = Effect.fnUntraced(function*(round: number) {
        const client = yield* connect(port)
        yield* client.send(G2, login, C4(full))
        yield* client.read(4)
        yield* Effect.sleep(round % 20)
        yield* client.reset
      })
      const duringReply = Effect.fnUntraced(function*(round: number) {
        const client = yield* connect(port)
        yield* client.send(G2, login)
        yield* client.read(4)
        resets.set(round, () => client.socket.resetAndDestroy())
        yield* client.send(C4(watched.port))
        const gone = yield* within(Effect.sync(() => client.socket.destroyed), "5 seconds")
        resets.delete(round)
        assert.isTrue(gone)
      })
      const duringTransfer = Effect.fnUntraced(function*(round: number) {
        const client = yield* connectThrough(port, flood.port, login)
        yield* client.read((round % 16 + 1) * 16 * 1024)
        yield* client.reset
      })

      yield* repeat(afterGreeting, 10)
      yield* repeat(afterWrongPassword, 10)
      yield* repeat(duringReply, 1)
      yield* repeat(duringTransfer, 4)
      yield* repeat(duringConnect, 50)
      assert.strictEqual(accepted.length, times)
      assert.strictEqual(flood.accepted(), times)

      assert.isTrue(yield* probe(port, origin.port, login))
      // The targets' side has ended, too; a connect that is going on has its own limit.
      assert.isTrue(yield* within(Effect.sync(() => watched.open.size + flood.open.size === 0), "2 seconds"))
      assert.isTrue(yield* returnsTo(pid, baseline, "5 seconds"))
      assert.strictEqual(yield* stop, 0)
      const ended = lines(stderr()).filter((line) => line.includes("connection ended")).length
      // Those that left before they were accepted have a line together.
      const others = [...stderr().matchAll(/ others=(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0)
      // Each of them was served to its end, and so were the two probes.
      assert.strictEqual(ended + others, 5 * times + 2)
      assert.notMatch(stderr(), /uncaught|unhandled|level=(error|fatal)|session died|^\s+at /im)
    }))
})

describe("back-pressure", () => {
  it.live("A30 a client that does not read stops a fast origin, at no cost of memory", () =>
    Effect.gen(function*() {
      const { pid, port } = yield* Cli.serve()
      const origin = yield* echo()
      const size = 256 * mebibyte
      const block = randomBytes(mebibyte)
      let written: Net.Socket | undefined
      const fast = yield* target((socket) => {
        written = socket
        let blocks = 0
        const push = () => {
          while (blocks < size / mebibyte) {
            blocks++
            if (!socket.write(block)) return socket.once("drain", push)
          }
          return socket.end()
        }
        push()
      })
      const sent = () => (written?.bytesWritten ?? 0) - (written?.writableLength ?? 0)
      assert.isTrue(yield* probe(port, origin.port))
      const baseline = yield* ProcessInfo.residentMemory(pid)
      let peak = baseline
      yield* ProcessInfo.residentMemory(pid).pipe(
        Effect.map((memory) => {
          peak = Math.max(peak, memory)
        }),
        Effect.delay(50),
        Effect.forever,
        Effect.forkScoped
      )

      const client = yield* connectThrough(port, fast.port)
      assert.isTrue(yield* comesToRest(sent))
      const stalledAt = sent()
      yield* Effect.sleep("2 seconds")
      assert.strictEqual(sent(), stalledAt, "the target's writes have stalled")
      assert.isBelow(stalledAt, size / 2)
      assert.isTrue(yield* probe(port, origin.port))

      const got = createHash("sha256")
      let received = 0
      yield* client.readEach((bytes) => {
        received += bytes.length
        got.update(bytes)
      })
      yield* client.end
      const expected = createHash("sha256")
      for (let i = 0; i < size / mebibyte; i++) expected.update(block)
      assert.strictEqual(received, size)
      assert.strictEqual(got.digest("hex"), expected.digest("hex"))
      assert.isBelow((peak - baseline) / mebibyte, 32)
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("20 clients that do not read cost less than 1 MiB each, and their origins stop", () =>
    Effect.gen(function*() {
      const { pid, port } = yield* Cli.serve()
      const readers = 20
      // More than the kernel takes on the way, and less than would swamp the machine when nothing stops them.
      const size = 24 * mebibyte
      const block = Buffer.alloc(mebibyte)
      const sources: Array<Net.Socket> = []
      const fast = yield* target((socket) => {
        sources.push(socket)
        for (let i = 0; i < size / mebibyte; i++) socket.write(block)
        socket.end()
      })
      // What reading and writing allocate for good is not the price of a reader that stalls.
      yield* Effect.forEach(
        Array.from({ length: 4 }),
        () =>
          Effect.scoped(
            Effect.flatMap(connectThrough(port, fast.port), (client) =>
              Effect.andThen(client.readEach(() => {}), client.end))
          ),
        { concurrency: "unbounded" }
      )
      yield* idleDescriptors(pid)
      const baseline = yield* ProcessInfo.residentMemory(pid)
      sources.length = 0

      const clients = yield* Effect.forEach(Array.from({ length: readers }), () => connectThrough(port, fast.port))
      const unsent = () => sources.map((socket) => socket.writableLength)
      assert.isTrue(yield* comesToRest(() => unsent().join(" ")), "the origins have stopped")
      assert.isTrue(unsent().every((length) => length > 0), `none has got rid of all: ${unsent().join(" ")}`)

      assert.isBelow((yield* ProcessInfo.residentMemory(pid)) - baseline, readers * mebibyte)
      // To the byte: what has been read from the origins, less what the clients' sockets have been given.
      const legs = yield* ProcessInfo.traffic(pid)
      const fromOrigins = legs.filter(({ peer }) => peer === fast.port)
      const toClients = legs.filter(({ local }) => local === port)
      assert.deepStrictEqual([fromOrigins.length, toClients.length], [readers, readers])
      const taken = fromOrigins.reduce((sum, { read }) => sum + read, 0)
      const held = toClients.reduce((rest, { written }) => rest - written, taken)
      assert.isAtLeast(held, 0)
      assert.isBelow(held, readers * mebibyte)

      for (const client of clients) {
        let received = 0
        yield* client.readEach((bytes) => {
          received += bytes.length
        })
        assert.strictEqual(received, size)
      }
    }))
})

describe("names", () => {
  it.live("A31 20 names that nobody answers hold up no other connection, and end with 04", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      const names = Array.from({ length: 20 }, (_, i) => `slow-${i}.test`)
      for (const name of names) dns.set(name, { A: DnsServer.silent, AAAA: DnsServer.silent })
      // The limits are those that it has by default.
      const { port, stderr } = yield* Cli.serve({ args: ["--dns", NetAddress.formatInet(dns.address)] })
      const origin = yield* echo()
      const slow = yield* Effect.forEach(
        names,
        (name) => Effect.tap(connect(port), (client) => client.send(G0, CD(name, 80)))
      )
      yield* Effect.forEach(names, (name) => dns.asked(name, 1))

      assert.isTrue(yield* probe(port, origin.port))
      const local = yield* connect(port)
      yield* local.send(G0, CD("localhost", origin.port), "HELLO")
      yield* local.read(2)
      assert.strictEqual((yield* readReply(local))[1], 0)
      assert.strictEqual((yield* local.read(5)).toString(), "HELLO")
      // No slow one had ended by then: they were not waited for.
      assert.notInclude(stderr(), "slow-")
      for (const { socket } of slow) assert.isAtMost(socket.readableLength, 2)

      const answers = yield* Effect.forEach(slow, (client) => client.readToEnd, { concurrency: "unbounded" }).pipe(
        Effect.timeoutOrElse({
          duration: "10 seconds",
          orElse: () => Effect.die(new Error("some lookup is without a limit"))
        })
      )
      for (const answer of answers) assert.deepStrictEqual(answer, hex("05 00 05 04 00 01 00000000 0000"))
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("A31 no more lookups are pending than may be, whatever is asked for", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      const [count, maxPending] = [20, 4]
      const names = Array.from({ length: count }, (_, i) => `slow-${i}.test`)
      const held = DnsServer.held(DnsServer.nameError)
      for (const name of names) dns.set(name, { A: held, AAAA: held })
      const { port, records } = yield* proxy({ services: DnsServer.resolver(dns, { maxPending }) })
      const origin = yield* echo()
      const slow = yield* Effect.forEach(names, (name) =>
        Effect.tap(connect(port), (client) => client.send(G0, CD(name, 80))))
      for (let asked = maxPending; asked <= count; asked += maxPending) {
        assert.isTrue(
          yield* within(Effect.sync(() =>
            dns.names().length >= asked
          ))
        )
        yield* Effect.sleep(50)
        assert.strictEqual(dns.names().length, asked)
        assert.isTrue(yield* probe(port, origin.port))
        for (const name of dns.names()) dns.release(name)
      }
      const answers = yield* Effect.forEach(slow, (client) => client.readToEnd, { concurrency: "unbounded" })
      for (const answer of answers) assert.deepStrictEqual(answer, hex("05 00 05 04 00 01 00000000 0000"))
      for (const client of slow) yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.filter(({ reply }) => reply === 4).length === count)))
      assert.isTrue(yield* probe(port, origin.port))
    }))

  const families = [
    { host: "127.0.0.1", head: "05000001 7f000001", closed: "IPv6" },
    { host: "::1", head: "05000004 00000000000000000000000000000001", closed: "IPv4" }
  ]
  for (const { closed, head, host } of families) {
    it.live(`A32 a name with addresses of both families is reached although its ${closed} address refuses`, () =>
      Effect.gen(function*() {
        const dns = yield* DnsServer.make
        dns.set("dual.test", { AAAA: DnsServer.records(["::1"]), A: DnsServer.records(["127.0.0.1"]) })
        const { port, records } = yield* proxy({ services: DnsServer.resolver(dns) })
        const origin = yield* echo(host)
        const client = yield* connect(port)
        yield* client.send(G0, CD("dual.test", origin.port), "HELLO")
        yield* client.read(2)
        const reply = yield* readReply(client)
        assert.deepStrictEqual(reply.subarray(0, -2), hex(head), "the address of the family that won")
        const ports = Array.from(origin.open, (socket) => socket.remotePort)
        assert.deepStrictEqual(ports, [reply.readUInt16BE(reply.length - 2)])
        assert.strictEqual((yield* client.read(5)).toString(), "HELLO")
        yield* client.end
        yield* client.readToEnd
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.strictEqual(
          records[0]?.address,
          NetAddress.formatInet(NetAddress.inetAddressFromIpStringUnsafe(host, origin.port))
        )
        assert.deepStrictEqual([dns.count("dual.test", "A"), dns.count("dual.test", "AAAA")], [1, 1])
        assert.isTrue(yield* probe(port, (yield* echo()).port))
      }))
  }
})
