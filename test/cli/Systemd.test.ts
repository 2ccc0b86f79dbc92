import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { createSocket } from "node:dgram"
import { existsSync } from "node:fs"
import { join } from "node:path"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import * as NotifySocket from "../support/NotifySocket.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { C4, connect, G0, hex, probe, type RawClient, readReply } from "../support/RawClient.ts"
import { closedPort, echo } from "../support/Targets.ts"
import * as UnixClient from "../support/UnixClient.ts"

const micros = () => Number(process.hrtime.bigint() / 1000n)

const activate = "systemd-socket-activate"

const asks = Effect.fnUntraced(function*(client: RawClient, port: number) {
  yield* client.send(G0, C4(port))
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  assert.strictEqual((yield* readReply(client))[1], 0)
})

/** Waits for somebody to come to its sockets, and serves then. */
const run = (...listen: ReadonlyArray<string>) =>
  Effect.forkChild(Program.run(activate, [...listen, process.execPath, Cli.path, "serve"]))

/** Comes again until somebody listens. */
const knock = (port: number) => Effect.retry(connect(port), { times: 500, schedule: Schedule.spaced(10) })

describe("sluice serve under systemd", () => {
  it.live.each([1, 2])("serves on the sockets that it inherits, with %i workers", (workers) =>
    Effect.gen(function*() {
      const target = yield* echo()
      const port = yield* closedPort
      const path = join(yield* Certificates.directory, "sluice.sock")
      const starting = yield* Effect.forkChild(Cli.serve({
        inherits: 2,
        args: ["--workers", String(workers)],
        program: [
          activate,
          "-l",
          `127.0.0.1:${port}`,
          "-l",
          path,
          "-E",
          "SLUICE_DRAIN_TIMEOUT=0",
          process.execPath,
          Cli.path
        ]
      }))
      // The program is not started before that, and finds it waiting.
      const first = yield* knock(port)
      const proxy = yield* Fiber.join(starting)
      assert.strictEqual(proxy.stdout(), `listening on socks5://127.0.0.1:${port}\nlistening on unix:${path}\n`)
      yield* asks(first, target.port)
      assert.isTrue(yield* probe(port, target.port))
      yield* Effect.scoped(Effect.flatMap(UnixClient.connect(path), (client) => asks(client, target.port)))
      assert.include(yield* proxy.takeLine(/client=unix:/), `client=unix:${path}`)
      if (workers > 1) {
        // Their sockets outlive them.
        for (const [, pid] of proxy.stderr().matchAll(/worker listens" worker=\d+ pid=(\d+)/g)) {
          process.kill(Number(pid), "SIGKILL")
        }
        assert.isTrue(yield* probe(port, target.port))
        yield* Effect.scoped(Effect.flatMap(UnixClient.connect(path), (client) => asks(client, target.port)))
        yield* proxy.signal("SIGHUP")
        yield* proxy.takeLine(/msg=restarted/)
        assert.isTrue(yield* probe(port, target.port))
      }
      assert.strictEqual(yield* proxy.stop, 0)
      // It is systemd's, which may start us again.
      assert.isTrue(existsSync(path))
    }))

  it.live("refuses sockets that it can't serve on, and to be an open proxy by them", () =>
    Effect.gen(function*() {
      const port = yield* closedPort
      const open = yield* run("-l", `0.0.0.0:${port}`)
      yield* knock(port)
      const exposed = yield* Fiber.join(open)
      assert.strictEqual(exposed.code, 2)
      assert.include(exposed.stderr, `sluice: LISTEN_FDS: 0.0.0.0:${port} would be an open proxy; `)

      const udpPort = yield* closedPort
      const datagrams = yield* run("-d", "-l", `127.0.0.1:${udpPort}`, "--fdname", "dns")
      const socket = yield* Effect.acquireRelease(
        Effect.sync(() => createSocket("udp4")),
        (socket) => Effect.sync(() => socket.close())
      )
      // Lost while nobody listens.
      const again = Effect.repeat(Effect.sync(() => socket.send("x", udpPort, "127.0.0.1")), Schedule.spaced(50))
      const { code, stderr } = yield* Effect.raceFirst(Fiber.join(datagrams), Effect.andThen(again, Effect.never))
      assert.strictEqual(code, 1)
      assert.include(
        stderr,
        "sluice: LISTEN_FDS: descriptor 3 (dns) is no listening TCP or Unix socket; see ListenStream=\n"
      )
    }))

  it.live("takes no sockets that are meant for another process, and none when it is told where to listen", () =>
    Effect.gen(function*() {
      const other = yield* Cli.serve({ env: { LISTEN_FDS: "1", LISTEN_PID: "1" } })
      assert.notInclude(other.stderr(), "systemd")
      const port = yield* closedPort
      const starting = yield* Effect.forkChild(Cli.serve({
        program: [activate, "-l", `127.0.0.1:${port}`, process.execPath, Cli.path]
      }))
      yield* knock(port)
      const told = yield* Fiber.join(starting)
      assert.notStrictEqual(told.port, port)
      yield* told.takeLine(
        /level=warn msg="the sockets that systemd has opened are not used: other addresses are given"/
      )
    }))

  it.live("says that it is ready, alive, and stopping", () =>
    Effect.gen(function*() {
      const { path, words } = yield* NotifySocket.make
      const proxy = yield* Cli.serve({ env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "400000", WATCHDOG_PID: undefined } })
      const signs = () => words().filter((word) => word === "WATCHDOG=1").length
      assert.isTrue(yield* within(Effect.sync(() => signs() >= 3), "5 seconds"))
      assert.strictEqual(words()[0], "READY=1")
      assert.strictEqual(yield* proxy.stop, 0)
      assert.isTrue(yield* within(Effect.sync(() => words().includes("STOPPING=1"))))
      assert.deepStrictEqual(words().filter((word) => word !== "WATCHDOG=1"), ["READY=1", "STOPPING=1"])
      assert.notInclude(proxy.stderr(), "systemd")
    }))

  it.live("speaks for its workers, and says when they are being replaced", () =>
    Effect.gen(function*() {
      const { path, words } = yield* NotifySocket.make
      const proxy = yield* Cli.serve({
        args: ["--workers", "2"],
        env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "1000000", WATCHDOG_PID: "1" }
      })
      assert.isTrue(yield* within(Effect.sync(() => words().length === 1), "5 seconds"))
      const before = micros()
      yield* proxy.signal("SIGHUP")
      yield* proxy.takeLine(/msg=restarted/)
      assert.isTrue(yield* within(Effect.sync(() => words().length === 3), "5 seconds"))
      assert.strictEqual(yield* proxy.stop, 0)
      assert.isTrue(yield* within(Effect.sync(() => words().length === 4)))
      const [ready, reloading = "", again, stopping] = words()
      assert.deepStrictEqual([ready, again, stopping], ["READY=1", "READY=1", "STOPPING=1"])
      const [, at] = /^RELOADING=1 MONOTONIC_USEC=(\d+)$/.exec(reloading) ?? []
      assert.isAtLeast(Number(at), before)
      assert.isAtMost(Number(at), micros())
    }))

  it.live("serves on when nobody can tell systemd, and says so once", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const proxy = yield* Cli.serve({ env: { NOTIFY_SOCKET: "/none", PATH: "/none" } })
      yield* proxy.takeLine(/msg="systemd can't be told how the program is" reason="systemd-notify is not installed"/)
      assert.isTrue(yield* probe(proxy.port, target.port))
      assert.strictEqual(yield* proxy.stop, 0)
      assert.strictEqual(proxy.stderr().match(/systemd can't be told/g)?.length, 1)
    }))
})
