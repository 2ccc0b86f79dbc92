import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import { readFileSync } from "node:fs"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { children } from "../support/ProcessInfo.ts"
import {
  AU,
  connect,
  connectThrough,
  G0,
  hex,
  probe,
  type RawClient,
  refusesConnections
} from "../support/RawClient.ts"
import { closedPort, echo } from "../support/Targets.ts"

interface Worker {
  readonly number: number
  readonly pid: number
}

/** The next worker that says that it listens. */
const listens = Effect.fnUntraced(function*(proxy: Cli.Cli) {
  const line = yield* proxy.takeLine(/worker listens/)
  const [, number, pid] = / worker=(\d+) pid=(\d+)$/.exec(line) ?? []
  const worker: Worker = { number: Number(number), pid: Number(pid) }
  return worker
})

/** A proxy with several workers, once all of them have said that they listen. */
const serve = Effect.fnUntraced(function*(workers: number, { args = [], ...options }: Cli.ServeOptions = {}) {
  const proxy = yield* Cli.serve({ ...options, args: ["--workers", String(workers), ...args] })
  const first = yield* Effect.forEach(Array.from({ length: workers }), () => listens(proxy))
  return { proxy, workers: first }
})

const isAlive = (pid: number): boolean => {
  try {
    // One that has ended, and whose parent has too, may stay a zombie where nobody collects them.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

const gone = (workers: ReadonlyArray<Worker>) =>
  within(Effect.sync(() => !workers.some(({ pid }) => isAlive(pid))), "5 seconds")

/** Whether a relayed connection still works. */
const echoes = (client: RawClient): Effect.Effect<boolean> =>
  client.send("ping").pipe(
    Effect.andThen(client.read(4)),
    Effect.match({ onFailure: () => false, onSuccess: (bytes) => bytes.toString() === "ping" })
  )

const through = (proxy: Cli.Cli, port: number, count: number) =>
  Effect.forEach(Array.from({ length: count }), () => connectThrough(proxy.port, port), { concurrency: 8 })

/**
 * Clients that come one after the other, sixteen at a time: before, during and after `event`. None may wait for more
 * than 5 seconds.
 */
const stream = Effect.fnUntraced(function*<E, R>(proxy: Cli.Cli, port: number, event: Effect.Effect<unknown, E, R>) {
  const failures: Array<string> = []
  let served = 0
  let over = false
  const one = Effect.gen(function*() {
    const client = yield* connectThrough(proxy.port, port)
    yield* client.send("ping")
    assert.strictEqual((yield* client.read(4)).toString(), "ping")
    served++
  }).pipe(
    Effect.scoped,
    Effect.timeout("5 seconds"),
    Effect.catch((error) => Effect.sync(() => failures.push(error.message)))
  )
  const more = Effect.suspend(() => {
    const before = served
    return within(Effect.sync(() => served > before + 50), "5 seconds")
  })
  const events = Effect.gen(function*() {
    yield* more
    yield* event
    assert.isTrue(yield* more)
    over = true
  })
  yield* Effect.all([
    events,
    ...Array.from({ length: 16 }, () => Effect.repeat(one, { until: () => over }))
  ], { concurrency: "unbounded", discard: true })
  return { failures, served }
})

/** A line of the log, whole. */
const wholeLine = /^time=\S+ level=\w+ msg=("[^"]*"|\w+)( \w+=("[^"]*"|[^\s"]+))* worker=\d+( \w+=("[^"]*"|[^\s"]+))*$/

describe("serve --workers", () => {
  it.live("spreads 2,000 connections over 4 workers within 20 %, and each line of the log is whole", () =>
    Effect.gen(function*() {
      const { proxy, workers } = yield* serve(4)
      const greet = Effect.scoped(
        Effect.gen(function*() {
          const client = yield* connect(proxy.port)
          yield* client.send(G0)
          assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
        })
      )
      // Few at a time: where the supervisor deals them out, a worker that is still busy gets fewer.
      yield* Effect.forEach(Array.from({ length: 2000 }), () => greet, { concurrency: 4, discard: true })
      const ended = () => [...proxy.stderr().matchAll(/msg="connection ended" .* worker=(\d+)\n/g)]
      assert.isTrue(yield* within(Effect.sync(() => ended().length === 2000), "5 seconds"))
      for (const { number } of workers) {
        const share = ended().filter(([, worker]) => Number(worker) === number).length
        assert.isAtLeast(share, 400, `worker ${number}`)
        assert.isAtMost(share, 600, `worker ${number}`)
      }
      assert.strictEqual(yield* proxy.stop, 0)
      for (const line of proxy.stderr().trimEnd().split("\n")) assert.match(line, wholeLine)
    }))

  it.live("names each listener once, with the port that all workers share", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const port = yield* closedPort
      const { proxy } = yield* serve(2, {
        args: ["--listen", `0.0.0.0:${port}`, "--listen", `[::]:${port}`, "--listen", "127.0.0.1:0", "--open-proxy"]
      })
      assert.match(
        proxy.stdout(),
        new RegExp(
          `^listening on socks5://0\\.0\\.0\\.0:${port}\nlistening on socks5://\\[::\\]:${port}\n` +
            "listening on socks5://127\\.0\\.0\\.1:[1-9]\\d*\n$"
        )
      )
      for (const [at, host] of [[port, "127.0.0.1"], [port, "::1"], [proxy.ports[2] ?? 0, "127.0.0.1"]] as const) {
        for (let i = 0; i < 8; i++) {
          const client = yield* connect(at, { host })
          yield* client.send(G0)
          assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
        }
      }
      assert.isTrue(yield* probe(proxy.ports[2] ?? 0, target.port))
    }))

  it.live("a worker that is killed: its connections are cut and counted, others go on, another takes its place", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy, workers } = yield* serve(2)
      const clients = yield* through(proxy, target.port, 20)
      // Workers report ten times a second.
      yield* Effect.sleep("400 millis")
      const victim = workers[0]
      process.kill(victim?.pid ?? 0, "SIGKILL")
      const line = yield* proxy.takeLine(/worker crashed/)
      const alive = yield* Effect.filter(clients, echoes)
      assert.isAbove(alive.length, 0)
      assert.isBelow(alive.length, 20)
      assert.include(line, "level=error")
      assert.include(
        line,
        ` worker=${victim?.number} pid=${victim?.pid} signal=SIGKILL sessions=${20 - alive.length}`
      )
      const successor = yield* listens(proxy)
      assert.strictEqual(successor.number, 3)
      for (let i = 0; i < 20; i++) assert.isTrue(yield* probe(proxy.port, target.port))
      assert.deepStrictEqual(yield* Effect.filter(alive, echoes), alive)
      assert.strictEqual(yield* proxy.stop, 0)
      assert.include(proxy.stderr(), ` worker=${successor.number}\n`)
    }))

  it.live("a worker that is killed lets no client wait, not even one on its way to it", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy, workers } = yield* serve(2)
      const kill = Effect.sync(() => process.kill(workers[1]?.pid ?? 0, "SIGKILL"))
      const { failures } = yield* stream(proxy, target.port, Effect.andThen(kill, listens(proxy)))
      for (const failure of failures) assert.match(failure, /^(?:ECONNRESET|ECLOSED|EPIPE|EEND.*)$/)
    }))

  it.live("SIGTERM to all of them, as a terminal or a service manager does: waits for the connections of each", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy, workers } = yield* serve(2, { env: { SLUICE_DRAIN_TIMEOUT: "30s" } })
      const clients = yield* through(proxy, target.port, 8)
      for (const { pid } of workers) {
        for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.kill(pid, signal)
      }
      yield* proxy.signal("SIGTERM")
      assert.include(yield* proxy.takeLine(/stopping/), "signal=SIGTERM")
      assert.isTrue(yield* within(refusesConnections(proxy.port)))
      assert.deepStrictEqual(yield* Effect.filter(clients, echoes), clients)
      assert.isTrue(workers.every(({ pid }) => isAlive(pid)))
      yield* Effect.forEach(clients, (client) => client.end)
      assert.strictEqual(yield* proxy.exitCode, 0)
      assert.strictEqual(proxy.stderr().match(/connection ended.* reason=done worker=/g)?.length, clients.length)
      assert.strictEqual(proxy.stderr().match(/worker stopped/g)?.length, workers.length)
      assert.match(proxy.stderr(), /msg=stopped worker=0\n$/)
      assert.isTrue(yield* gone(workers))
    }))

  it.live("waits no longer than --drain-timeout", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy } = yield* serve(2, { args: ["--drain-timeout", "100ms"] })
      const clients = yield* through(proxy, target.port, 8)
      assert.strictEqual(yield* proxy.stop, 0)
      assert.strictEqual(proxy.stderr().match(/connection ended/g)?.length, clients.length)
    }))

  it.live("SIGHUP replaces each worker, without refusing a client or touching a connection", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy, workers } = yield* serve(2, { env: { SLUICE_DRAIN_TIMEOUT: "30s" } })
      const long = yield* through(proxy, target.port, 8)
      const restart = Effect.andThen(proxy.signal("SIGHUP"), proxy.takeLine(/msg=restarted/))
      const { failures, served } = yield* stream(proxy, target.port, restart)
      assert.deepStrictEqual(failures, [])
      assert.isAbove(served, 100)
      const successors = yield* Effect.all([listens(proxy), listens(proxy)])
      assert.deepStrictEqual(successors.map(({ number }) => number), [3, 4])

      assert.deepStrictEqual(yield* Effect.filter(long, echoes), long)
      assert.isTrue(successors.every(({ pid }) => isAlive(pid)))
      // Where the system gave one of them no connection, that one is gone already.
      assert.isTrue(workers.some(({ pid }) => isAlive(pid)))
      yield* Effect.forEach(long, (client) => client.end)
      assert.isTrue(yield* gone(workers))
      assert.isTrue(successors.every(({ pid }) => isAlive(pid)))
      assert.notInclude(proxy.stderr(), "crashed")
      assert.strictEqual(yield* proxy.stop, 0)
    }))

  it.live("keeps what runs when another can't start, and what it reads where one has crashed", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempFileScoped()
      const { proxy, workers } = yield* serve(2, { args: ["--users", path] })
      yield* fs.writeFileString(path, "alice\n")
      yield* proxy.signal("SIGHUP")
      const line = yield* proxy.takeLine(/restart given up/)
      assert.include(line, `reason="--users: ${path}:1: `)
      assert.isTrue(workers.every(({ pid }) => isAlive(pid)))

      process.kill(workers[0]?.pid ?? 0, "SIGKILL")
      yield* proxy.takeLine(/worker crashed/)
      assert.strictEqual((yield* listens(proxy)).number, 3)
      for (let i = 0; i < 8; i++) {
        const client = yield* connect(proxy.port)
        yield* client.send(G0)
        assert.deepStrictEqual(yield* client.read(2), hex("05 ff"))
      }
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.live("has a crashed worker's successor know the users of the last users file that could be used", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempFileScoped()
      const origin = yield* echo()
      const { proxy, workers } = yield* serve(2, { args: ["--users", path] })
      yield* fs.writeFileString(path, `ann:${yield* PasswordHash.hash(Redacted.make("sesame"))}\n`)
      yield* Effect.forEach(workers, () => proxy.takeLine(/msg="users file loaded"/))
      // The supervisor looks once a second, and says nothing of it.
      yield* Effect.sleep("2500 millis")
      yield* fs.writeFileString(path, "bob\n")
      yield* proxy.takeLine(/level=error msg="users file not loaded, the users stay as they were" worker=0 reason="/)
      yield* Effect.sleep("1500 millis")
      assert.strictEqual(proxy.stderr().split("users file not loaded").length, 2)
      for (const { pid } of workers) {
        process.kill(pid, "SIGKILL")
        yield* proxy.takeLine(/worker crashed/)
        yield* listens(proxy)
      }
      for (let i = 0; i < 4; i++) yield* connectThrough(proxy.port, origin.port, AU("ann", "sesame"))
      yield* fs.writeFileString(path, "")
      yield* Effect.forEach(workers, () => proxy.takeLine(/users file loaded.* users=0/))
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.live("goes on trying where none can run", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { proxy, workers: [first, second] } = yield* serve(2)
      process.kill(first?.pid ?? 0, "SIGKILL")
      yield* proxy.takeLine(/worker crashed/)
      for (let i = 0; i < 2; i++) {
        const started = () => children(proxy.pid).filter((pid) => pid !== second?.pid && isAlive(pid))
        assert.isTrue(yield* within(Effect.sync(() => started().length > 0), "5 seconds"))
        started().forEach((pid) => process.kill(pid, "SIGKILL"))
        assert.match(
          yield* proxy.takeLine(/worker does not start/),
          /reason="worker \d+ ended by SIGKILL before it listened"/
        )
      }
      for (let i = 0; i < 4; i++) assert.isTrue(yield* probe(proxy.port, origin.port))
      assert.isAbove((yield* listens(proxy)).number, 4)
    }))

  it.live("says in one line why it can't start", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* fs.makeTempFileScoped()
      yield* fs.writeFileString(path, "alice\n")
      const alone = yield* Cli.run(["serve", "--listen", "127.0.0.1:0", "--users", path])
      assert.strictEqual(alone.code, 2)
      assert.deepStrictEqual(
        yield* Cli.run(["serve", "--listen", "127.0.0.1:0", "--users", path, "--workers", "3", "--log-level", "warn"]),
        alone
      )
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.live("says what holds a port, even when that shares it among its own workers", () =>
    Effect.gen(function*() {
      const { proxy } = yield* serve(2)
      const held = [(yield* echo()).port, proxy.port]
      for (const port of held) {
        assert.deepStrictEqual(yield* Cli.run(["serve", "--workers", "2", "--listen", `127.0.0.1:${port}`]), {
          code: 1,
          stdout: "",
          stderr: `sluice: --listen: 127.0.0.1:${port} is in use; stop what holds it or choose another port\n`
        })
      }
    }))

  it.live("a second signal ends it at once, and its workers", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy, workers } = yield* serve(2, { env: { SLUICE_DRAIN_TIMEOUT: "1h" } })
      const clients = yield* through(proxy, target.port, 8)
      yield* proxy.signal("SIGTERM")
      yield* proxy.takeLine(/stopping/)
      yield* proxy.signal("SIGINT")
      assert.strictEqual(yield* proxy.exitCode, 130)
      assert.isTrue(yield* gone(workers))
      assert.deepStrictEqual(yield* Effect.filter(clients, echoes), [])
    }))

  it.live("workers whose supervisor was killed take no more clients, and end with their last connection", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { proxy, workers } = yield* serve(2, { env: { SLUICE_DRAIN_TIMEOUT: "30s" } })
      const clients = yield* through(proxy, target.port, 8)
      yield* proxy.signal("SIGKILL")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(proxy.exitCode)))
      assert.isTrue(yield* within(refusesConnections(proxy.port)))
      assert.deepStrictEqual(yield* Effect.filter(clients, echoes), clients)
      yield* Effect.forEach(clients, (client) => client.end)
      assert.isTrue(yield* gone(workers))
    }))

  it.live("divides --max-connections among them, and sums up whom they turned away", () =>
    Effect.gen(function*() {
      const { proxy } = yield* serve(2, { args: ["--max-connections", "3"] })
      const clients = yield* Effect.forEach(Array.from({ length: 40 }), () => connect(proxy.port))
      const admitted = yield* Effect.filter(clients, (client) =>
        Effect.match(Effect.andThen(client.send(G0), client.read(2)), {
          onFailure: () =>
            false,
          onSuccess: () => true
        }))
      // Two each.
      assert.strictEqual(admitted.length, 4)
      assert.match(yield* proxy.takeLine(/turned/), /2 connections are open; see --max-connections" worker=[12]$/)
      assert.strictEqual(yield* proxy.stop, 0)
      assert.match(proxy.stderr(), /msg=stopped worker=0 refused=36\n$/)
    }))
})
