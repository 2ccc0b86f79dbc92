/**
 * What a decision of the rules costs, and what a long list of names does: `npm run bench:policy`. All in this process,
 * on made up rules and names, which are the same each time.
 */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { AccessRequest } from "../src/policy/AccessPolicy.ts"
import * as AddressWords from "../src/policy/AddressWords.ts"
import { List } from "../src/policy/List.ts"
import * as ListFile from "../src/policy/ListFile.ts"
import { NetworkSet } from "../src/policy/NetworkSet.ts"
import type { Rule } from "../src/policy/Rule.ts"
import * as RuleEngine from "../src/policy/RuleEngine.ts"
import * as Rules from "../src/policy/Rules.ts"
import type { PortRange } from "../src/transport/PortRange.ts"

const rounds = 5

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

/** Chance that is the same each time (xorshift): whole numbers from 0 to `limit` - 1. */
const makeDice = () => {
  let state = 2463534242
  return (limit: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
}

const dice = makeDice()

/** Microseconds that each of some questions takes, the median of some rounds after one to warm up. */
const timed = <A>(questions: ReadonlyArray<A>, ask: (question: A) => boolean): number => {
  const times: Array<number> = []
  let yes = 0
  for (let round = 0; round <= rounds; round++) {
    const started = performance.now()
    for (const question of questions) yes += Number(ask(question))
    if (round > 0) times.push((performance.now() - started) * 1000 / questions.length)
  }
  // What nobody looks at may be left out by the compiler.
  if (yes < 0) throw new Error("less than none")
  return median(times)
}

const report = (what: string, figure: string, target: string): void => {
  process.stdout.write(`${what.padEnd(58)} ${figure.padStart(10)}   ${target}\n`)
}

const questions = 200_000

const ipv4 = (): NetAddress.IpAddress =>
  NetAddress.ipv4FromBytesUnsafe(Uint8Array.from([11 + dice(89), dice(256), dice(256), dice(256)]))

const network = (): IpNetwork.IpNetwork => IpNetwork.fromAddressUnsafe(ipv4(), 12 + dice(17))

const client = NetAddress.inetAddressFromStringUnsafe("198.51.100.7:40000")

const requestFor = (destination: string): AccessRequest => ({
  client,
  user: "ann",
  groups: ["staff"],
  listener: "127.0.0.1:1080",
  protocol: "socks5",
  command: "connect",
  destination: Host.hostPortFromStringUnsafe(destination)
})

const port = (index: number): PortRange => ({ from: 1000 + index, to: 1000 + index })

const byAddress = (rules: ReadonlyArray<Rule>): RuleEngine.RuleEngine => RuleEngine.compile(rules, "allow")

/** A thousand rules that name a network each, in several shapes. */
const benchNetworks = (): void => {
  const request = requestFor("site.example:443")
  const now = Date.now()
  const asked = Array.from({ length: questions }, ipv4)
  const decides = (engine: RuleEngine.RuleEngine) => (address: NetAddress.IpAddress | undefined) =>
    engine.decide(request, address, now).action === "allow"

  const networks = Array.from({ length: 1000 }, network)
  const engine = byAddress(networks.map((to) => ({ conditions: { to: [to] }, action: "deny" })))
  report("1,000 CIDR rules, an address", `${timed(asked, decides(engine)).toFixed(2)} µs`, "< 5 µs")
  const name = asked.map((): undefined => undefined)
  report("1,000 CIDR rules, a name before it is looked up", `${timed(name, decides(engine)).toFixed(2)} µs`, "< 5 µs")

  const mixed = byAddress(networks.map((to, index) => ({
    conditions: {
      to: [to, { _tag: "Domain", kind: "suffix", text: `s${index}.example` }],
      users: [`user${index % 50}`, "ann"]
    },
    action: "deny"
  })))
  report(
    "1,000 rules of users, suffixes and CIDR, an address",
    `${timed(asked, decides(mixed)).toFixed(2)} µs`,
    "< 5 µs"
  )

  const listOf = (index: number): List => List.make(`l${index}`, [network(), network(), network()])
  const elsewhere = IpNetwork.fromStringUnsafe("203.0.113.0/24")
  const all = IpNetwork.fromStringUnsafe("0.0.0.0/0")
  const shapes: ReadonlyArray<readonly [what: string, ruleOf: (index: number) => Omit<Rule, "action">]> = [
    ["lists of CIDR, an address", (index) => ({ conditions: { to: [listOf(index)] } })],
    ["clients in lists", (index) => ({ conditions: { clients: [List.make(`l${index}`, [elsewhere, network()])] } })],
    ["a network excepted", () => ({ conditions: {}, not: { to: [all, network()] } })],
    ["one network, and a port each", (index) => ({ conditions: { to: [all], ports: [port(index)] } })]
  ]
  for (const [what, ruleOf] of shapes) {
    const shaped = byAddress(networks.map((_, index) => ({ ...ruleOf(index), action: "deny" })))
    report(`1,000 rules of ${what}`, `${timed(asked, decides(shaped)).toFixed(2)} µs`, "< 5 µs")
  }
  const globs = byAddress(networks.map((_, index) => ({
    conditions: { to: [{ _tag: "Domain", kind: "glob", text: `*.ads${index}.*` }] },
    action: "deny"
  })))
  report("1,000 rules of a glob each, a name", `${timed(name, decides(globs)).toFixed(2)} µs`, "< 5 µs")

  const policy = Effect.runSync(Effect.scoped(Rules.make(engine, { ownAddresses: Effect.succeed([]) }))).policy
  const authorized = (address: NetAddress.IpAddress) =>
    Effect.runSync(Effect.exit(policy.authorizeAddress(request, address)))._tag === "Success"
  report("1,000 CIDR rules and internal networks, as an effect", `${timed(asked, authorized).toFixed(2)} µs`, "< 5 µs")

  const set = NetworkSet.of(Array.from({ length: 100_000 }, network))
  const words = asked.map(AddressWords.fromIp)
  report("a list of 100,000 networks, an address", `${timed(words, (address) => set.has(address)).toFixed(2)} µs`, "")
}

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** Bytes that are held, on the heap and beside it. */
const held = (): number => {
  collect()
  collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const syllables = ["ad", "ser", "track", "met", "ri", "pix", "el", "cdn", "stat", "bea", "con", "tag", "click", "pop"]
const ends = ["com", "net", "example", "co.uk", "de", "info"]

const count = 1_000_000

/** The names, made anew: whoever keeps them can't tell what a list of them takes. */
const makeNames = function*(): Generator<string> {
  const dice = makeDice()
  const part = () => syllables[dice(syllables.length)] ?? ""
  for (let index = 0; index < count; index++) {
    yield `${part()}${part()}${index.toString(36)}.${part()}${part()}.${ends[dice(ends.length)] ?? ""}`
  }
}

const write = (path: string, prefix: string): void => {
  const file = Fs.openSync(path, "w")
  let lines = ""
  for (const name of makeNames()) {
    lines += `${prefix}${name}\n`
    if (lines.length < 1_000_000) continue
    Fs.writeSync(file, lines)
    lines = ""
  }
  Fs.writeSync(file, lines)
  Fs.closeSync(file)
}

/** How long others had to wait for their turn at most, in milliseconds, until it is asked. */
const watchTurns = (): () => number => {
  let longest = 0
  let last = performance.now()
  const look = (): void => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  const timer = setInterval(look, 1)
  return () => {
    clearInterval(timer)
    look()
    return longest
  }
}

/** A million names: as hosts files have them, as they are, and with all below them. */
const benchNames = async (kind: string, prefix: string): Promise<void> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-bench-"))
  try {
    const path = Path.join(folder, "list.txt")
    write(path, prefix)
    const before = held()
    const longestWait = watchTurns()
    const started = performance.now()
    const list = await Effect.runPromise(ListFile.read("names", path))
    const seconds = (performance.now() - started) / 1000
    const wait = longestWait()
    const bytes = (held() - before) / count
    if (list.size !== count) throw new Error(`${list.size} names in the list of ${count}`)
    report(`1,000,000 names, ${kind}: to load`, `${seconds.toFixed(2)} s`, "seconds")
    report("  longest wait of others meanwhile", `${wait.toFixed(0)} ms`, "")
    report("  memory for a name", `${bytes.toFixed(1)} bytes`, "< 100 bytes")
    const names = [...makeNames()]
    const known = Array.from({ length: questions }, () => names[dice(count)] ?? "")
    if (!known.every((name) => list.hasName(name))) throw new Error("a name is missing")
    const took = (asked: ReadonlyArray<string>) => `${timed(asked, (name) => list.hasName(name)).toFixed(2)} µs`
    report("  a name that is there", took(known), "< 2 µs")
    report("  a name that isn't", took(known.map((name) => name.replace(/^./, "w"))), "< 2 µs")
    report("  a name of six labels that isn't", took(known.map((name) => `a.b.c.${name.slice(1)}`)), "< 2 µs")
  } finally {
    Fs.rmSync(folder, { recursive: true })
  }
}

benchNetworks()
await benchNames("hosts file", "0.0.0.0 ")
await benchNames("plain", "")
await benchNames("suffixes", ".")
