/**
 * The C10K laboratory: the same load on every way to serve it. See docs/c10k.md.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Url from "node:url"
import * as Children from "../Children.ts"
import type { Load } from "../Load.ts"
import * as Loads from "../Loads.ts"
import * as Proc from "../Proc.ts"
import * as Build from "./Build.ts"
import * as Contenders from "./Contenders.ts"
import * as Ladder from "./Ladder.ts"
import * as Options from "./Options.ts"
import * as Page from "./Page.ts"
import * as Peers from "./Peers.ts"
import * as Results from "./Results.ts"
import * as Tables from "./Tables.ts"

const say = (line: string): void => void process.stderr.write(`${line}\n`)

const refuse = (why: string): never => {
  say(`${why}\n\n${Options.usage}`)
  process.exit(2)
}

const parse = (): Options.Options => {
  try {
    return Options.parse(process.argv.slice(2))
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error))
  }
}

const options = parse()
if (options.help) {
  process.stdout.write(Options.usage)
  process.exit(0)
}

// This file runs as bench/dist/c10k/run.js.
const out = Path.dirname(Url.fileURLToPath(import.meta.url))
const root = Path.resolve(out, "../../..")
const saved = Path.join(root, "docs/c10k.json")
if (options.render) {
  await Page.render(root, Results.read(saved))
  process.exit(0)
}
const obstacle = options.json === undefined ? undefined : Results.obstacle(options.json)
if (obstacle !== undefined) {
  say(`--json: ${options.json} ${obstacle}`)
  process.exit(2)
}
if (!Proc.available()) refuse("this laboratory reads Linux's /proc/PID/smaps_rollup, which isn't here")

const sources = Path.join(root, "bench/c10k")
const scratch = Fs.mkdtempSync(Path.join(Os.tmpdir(), "c10k-"))
process.once("exit", () => Fs.rmSync(scratch, { recursive: true, force: true }))
const sluice = Path.join(root, "dist/cli.js")
const { absent, present } = Contenders.find({ sources, out, sluice, scratch, hev: options.hev })
if (options.list) {
  for (const { name } of present) process.stdout.write(`${name}\n`)
  for (const { name, why } of absent) process.stdout.write(`${name}: skipped, ${why}\n`)
  process.exit(0)
}
const known = new Set([...present, ...absent].map(({ name }) => name))
const unknown = options.only?.filter((name) => !known.has(name)) ?? []
if (unknown.length > 0) refuse(`--only: no contender is called ${unknown.join(", ")}`)
const wanted = ({ name }: { readonly name: string }): boolean => options.only?.includes(name) ?? true
const skipped = absent.filter(wanted)
for (const { name, why } of skipped) say(`${name}: skipped, ${why}`)
if (!options.peers && !options.udp && !Build.hasGcc()) {
  say("the ladder's load is written in C: install the Debian packages gcc and libc6-dev, or measure the --peers")
  process.exit(2)
}

const pin = Children.pin(Os.cpus().length)
const words = process.argv.slice(2).filter((word) => word !== "--write")
const command = ["npm run bench:c10k", ...(words.length > 0 ? ["--", ...words] : [])].join(" ")
const run = { machine: Results.machine(), command, absent: skipped }

const ladder = async (): Promise<Results.Ladder> => {
  const load = Build.load(sources, out)
  const climbs = new Array<Results.Climb>()
  for (const contender of present.filter(wanted)) {
    climbs.push(await Ladder.climb(contender, load, pin, options.quick ? Ladder.quick : Ladder.full, say))
  }
  return { ...run, climbs }
}

const compare = async (
  loads: ReadonlyArray<Load>,
  among: (contender: Contenders.Contender) => boolean
): Promise<Results.Peers> => {
  const all = present.filter((contender) => among(contender) && wanted(contender))
  const rows = await Peers.measure(loads, all, pin, options.quick ? 1 : options.runs, say)
  return { ...run, runs: options.quick ? 1 : options.runs, names: all.map(({ name }) => name), rows }
}

/** Sluice must hold what it was asked for with as many workers as that takes; of the others we only report. */
const lost = (results: Results.Ladder): boolean =>
  results.climbs.some(({ levels, limit, name, failed }) =>
    name.startsWith("sluice") &&
    (failed !== undefined || levels.some((level) => level.echoed < level.open) ||
      (name === "sluice-2" && limit !== undefined))
  )

try {
  const results: Results.Results = options.peers
    ? { peers: await compare(Peers.loads(), ({ peer }) => peer) }
    : options.udp
    ? { udp: await compare(Loads.udp, ({ udp }) => udp) }
    : { ladder: await ladder() }
  if (results.ladder !== undefined) {
    process.stdout.write(`${Tables.ladder(results.ladder)}\n${Tables.workers(results.ladder)}`)
    if (lost(results.ladder)) process.exitCode = 1
  }
  if (results.peers !== undefined) process.stdout.write(Tables.peers(results.peers))
  if (results.udp !== undefined) process.stdout.write(Tables.peers(results.udp))
  if (options.json !== undefined) Results.write(options.json, results)
  if (options.write) {
    Results.write(saved, results)
    await Page.render(root, Results.read(saved))
  }
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
process.exit()
