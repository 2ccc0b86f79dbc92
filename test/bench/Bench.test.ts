import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as Result from "effect/Result"
import * as ChildProcess from "node:child_process"
import * as Bench from "../../src/bench/Bench.ts"
import * as Failure from "../../src/bench/Failure.ts"
import type { Plan } from "../../src/bench/Plan.ts"
import * as ProxyUrl from "../../src/bench/ProxyUrl.ts"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { httpProxy } from "../support/HttpProxy.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { echo, silent, target } from "../support/Targets.ts"

/** Runs a short plan to its end. */
const run = (url: string, plan: Partial<Plan> = {}, until: Effect.Effect<unknown> = Effect.never) =>
  Bench.run({
    proxy: Result.getOrThrow(ProxyUrl.parse(url)),
    mode: "rate",
    connections: 8,
    duration: 300,
    warmUp: 0,
    timeout: 5_000,
    ...plan
  }, { until, show: () => Effect.void, note: () => Effect.void })

const fails = (url: string, plan: Partial<Plan> = {}, until?: Effect.Effect<unknown>) =>
  Effect.map(Effect.flip(run(url, plan, until)), ({ fault, message }) => `${fault}: ${message}`)

const at = ({ port }: { readonly port: number }) => Host.hostPortFromStringUnsafe(`127.0.0.1:${port}`)

/** A port that no test can be given. */
const nobody = "socks5://127.0.0.1:1"

describe("Bench", () => {
  it.live("measures visits, and the price of each", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const report = yield* run(`socks5://127.0.0.1:${port}`, { pid: process.pid, warmUp: 100 })
      assert.deepStrictEqual(report.errors, {})
      assert.isAbove(report.work, 0)
      assert.isAtLeast(report.opened, report.work)
      assert.isTrue(yield* within(Effect.sync(() => records.length >= report.work)))
      assert.isAbove(report.cost?.cpuPerUnit ?? 0, 0)
      assert.isAbove(report.cost?.pssPeakKiB ?? 0, 1_024)
      assert.deepStrictEqual(report.latency.map(({ name }) => name), ["setup", "echo"])
      assert.isTrue(report.latency.every(({ count }) => count >= report.work))
      assert.deepInclude(report, { contentsChecked: true, endedEarly: false, connections: 8 })
    }))

  it.live("measures round trips", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const report = yield* run(`socks5://127.0.0.1:${port}`, { mode: "round-trip", generators: 2 })
      assert.deepInclude(report, { errors: {}, opened: 8, mode: "round-trip" })
      assert.isAbove(report.work, 8)
      assert.strictEqual(report.generators.processes, 2)
    }))

  it.live("keeps to a rate, over connections in turn", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const report = yield* run(`socks5://127.0.0.1:${port}`, { mode: "round-trip", rate: 100, duration: 500 })
      assert.deepInclude(report, { errors: {}, opened: 8, askedPerSecond: 100 })
      assert.isAbove(report.work, 0)
      // A tick before and one after the window may fall into it.
      assert.isAtMost(report.work, 100 * report.seconds + 2)
    }))

  it.live("measures downloads, each byte compared", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const report = yield* run(`socks5://127.0.0.1:${port}`, { mode: "bulk", connections: 3 })
      assert.deepInclude(report, { errors: {}, opened: 3, contentsChecked: true })
      assert.isAbove(report.work, 1e6)
      assert.isAbove(report.timeline.at(-1)?.bytes ?? 0, 1e6)
    }))

  it.live("holds idle connections, and misses none in the end", () =>
    Effect.gen(function*() {
      const { port, sessions } = yield* proxy()
      const url = `socks5://127.0.0.1:${port}`
      const report = yield* run(url, { mode: "idle", connections: 300, pid: process.pid, warmUp: 100 })
      assert.deepInclude(report, { errors: {}, opened: 300, work: 300 })
      assert.strictEqual(report.timeline.at(-1)?.open, 300)
      // One when it was opened, one at the end.
      assert.strictEqual(report.latency.find(({ name }) => name === "echo")?.count, 600)
      assert.isNumber(report.cost?.pssPerConnectionKiB)
      assert.isAtMost(yield* sessions.count, 300)
    }))

  it.live("goes through HTTP proxies by CONNECT, with a login", () =>
    Effect.gen(function*() {
      const { port } = yield* httpProxy({ authorization: `Basic ${btoa("ann:pw")}` })
      const report = yield* run(`http://ann:pw@127.0.0.1:${port}`, { mode: "round-trip", connections: 4 })
      assert.deepInclude(report, { errors: {}, opened: 4, proxy: `http://ann@127.0.0.1:${port}` })
      assert.isAbove(report.work, 0)
      for (const [login, complaint] of [["", "asks for a login"], ["ann:no@", "refuses the user name and password"]]) {
        assert.include(yield* fails(`http://${login}127.0.0.1:${port}`), `127.0.0.1:${port}: ${complaint}`)
      }
    }))

  // The first connection is the one that finds out whether there is any sense in going on.
  it.live.each<readonly [mode: Plan["mode"], behaviour: "flip" | "cut" | "refuse" | "stall", kind: string]>([
    ["rate", "flip", Failure.wrongBytes],
    ["round-trip", "flip", Failure.wrongBytes],
    ["bulk", "flip", Failure.wrongBytes],
    ["idle", "flip", Failure.wrongBytes],
    ["rate", "cut", Failure.closedEarly],
    ["round-trip", "refuse", "status 503"],
    ["round-trip", "stall", Failure.timeout]
  ])("counts what goes wrong: %s, %s", ([mode, behaviour, kind]) =>
    Effect.gen(function*() {
      const { port } = yield* httpProxy({ behave: (number) => number === 0 ? "relay" : behaviour })
      const timeout = behaviour === "stall" ? 500 : 5_000
      const report = yield* run(`http://127.0.0.1:${port}`, { mode, connections: 3, timeout })
      assert.deepStrictEqual(Object.keys(report.errors), [kind])
      assert.isAtLeast(report.errors[kind] ?? 0, 3)
      assert.strictEqual(report.work, 0)
    }))

  it.live("counts what is unanswered at the end, and the time that it waited", () =>
    Effect.gen(function*() {
      const runs = (["rate", "round-trip", "bulk"] as const).map(Effect.fnUntraced(function*(mode) {
        const { port } = yield* httpProxy({ behave: (number) => number === 0 ? "relay" : "stall" })
        // A download counts as silent after a second.
        const { errors, latency, work } = yield* run(`http://127.0.0.1:${port}`, {
          mode,
          connections: 3,
          duration: 1_200,
          timeout: 9_000
        })
        assert.deepStrictEqual([errors, work], [{ [Failure.unanswered]: 3 }, 0], mode)
        const times = latency.find(({ name }) => name !== "setup")
        assert.strictEqual(times?.count, 3)
        assert.isAbove(Math.min(...times?.percentiles.map(({ ms }) => ms) ?? [0]), 1_000)
      }))
      yield* Effect.all(runs, { concurrency: "unbounded" })
    }))

  it.live("counts all idle connections that are unanswered at the end, not only those that are asked first", () =>
    Effect.gen(function*() {
      let echoed = 0
      // One of them is the first, which tries the way.
      const held = 201
      const echo = yield* target((socket) => {
        socket.on("data", (chunk) => {
          if (echoed++ < held) socket.write(chunk)
        })
      })
      const { port } = yield* proxy()
      const until = Effect.andThen(Effect.repeat(Effect.sleep(20), { until: () => echoed >= held }), Effect.sleep(200))
      const options: Partial<Plan> = {
        mode: "idle",
        connections: 200,
        target: at(echo),
        timeout: 1_000,
        duration: 60_000
      }
      const report = yield* run(`socks5://127.0.0.1:${port}`, options, until)
      assert.deepInclude(report, { opened: 200, work: 200 })
      assert.strictEqual(Failure.total(report.errors), 200)
      assert.isAbove(report.errors[Failure.timeout] ?? 0, 100)
    }))

  it.live("counts SOCKS replies by their code", () =>
    Effect.gen(function*() {
      let asked = 0
      const services = Layer.succeed(AccessPolicy, {
        authorize: () => asked++ === 0 ? AccessPolicy.permit : Effect.fail(new AccessDenied({ rule: "once" })),
        authorizeAddress: () => AccessPolicy.permit
      })
      const { port } = yield* proxy({ services })
      const report = yield* run(`socks5://127.0.0.1:${port}`, { mode: "idle", connections: 5 })
      assert.deepInclude(report, { errors: { "reply 02": 5 }, opened: 0, work: 0 })
    }))

  it.live("gives a proxy up that refuses a hundred connections in a row", () =>
    Effect.gen(function*() {
      const { port } = yield* httpProxy({ behave: (number) => number === 0 ? "relay" : "refuse" })
      const report = yield* run(`http://127.0.0.1:${port}`, { mode: "idle", connections: 2_000 })
      assert.isAtLeast(report.errors["status 503"] ?? 0, 100)
      assert.isBelow(report.errors["status 503"] ?? 0, 300)
    }))

  it.live("ends early when it is told to, with what it has", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const some = Effect.repeat(Effect.sleep(20), { until: () => records.length > 20 })
      const report = yield* run(`socks5://127.0.0.1:${port}`, { duration: 60_000 }, some)
      assert.deepInclude(report, { errors: {}, endedEarly: true })
      assert.isAbove(report.work, 0)
      assert.isBelow(report.seconds, 30)
    }))

  it.live("has nothing to report when it is ended before it measures", () =>
    Effect.gen(function*() {
      const nothing = "run: ended before anything was measured"
      const modes = (["rate", "round-trip", "bulk", "idle"] as const).map(Effect.fnUntraced(function*(mode) {
        const { port, records } = yield* proxy()
        // The first is the one that tries the way.
        const warmingUp = Effect.repeat(Effect.sleep(20), { until: () => records.length > 1 })
        const until = mode === "round-trip" || mode === "bulk" ? Effect.sleep(1_500) : warmingUp
        assert.strictEqual(yield* fails(`socks5://127.0.0.1:${port}`, { mode, warmUp: 60_000 }, until), nothing)
      }))
      yield* Effect.all(modes, { concurrency: "unbounded" })
      // A signal to all processes of the run ends some of them before this one hears of it.
      assert.strictEqual(yield* fails(nobody, {}, Effect.void), nothing)
    }))

  it.live("knows no price of a process that ends before the run does", () =>
    Effect.gen(function*() {
      const { port, records } = yield* proxy()
      const sleeper = yield* Effect.acquireRelease(
        Effect.sync(() => ChildProcess.spawn("sleep", ["60"], { stdio: "ignore" })),
        (sleeper) => Effect.sync(() => sleeper.kill("SIGKILL"))
      )
      const some = Effect.repeat(Effect.sleep(20), { until: () => records.length > 100 })
      const until = Effect.andThen(some, Effect.sync(() => sleeper.kill("SIGKILL")))
      const plan = { duration: 60_000, pid: sleeper.pid ?? 0 }
      const report = yield* run(`socks5://127.0.0.1:${port}`, plan, Effect.andThen(until, Effect.sleep(200)))
      assert.isAbove(report.work, 0)
      const { pssBeforeKiB: _, pssPeakKiB: __, ...cost } = report.cost ?? {}
      assert.deepStrictEqual(cost, { pid: plan.pid, processes: 0 })
    }))

  it.live("takes 0.0.0.0 for this machine", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const report = yield* run(`socks5://0.0.0.0:${port}`)
      assert.deepInclude(report, { errors: {}, proxy: `socks5://0.0.0.0:${port}` })
      assert.isAbove(report.work, 0)
    }))

  it.live("takes an operator's target: an echo, or a source of anything", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const url = `socks5://127.0.0.1:${port}`
      const echoing = yield* run(url, { target: at(yield* echo()) })
      assert.deepInclude(echoing, { errors: {}, contentsChecked: true })
      assert.isAbove(echoing.work, 0)
      const chargen = yield* target((socket) => {
        const send = (): void => {
          while (!socket.destroyed && socket.write("0123456789".repeat(1_000)));
        }
        socket.on("drain", send)
        send()
      })
      const loaded = yield* run(url, { mode: "bulk", target: at(chargen) })
      assert.deepInclude(loaded, { errors: {}, contentsChecked: false })
      assert.isAbove(loaded.work, 0)
      const mute = at(yield* silent)
      const complaint = `run: --target: ${Host.formatHostPort(mute)} does not echo (timeout); ` +
        "--mode rate needs an echo service, port 7 by RFC 862"
      assert.strictEqual(yield* fails(url, { target: mute, timeout: 200 }), complaint)
      const none = at({ port: 1 })
      assert.strictEqual(
        yield* fails(url, { target: none }),
        `run: ${url}: reply 05 (connection refused) for ${Host.formatHostPort(none)}`
      )
    }))

  it.live("says in one line why it can't begin", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const url = `socks5://127.0.0.1:${port}`
      assert.strictEqual(
        yield* fails(nobody),
        `run: ${nobody}: connection refused; is the proxy running?`
      )
      assert.include(
        yield* fails("socks5://ann:S3cr3t@192.0.2.1:9"),
        "input: socks5://ann@192.0.2.1:9: is another machine"
      )
      assert.include(yield* fails("socks5://no-such-host.invalid:9"), "the host's name has no address")
      assert.include(yield* fails(url, { pid: 999_999_999 }), "input: --pid: no process 999999999")
      assert.include(yield* fails(url, { connections: 999_999_999 }), "input: --connections: 999999999 need ")
      const { port: ssh } = yield* target((socket) => void socket.write("SSH-2.0-OpenSSH_9.2\r\n"))
      assert.strictEqual(
        yield* fails(`http://127.0.0.1:${ssh}`, { timeout: 200 }),
        `run: http://127.0.0.1:${ssh}: does not answer as an HTTP proxy, but with "SSH-2.0-OpenSSH_9.2"`
      )
      const { port: http } = yield* httpProxy()
      assert.strictEqual(
        yield* fails(`socks5://127.0.0.1:${http}`, { timeout: 200 }),
        `run: socks5://127.0.0.1:${http}: no answer within the --timeout`
      )
    }))
})
