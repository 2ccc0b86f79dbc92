/**
 * Which of many rules may match what another one does, or a part of it: they have an item in common with it in each
 * condition, or no such condition. Only those are worth a closer look; some of them turn out to be no match.
 */
import * as IpNetwork from "effect/net/IpNetwork"
import type * as AddressWords from "../policy/AddressWords.ts"
import * as Domain from "../policy/Domain.ts"
import type { Entry, List } from "../policy/List.ts"
import { NetworkSet } from "../policy/NetworkSet.ts"
import type { Rule } from "../policy/Rule.ts"
import { HolderMap, type Holders, RuleBits } from "../policy/RuleBits.ts"
import { type Glob, Globs } from "../policy/TargetIndex.ts"
import type { PortRange } from "../transport/PortRange.ts"
import * as Coverage from "./Coverage.ts"
import type { Reach } from "./Reach.ts"

/** In the order of their first addresses, those of IPv4 first. */
const compare = (a: AddressWords.Prefix, b: AddressWords.Prefix): number => {
  if (a.words.length !== b.words.length) return a.words.length - b.words.length
  for (const [at, word] of a.words.entries()) {
    const difference = (word >>> 0) - ((b.words[at] ?? 0) >>> 0)
    if (difference !== 0) return difference
  }
  return a.bits - b.bits
}

/** How many bits longer the prefix of a part is at most: nobody puts a network together from 256 parts, or more. */
const deepest = 8

interface Held<A> {
  readonly item: A
  readonly holders: Holders
}

/** Who has networks around others, or within them. */
class Networks {
  private readonly set = new NetworkSet()
  /** By their places in the set. */
  private readonly placed: Array<Array<Holders>> = []
  private readonly sorted: ReadonlyArray<Held<AddressWords.Prefix>>

  constructor(held: ReadonlyArray<Held<IpNetwork.IpNetwork>>) {
    const distinct: Array<Held<AddressWords.Prefix>> = []
    for (const { holders, item } of held) {
      // Two texts can be the same network: one of them is that of an IPv4-mapped address.
      const place = this.set.add(item)
      ;(this.placed[place] ??= []).push(holders)
      distinct.push({ item: Coverage.prefixOf(item), holders })
    }
    this.sorted = distinct.toSorted((a, b) => compare(a.item, b.item))
  }

  collect(network: IpNetwork.IpNetwork, into: RuleBits): void {
    const prefix = Coverage.prefixOf(network)
    this.set.each(prefix.words, (place) => {
      for (const holders of this.placed[place] ?? []) holders.addTo(into)
    })
    for (let at = this.firstFrom(prefix); at < this.sorted.length; at++) {
      const held = this.sorted[at]
      if (held === undefined || !Coverage.isPrefixWithin(held.item, prefix)) return
      if (held.item.bits <= prefix.bits + deepest) held.holders.addTo(into)
    }
  }

  private firstFrom(prefix: AddressWords.Prefix): number {
    let [from, to] = [0, this.sorted.length]
    while (from < to) {
      const middle = from + to >> 1
      const held = this.sorted[middle]
      if (held !== undefined && compare(held.item, prefix) < 0) from = middle + 1
      else to = middle
    }
    return from
  }
}

/** The rules that have a condition, by what it has in it. */
class Holding {
  private readonly texts = new HolderMap<string>()
  private readonly ports = new HolderMap<number>()
  private readonly ranges: Array<Held<PortRange>> = []
  private readonly lists = new HolderMap<List>()
  /** What they have in them is not known one by one. */
  private readonly longLists: Array<Holders> = []
  private readonly networks: Networks
  private readonly globs: Globs

  constructor(conditions: ReadonlyArray<ReadonlyArray<Coverage.Item> | undefined>) {
    const size = conditions.length
    const networks: Array<Held<IpNetwork.IpNetwork>> = []
    const globs: Array<Glob> = []
    const put = (text: string, index: number, onNew?: (holders: Holders) => void) =>
      this.texts.hold(text, index, size, onNew)
    const putEntry = (item: Entry, index: number): void => {
      if (item._tag === "IpNetwork") {
        return put(IpNetwork.format(item), index, (holders) => networks.push({ item, holders }))
      }
      put(Domain.format(item), index, (holders) => {
        if (item.kind === "glob") globs.push({ text: item.text, holders })
      })
    }
    for (const [index, items = []] of conditions.entries()) {
      for (const item of items) {
        if (typeof item === "string") put(item, index)
        else if (Coverage.isRange(item)) {
          if (item.from === item.to) this.ports.hold(item.from, index, size)
          else put(`${item.from}-${item.to}`, index, (holders) => this.ranges.push({ item, holders }))
        } else if (item._tag !== "List") putEntry(item, index)
        else {
          this.lists.hold(item, index, size, (holders) => item.entries === undefined && this.longLists.push(holders))
          for (const entry of item.entries ?? []) putEntry(entry, index)
        }
      }
    }
    this.networks = new Networks(networks)
    this.globs = new Globs(globs)
  }

  /** Adds the rules that may take in an item, or have a part in that. */
  collect(item: Coverage.Item, into: RuleBits): void {
    if (typeof item === "string") this.texts.get(item)?.addTo(into)
    else if (Coverage.isRange(item)) this.collectRange(item, into)
    else this.collectTarget(item, into)
  }

  /** Single ports are looked up, as long as that takes less than to look at all. */
  private collectRange({ from, to }: PortRange, into: RuleBits): void {
    if (to - from < this.ports.size) {
      for (let port = from; port <= to; port++) this.ports.get(port)?.addTo(into)
    } else {
      for (const [port, holders] of this.ports) if (from <= port && port <= to) holders.addTo(into)
    }
    for (const { holders, item } of this.ranges) if (from <= item.to && item.from <= to) holders.addTo(into)
  }

  private collectTarget(item: Coverage.Target, into: RuleBits): void {
    for (const holders of this.longLists) holders.addTo(into)
    if (item._tag === "List") {
      this.lists.get(item)?.addTo(into)
      for (const entry of item.entries ?? []) this.collectTarget(entry, into)
    } else if (item._tag === "IpNetwork") this.networks.collect(item, into)
    else this.collectDomain(item, into)
  }

  private collectDomain(item: Domain.Domain, into: RuleBits): void {
    const { text } = item
    this.texts.get(Domain.format(item))?.addTo(into)
    for (let at = 0; at !== -1; at = text.indexOf(".", at + 1)) {
      this.texts.get(at === 0 && !text.startsWith(".") ? `.${text}` : text.slice(at))?.addTo(into)
    }
    this.globs.collect(text, into)
    // Wherever a name may lead.
    for (const network of Coverage.everywhere) this.texts.get(IpNetwork.format(network))?.addTo(into)
  }
}

interface Dimension {
  readonly key: Coverage.Key
  readonly open: RuleBits
  readonly holding: Holding
}

export interface Candidates {
  /** Rules each of which may match all. */
  readonly alone: ReadonlyArray<number>
  /** Rules that may match all but for one condition, of which they have a part. */
  readonly together: ReadonlyMap<Coverage.Key, ReadonlyArray<number>>
}

const listed = (bits: RuleBits, size: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  for (let at = bits.next(0); at !== -1 && at < size; at = bits.next(at + 1)) found.push(at)
  return found
}

export class CandidateIndex {
  private readonly size: number
  private readonly dimensions: ReadonlyArray<Dimension>
  /** Those that come before, and decide. */
  private readonly earlier: RuleBits

  constructor(rules: ReadonlyArray<Rule>) {
    this.size = rules.length
    this.earlier = new RuleBits(rules.length)
    this.dimensions = Coverage.keys.flatMap((key) => {
      const conditions = rules.map(({ conditions }) => Coverage.itemsOf(conditions, key))
      if (conditions.every((items) => items === undefined)) return []
      const open = new RuleBits(rules.length)
      for (const [index, items] of conditions.entries()) if (items === undefined) open.add(index)
      return [{ key, open, holding: new Holding(conditions) }]
    })
  }

  /** From now on it comes before. */
  add(index: number): void {
    this.earlier.add(index)
  }

  /** Of the rules that come before. */
  of(reach: Reach): Candidates {
    const found = this.dimensions.map(({ holding, key, open }) => {
      const [first, ...others] = reach[key] ?? []
      const whole = new RuleBits(this.size)
      if (first !== undefined) holding.collect(first, whole)
      const part = new RuleBits(this.size)
      part.set(whole)
      for (const item of others) holding.collect(item, part)
      whole.join(open)
      return { key, whole, part }
    })
    const alone = this.cut(found.map(({ whole }) => whole))
    const together = found.map(({ key, part }): readonly [Coverage.Key, ReadonlyArray<number>] => [
      key,
      this.cut(found.map((other) => other.key === key ? part : other.whole))
    ])
    return { alone, together: new Map(together) }
  }

  private cut(sets: ReadonlyArray<RuleBits>): ReadonlyArray<number> {
    const bits = new RuleBits(this.size)
    bits.set(this.earlier)
    for (const set of sets) bits.keep(set)
    return listed(bits, this.size)
  }
}
