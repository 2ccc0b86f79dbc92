/**
 * Which of many rules may match a request at all: a set of bits for each kind of condition, of which all are cut with
 * each other, and another for each kind of exception, which are taken off. Only those that are left are asked one by one.
 *
 * It may leave rules in that don't match, never the other way round. Times are not looked at.
 */
import type { AccessRequest } from "./AccessPolicy.ts"
import type { Facts } from "./Conditions.ts"
import type { Conditions, Rule } from "./Rule.ts"
import { HolderMap, type Holders, RuleBits } from "./RuleBits.ts"
import { TargetIndex } from "./TargetIndex.ts"

/** Adds the rules that have a condition of one kind, and meet it. */
type Collect = (facts: Facts, into: RuleBits) => void

/** Of each rule its conditions, or what it excepts. */
type All = ReadonlyArray<Conditions>

type Key = "users" | "groups" | "listeners" | "protocols" | "commands"

const byValue = (
  all: All,
  key: Key,
  valuesOf: (request: AccessRequest) => string | ReadonlyArray<string> | undefined
): Collect => {
  const holders = new HolderMap<string>()
  for (const [index, conditions] of all.entries()) {
    for (const text of conditions[key] ?? []) holders.hold(text, index, all.length)
  }
  return ({ request }, into) => {
    const values = valuesOf(request)
    if (typeof values === "string") holders.get(values)?.addTo(into)
    else if (values !== undefined) { for (const value of values) holders.get(value)?.addTo(into) }
  }
}

/** Single ports are looked up, and each range that there is compared with. */
const byPort = (all: All): Collect => {
  const single = new HolderMap<number>()
  const known = new HolderMap<string>()
  const ranges: Array<{ readonly from: number; readonly to: number; readonly holders: Holders }> = []
  for (const [index, { ports = [] }] of all.entries()) {
    for (const { from, to } of ports) {
      if (from === to) single.hold(from, index, all.length)
      else known.hold(`${from}-${to}`, index, all.length, (holders) => ranges.push({ from, to, holders }))
    }
  }
  return ({ request: { destination: { port } } }, into) => {
    single.get(port)?.addTo(into)
    for (const { from, holders, to } of ranges) if (from <= port && port <= to) holders.addTo(into)
  }
}

const byClient = (all: All): Collect => {
  const index = new TargetIndex(all.map(({ clients }) => clients))
  return ({ client }, into) => {
    if (client !== undefined) index.collectAddress(client, into)
  }
}

interface Dimension {
  readonly key: keyof Conditions
  readonly collect: Collect
}

const makers: ReadonlyArray<readonly [key: keyof Conditions, make: (all: All) => Collect]> = [
  ["users", (all) => byValue(all, "users", ({ user }) => user)],
  ["groups", (all) => byValue(all, "groups", ({ groups }) => groups)],
  ["listeners", (all) => byValue(all, "listeners", ({ listener }) => listener)],
  ["protocols", (all) => byValue(all, "protocols", ({ protocol }) => protocol)],
  ["commands", (all) => byValue(all, "commands", ({ command }) => command)],
  ["ports", byPort],
  ["clients", byClient]
]

/** Of those kinds that there are, all but the destination. */
const dimensionsOf = (all: All): ReadonlyArray<Dimension> =>
  makers.flatMap(([key, make]) =>
    all.some((conditions) => conditions[key] !== undefined) ? [{ key, collect: make(all) }] : []
  )

const bitsOf = (all: All, isIn: (conditions: Conditions) => boolean): RuleBits => {
  const bits = new RuleBits(all.length)
  for (const [index, conditions] of all.entries()) if (isIn(conditions)) bits.add(index)
  return bits
}

/** Those whose `to` has to wait for the address. */
const withNetworks = (all: All): RuleBits =>
  bitsOf(
    all,
    ({ to = [] }) => to.some((item) => item._tag === "IpNetwork" || (item._tag === "List" && item.networks.size > 0))
  )

const targetsOf = (all: All): TargetIndex | undefined =>
  all.some(({ to }) => to !== undefined) ? new TargetIndex(all.map(({ to }) => to)) : undefined

export class RuleIndex {
  private readonly size: number
  /** With those rules that don't have the condition. */
  private readonly conditions: ReadonlyArray<Dimension & { readonly open: RuleBits }>
  private readonly exceptions: ReadonlyArray<Dimension>
  private readonly targetOpen: RuleBits
  private readonly targets: TargetIndex | undefined
  private readonly targetsWait: RuleBits
  private readonly exceptedTargets: TargetIndex | undefined
  private readonly exceptedWait: RuleBits
  private readonly candidates: RuleBits
  /** Candidates that can say nothing without the address. */
  private readonly waiting: RuleBits
  private readonly scratch: RuleBits
  private readonly none: RuleBits

  constructor(rules: ReadonlyArray<Rule>) {
    const wanted = rules.map(({ conditions }) => conditions)
    const excepted = rules.map(({ not }) => not ?? {})
    this.size = rules.length
    this.conditions = dimensionsOf(wanted).map(({ collect, key }) => ({
      key,
      collect,
      open: bitsOf(wanted, (conditions) => conditions[key] === undefined)
    }))
    this.exceptions = dimensionsOf(excepted)
    this.targetOpen = bitsOf(wanted, ({ to }) => to === undefined)
    this.targets = targetsOf(wanted)
    this.targetsWait = withNetworks(wanted)
    this.exceptedTargets = targetsOf(excepted)
    this.exceptedWait = withNetworks(excepted)
    this.candidates = new RuleBits(rules.length)
    this.waiting = new RuleBits(rules.length)
    this.scratch = new RuleBits(rules.length)
    this.none = new RuleBits(rules.length)
  }

  /** Finds the rules that `next` gives. They are those of the last call: nothing else may come in between. */
  narrow(facts: Facts): void {
    const { candidates, scratch } = this
    this.findTargets(facts)
    for (const { collect, open } of this.conditions) {
      scratch.set(open)
      collect(facts, scratch)
      candidates.keep(scratch)
    }
    for (const { collect } of this.exceptions) {
      scratch.set(this.none)
      collect(facts, scratch)
      candidates.drop(scratch)
    }
    if (this.exceptedTargets === undefined) return
    scratch.set(this.none)
    if (facts.name !== undefined) this.exceptedTargets.collectName(facts.name, scratch)
    // What the address carries is excepted by some rules only; they see to that themselves.
    if (facts.address !== undefined) this.exceptedTargets.collectAddress(facts.address, scratch)
    candidates.drop(scratch)
  }

  private findTargets({ address, name, otherwise }: Facts): void {
    const { candidates, targets, waiting } = this
    candidates.set(this.targetOpen)
    if (name !== undefined) targets?.collectName(name, candidates)
    if (address !== undefined) {
      targets?.collectAddress(address, candidates)
      for (const words of otherwise) targets?.collectAddress(words, candidates)
    } else {
      waiting.set(this.targetsWait)
      waiting.drop(candidates)
      candidates.join(waiting)
      waiting.join(this.exceptedWait)
    }
  }

  /** The first rule from `index` on that may match; -1 when there is none. */
  next(index: number): number {
    return index < this.size ? this.candidates.next(index) : -1
  }

  /** Leaves out what can say nothing without the address. */
  waitNoMore(): void {
    this.candidates.drop(this.waiting)
  }
}
