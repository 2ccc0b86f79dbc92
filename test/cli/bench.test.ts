import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { Report } from "../../src/bench/Report.ts"
import { run as runLine } from "../../src/cli/main.ts"
import * as Cli from "../support/Cli.ts"
import * as Html from "../support/Html.ts"
import { httpProxy } from "../support/HttpProxy.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { proxy } from "../support/Proxy.ts"

const short = ["--duration", "300ms", "--warm-up", "0", "--connections", "8"]

const bench = (...args: ReadonlyArray<string>) => Cli.run(["bench", ...args, ...short])

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Report))

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-bench-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

/** The processes that a process has started and that still run. */
const childrenOf = (pid: number): ReadonlyArray<number> =>
  Fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter((word) => word !== "").map(Number)

const runs = (pid: number): boolean => Fs.existsSync(`/proc/${pid}/stat`)

/** A bench that goes on for long, once it has moved something. */
const longBench = Effect.gen(function*() {
  const { port, records } = yield* proxy()
  const args = [Cli.path, "bench", `socks5://127.0.0.1:${port}`, "--duration", "1m", "--warm-up", "0"]
  const handle = yield* ChildProcess.make(process.execPath, args, { ...Program.environment(), stdin: "ignore" })
  assert.isTrue(yield* within(Effect.sync(() => records.length > 100), "10 seconds"))
  return handle
}).pipe(Effect.provide(NodeServices.layer))

describe("sluice bench", () => {
  it.live("prints a table of what a running sluice takes, and what it costs", () =>
    Effect.gen(function*() {
      const { pid, port } = yield* Cli.serve()
      for (const mode of ["rate", "idle"]) {
        const ended = yield* bench(`socks5://127.0.0.1:${port}`, "--mode", mode, "--pid", `${pid}`)
        assert.deepStrictEqual([ended.code, ended.stderr], [0, ""])
        assert.match(ended.stdout, new RegExp(`^load +${mode}: `, "m"))
        assert.match(ended.stdout, /^errors +none$/m)
        assert.match(ended.stdout, new RegExp(`^CPU .* a [^ ]+.* \\(PID ${pid}, 1 process\\)$`, "m"))
        assert.match(ended.stdout, /^memory +[\d.]+ MiB before/m)
        assert.match(ended.stdout, /^milliseconds +count +mean +p50 +p90 +p99 +p99.9 +max\nsetup +\d+ /m)
      }
    }))

  it.live("prints JSON, and writes a page beside it", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const file = Path.join(yield* folder, "report.html")
      const args = ["--json", "--html", file, "--mode", "round-trip", "--rate", "500"]
      const ended = yield* bench(`socks5://127.0.0.1:${port}`, ...args)
      assert.deepStrictEqual([ended.code, ended.stderr], [0, ""])
      const report = yield* decode(ended.stdout)
      assert.deepInclude(report, { mode: "round-trip", opened: 8, askedPerSecond: 500, errors: {} })
      assert.isAbove(report.timeline.length, 1)
      const page = Fs.readFileSync(file, "utf8")
      assert.deepStrictEqual(Html.problems(page), [])
      assert.include(page, `socks5://127.0.0.1:${port}`)
    }))

  it.live("takes the password from the environment, and shows it nowhere", () =>
    Effect.gen(function*() {
      const { port } = yield* Cli.serve({ env: { SLUICE_USER: "ann:S3cr3t" } })
      const right = ["bench", `socks5://ann@127.0.0.1:${port}`, "--json", ...short]
      const ended = yield* Cli.run(right, { env: { SLUICE_BENCH_PASSWORD: "S3cr3t" } })
      assert.deepStrictEqual([ended.code, ended.stderr], [0, ""])
      assert.strictEqual((yield* decode(ended.stdout)).proxy, `socks5://ann@127.0.0.1:${port}`)
      assert.notInclude(ended.stdout, "S3cr3t")
      assert.deepStrictEqual(yield* bench(`socks5://ann:wrong@127.0.0.1:${port}`), {
        code: 1,
        stdout: "",
        stderr: `sluice: socks5://ann@127.0.0.1:${port}: refuses the user name and password\n`
      })
    }))

  it.live("counts errors by kind in the table, and ends with 1 and a line", () =>
    Effect.gen(function*() {
      const { port } = yield* httpProxy({ behave: (number) => number === 0 ? "relay" : "flip" })
      const ended = yield* bench(`http://127.0.0.1:${port}`, "--mode", "round-trip")
      assert.strictEqual(ended.code, 1)
      assert.match(ended.stdout, /^errors +8 wrong bytes$/m)
      assert.strictEqual(ended.stderr, "sluice: 8 errors: 8 wrong bytes\n")
    }))

  it.live("says in one line that nobody is there", () =>
    Effect.gen(function*() {
      // No test can be given this port.
      assert.deepStrictEqual(yield* bench("socks5://127.0.0.1:1"), {
        code: 1,
        stdout: "",
        stderr: "sluice: socks5://127.0.0.1:1: connection refused; is the proxy running?\n"
      })
    }))

  it.live("makes do with few descriptors in more processes, or says what it needs", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const command = `bench socks5://127.0.0.1:${port} --mode idle --duration 100ms --warm-up 0 --json --connections`
      const limited = (connections: number) =>
        Program.run("sh", ["-c", `ulimit -n 164; exec ${process.execPath} ${Cli.path} ${command} ${connections}`])
      const ended = yield* limited(250)
      assert.deepStrictEqual([ended.code, ended.stderr], [0, ""])
      const report = yield* decode(ended.stdout)
      assert.deepInclude(report, { opened: 250, work: 250 })
      assert.strictEqual(report.generators.processes, 3)
      assert.deepStrictEqual(yield* limited(5_000), {
        code: 2,
        stdout: "",
        stderr:
          "sluice: --connections: 5000 need 50 generator processes, and as many targets, under an open-files limit " +
          "of 164, but 32 are the most; give --connections 3200 or fewer, or raise the limit (ulimit -n 221)\n"
      })
    }))

  it.live("ends early at SIGINT, with the table so far", () =>
    Effect.gen(function*() {
      const handle = yield* longBench
      process.kill(handle.pid, "SIGINT")
      const stdout = yield* Stream.mkString(Stream.decodeText(handle.stdout))
      assert.match(stdout, /^work +[\d,]+ connections in .*, ended early$/m)
      assert.strictEqual(Number(yield* handle.exitCode), 0)
    }))

  it.live("ends early with the table when SIGTERM goes to all of its processes", () =>
    Effect.gen(function*() {
      const handle = yield* longBench
      for (const child of childrenOf(handle.pid)) process.kill(child, "SIGTERM")
      process.kill(handle.pid, "SIGTERM")
      const stdout = yield* Stream.mkString(Stream.decodeText(handle.stdout))
      assert.match(stdout, /^work +[\d,]+ connections in .*, ended early$/m)
      assert.strictEqual(Number(yield* handle.exitCode), 0)
    }))

  it.live("says that a report is lost which can't be written, and writes the page even so", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const file = Path.join(yield* folder, "report.html")
      const args = ["bench", `socks5://127.0.0.1:${port}`, ...short, "--html", file].join(" ")
      const full = yield* Program.run("sh", ["-c", `exec ${process.execPath} ${Cli.path} ${args} > /dev/full`])
      assert.deepStrictEqual(full, {
        code: 1,
        stdout: "",
        stderr: "sluice: stdout: the report can't be written (ENOSPC)\n"
      })
      assert.deepStrictEqual(Html.problems(Fs.readFileSync(file, "utf8")), [])
    }))

  it.live("leaves no page behind when there is nothing to put into it", () =>
    Effect.gen(function*() {
      const file = Path.join(yield* folder, "report.html")
      assert.strictEqual((yield* bench("socks5://127.0.0.1:1", "--html", file)).code, 1)
      assert.isFalse(Fs.existsSync(file))
    }))

  it.live("leaves no process behind when it is killed", () =>
    Effect.gen(function*() {
      const handle = yield* longBench
      const children = childrenOf(handle.pid)
      assert.isAtLeast(children.length, 2)
      process.kill(handle.pid, "SIGKILL")
      assert.isTrue(yield* within(Effect.sync(() => !children.some(runs)), "5 seconds"))
    }))

  it.live("shows on a terminal how far it is, and wipes that away", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy()
      const command = `exec ${process.execPath} ${Cli.path} bench socks5://127.0.0.1:${port} ${short.join(" ")}`
      const ended = yield* Program.run("script", ["-qefc", command, "/dev/null"])
      assert.strictEqual(ended.code, 0)
      // oxlint-disable-next-line no-control-regex
      assert.match(ended.stdout, /\r\u001b\[2Kmeasuring \d+ s · \d+ open · .* · no errors\r\u001b\[2K/)
      // oxlint-disable-next-line no-control-regex
      assert.match(ended.stdout, /\u001b\[2Kproxy {7}socks5:/)
    }))

  it.live.each<readonly [args: string, complaint: string]>([
    ["", "URL: is missing; see sluice bench --help"],
    [
      "127.0.0.1:1080",
      "URL: not the URL of a proxy; give socks5://HOST:PORT or http://HOST:PORT, with USER:PASSWORD@ before the host " +
      "if the proxy asks for them"
    ],
    ["socks5://h --mode fast", "--mode: \"fast\" is not one of rate, bulk, round-trip, idle"],
    ["socks5://h --connections 0", "--connections: \"0\" is not a whole number from 1 to 999999999"],
    ["socks5://h --connections 1e3", "--connections: \"1e3\" is not a whole number from 1 to 999999999"],
    ["socks5://h --duration 0", "--duration: \"0\" is no time at all; give 1ms or more"],
    ["socks5://h --warm-up soon", "--warm-up: \"soon\" is not a duration, such as 500ms, 10s, 1h30m or 0"],
    ["socks5://h --timeout -1", "--timeout: \"-1\" is not a duration, such as 500ms, 10s, 1h30m"],
    ["socks5://h --rate x", "--rate: \"x\" is not a whole number from 1 to 999999999"],
    ["socks5://h --rate 5 --mode bulk", "--rate: --mode bulk has none; leave it out, or choose rate or round-trip"],
    ["socks5://h --target echo", "--target: \"echo\" is not HOST:PORT, such as 192.0.2.1:7 or [2001:db8::1]:7"],
    ["socks5://h --pid self", "--pid: \"self\" is not a whole number from 1 to 999999999"],
    ["socks5://h --generators 0", "--generators: \"0\" is not a whole number from 1 to 999999999"],
    [
      "socks5://h --html /nonexistent/page.html",
      "--html: \"/nonexistent/page.html\" is in no directory that can be written to; choose another"
    ],
    ["socks5://h --html /tmp", "--html: \"/tmp\" is a directory; give a file in it"],
    ["socks5://h --html=", "--html: is empty; give a file"],
    [
      "socks5://h --html /dev/null/page.html",
      "--html: \"/dev/null/page.html\" is in no directory that can be written to; choose another"
    ],
    ["socks5://:pw@h", "URL: a password, but no user name; write USER:PASSWORD@ before the host"],
    ["socks5://h --htlm x", "--htlm: no such flag; did you mean --html? see sluice bench --help"]
  ])("refuses %j", ([args, complaint]) =>
    Effect.gen(function*() {
      const ended = yield* runLine(["bench", ...args.split(" ").filter((word) => word !== "")])
      assert.deepStrictEqual(ended, { code: 2, complaint })
    }))
})
