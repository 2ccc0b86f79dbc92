/**
 * Compares what the proxy costs with what a bare `node:net` pipe costs, in the same run on the same machine. See
 * README.md.
 */
import * as ChildProcess from "node:child_process"
import * as Os from "node:os"
import * as Util from "node:util"
import * as Children from "./Children.ts"
import type * as Load from "./Load.ts"
import * as Loads from "./Loads.ts"
import * as Proc from "./Proc.ts"
import * as Report from "./Report.ts"

const usage = `node bench/dist/run.js [options]
  --runs N              measure everything N times, report medians (default 3)
  --only GROUP,...      of bulk, fair, rate, rr, idle (default these), udp
  --idle N              connections that idle opens, 1 to 9500 (default 4000)
  --proxy NAME=COMMAND  compare this with the baseline instead of the built sluice; it must print
                        "listening on socks5://127.0.0.1:PORT"
  --node PATH           the Node that runs the proxies (default the one that runs this)
  --json                JSON with every sample instead of a table
`

const refuse = (why: string): never => {
  process.stderr.write(`${why}\n\n${usage}`)
  process.exit(2)
}

const whole = (name: string, text: string, highest: number): number => {
  const value = Number(text)
  return Number.isInteger(value) && value >= 1 && value <= highest
    ? value
    : refuse(`--${name} must be a whole number from 1 to ${highest}, not ${text}`)
}

const parse = () => {
  try {
    return Util.parseArgs({
      options: {
        runs: { type: "string", default: "3" },
        only: { type: "string", default: "bulk,fair,rate,rr,idle" },
        idle: { type: "string", default: "4000" },
        proxy: { type: "string" },
        node: { type: "string", default: process.execPath },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false }
      }
    }).values
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error))
  }
}

const quote = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`
const file = (path: string): string => quote(new URL(path, import.meta.url).pathname)

const options = parse()
if (options.help) {
  process.stdout.write(usage)
  process.exit(0)
}
if (!Proc.available()) refuse("this bench reads Linux's /proc/PID/smaps_rollup, which isn't here")

const runs = whole("runs", options.runs, 100)
const groups = options.only.split(",")
const loads = [...Loads.all(whole("idle", options.idle, 9_500)), ...Loads.udp]
  .filter((load) => groups.includes(load.group))
if (groups.some((group) => !loads.some((load) => load.group === group))) refuse(`--only ${options.only}: no such group`)

const node = quote(options.node)
const [, name = "", command = ""] = /^([^=]+)=(.*\S.*)$/s.exec(
  options.proxy ?? `sluice=${node} ${file("../../dist/cli.js")} serve --listen 127.0.0.1:0`
) ??
  refuse("--proxy must be NAME=COMMAND")

const version = ChildProcess.spawnSync(options.node, ["--version"], { encoding: "utf8" }).stdout?.trim() ??
  refuse(`--node ${options.node} does not run`)

// A run takes about 95 s, and 15 s more on a noisy machine; past this something hangs.
const limit = runs * 130
setTimeout(() => {
  process.stderr.write(`gave up after ${limit} s\n`)
  process.exit(1)
}, limit * 1_000).unref()

const prefix = Children.pin(Os.cpus().length)
const target = await Children.startTarget()

/** Cores that others may use in a measured window before it is measured again. */
const noisy = 0.15
/** Seconds that are left for measuring again. */
let spare = runs * 15

/** Each measurement has a proxy of its own, so that none inherits another's heap. */
const once = async (load: Load.Load, who: string, line: string, run: number): Promise<Load.Sample> => {
  const proxy = await Children.startProxy(prefix + line)
  try {
    const sample = await load.run(proxy, target)
    const cost = sample.cost.toFixed(load.digits)
    process.stderr.write(`run ${run}  ${who}  ${load.title}: ${cost}  (others ${sample.others.toFixed(2)} cores)\n`)
    return sample
  } finally {
    await proxy.stop()
  }
}

/** The quieter of two measurements when the first was noisy; no error of the other is forgotten. */
const measure = async (...what: Parameters<typeof once>): Promise<Load.Sample> => {
  const started = performance.now()
  const first = await once(...what)
  const seconds = (performance.now() - started) / 1_000
  if (first.others <= noisy || spare < seconds) return first
  spare -= seconds
  const second = await once(...what)
  const errors = { ...first.errors }
  for (const [error, count] of Object.entries(second.errors)) errors[error] = (errors[error] ?? 0) + count
  return { ...(second.others < first.others ? second : first), errors }
}

const rows = loads.map((load): Report.Row => ({ load, baseline: [], proxy: [] }))
try {
  for (let run = 1; run <= runs; run++) {
    for (const row of rows) {
      for (let sample = 0; sample < row.load.samples; sample++) {
        // One directly after the other, so that the machine's drift hits both.
        if (row.load.alone !== true) {
          row.baseline.push(await measure(row.load, "baseline", `${node} ${file("./baseline.js")}`, run))
        }
        row.proxy.push(await measure(row.load, name, command, run))
      }
    }
  }
  const print = options.json ? Report.json : Report.markdown
  process.stdout.write(print(rows, name, version, prefix !== ""))
  process.exitCode = Report.errors(rows, name).length > 0 ? 1 : 0
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
process.exit()
