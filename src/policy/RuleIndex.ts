/**
 * Which of many rules may match a request at all: a set of bits for each kind of condition, of which all are cut with
 * each other. A thousand rules are 32 words; only those that are left are asked one by one.
 *
 * It may leave rules in that don't match, never the other way round. Ports and times are not looked at, and lists
 * neither, which are long.
 */
import type { AccessRequest } from "./AccessPolicy.ts"
import type * as AddressWords from "./AddressWords.ts"
import type { Facts } from "./Conditions.ts"
import { NetworkSet } from "./NetworkSet.ts"
import type { Conditions, Rule } from "./Rule.ts"

/** A bit for each rule. */
class Bits {
  readonly words: Uint32Array

  constructor(size: number) {
    this.words = new Uint32Array(Math.ceil(size / 32))
  }

  add(index: number): void {
    this.words[index >> 5] = (this.words[index >> 5] ?? 0) | 1 << (index & 31)
  }

  addAll(indices: ReadonlyArray<number> | undefined): void {
    if (indices !== undefined) { for (const index of indices) this.add(index) }
  }

  join({ words }: Bits): void {
    for (let word = 0; word < words.length; word++) this.words[word] = (this.words[word] ?? 0) | (words[word] ?? 0)
  }

  keep({ words }: Bits): void {
    for (let word = 0; word < words.length; word++) this.words[word] = (this.words[word] ?? 0) & (words[word] ?? 0)
  }

  drop({ words }: Bits): void {
    for (let word = 0; word < words.length; word++) this.words[word] = (this.words[word] ?? 0) & ~(words[word] ?? 0)
  }

  /** The first from `index` on; -1 when there is none. */
  next(index: number): number {
    let at = index >> 5
    let word = (this.words[at] ?? 0) & -1 << (index & 31)
    while (word === 0) {
      if (++at >= this.words.length) return -1
      word = this.words[at] ?? 0
    }
    return 32 * at + 31 - Math.clz32(word & -word)
  }
}

/** One kind of condition. */
interface Dimension {
  /** Adds the rules that may match by it. */
  readonly collect: (facts: Facts, into: Bits) => void
}

const put = <K>(map: Map<K, Array<number>>, key: K, index: number): void => {
  const known = map.get(key)
  if (known === undefined) map.set(key, [index])
  else known.push(index)
}

/** Rules that don't have a condition, or have it in a way that this index knows nothing of. */
const anyOf = (rules: ReadonlyArray<Rule>, isOpen: (conditions: Conditions) => boolean): Bits => {
  const any = new Bits(rules.length)
  for (const [index, { conditions }] of rules.entries()) if (isOpen(conditions)) any.add(index)
  return any
}

type Key = "users" | "groups" | "listeners" | "protocols" | "commands"

const byValue = (
  rules: ReadonlyArray<Rule>,
  key: Key,
  valuesOf: (request: AccessRequest) => string | ReadonlyArray<string> | undefined
): Dimension => {
  const any = anyOf(rules, (conditions) => conditions[key] === undefined)
  const few = new Map<string, Array<number>>()
  for (const [index, { conditions }] of rules.entries()) {
    for (const text of conditions[key] ?? []) put(few, text, index)
  }
  // What many rules name is cheaper to add by the word.
  const many = new Map<string, Bits>()
  for (const [text, indices] of few) {
    if (indices.length <= any.words.length) continue
    const bits = new Bits(rules.length)
    bits.addAll(indices)
    many.set(text, bits)
    few.delete(text)
  }
  const add = (text: string, into: Bits): void => {
    into.addAll(few.get(text))
    const bits = many.get(text)
    if (bits !== undefined) into.join(bits)
  }
  return {
    collect: ({ request }, into) => {
      into.words.set(any.words)
      const values = valuesOf(request)
      if (typeof values === "string") add(values, into)
      else if (values !== undefined) { for (const value of values) add(value, into) }
    }
  }
}

/** Networks, each with the rules that name it. */
class Networks {
  private readonly networks = new NetworkSet()
  private readonly rules: Array<Array<number>> = []
  private into = new Bits(0)
  private readonly visit = (place: number): void => this.into.addAll(this.rules[place])

  constructor(rules: ReadonlyArray<Rule>, key: "clients" | "to") {
    for (const [index, { conditions }] of rules.entries()) {
      for (const item of conditions[key] ?? []) {
        if (item._tag !== "IpNetwork") continue
        const place = this.networks.add(item)
        const known = this.rules[place] ??= []
        known.push(index)
      }
    }
  }

  collect(words: AddressWords.Words, into: Bits): void {
    this.into = into
    this.networks.each(words, this.visit)
  }
}

const hasList = (items: Conditions["clients"] | Conditions["to"]): boolean =>
  items !== undefined && items.some(({ _tag }) => _tag === "List")

const byClient = (rules: ReadonlyArray<Rule>): Dimension => {
  const any = anyOf(rules, ({ clients }) => clients === undefined || hasList(clients))
  const networks = new Networks(rules, "clients")
  return {
    collect: ({ client }, into) => {
      into.words.set(any.words)
      if (client !== undefined) networks.collect(client, into)
    }
  }
}

/** Names and suffixes, each with the rules that name it. */
const namesOf = (rules: ReadonlyArray<Rule>) => {
  const names = new Map<string, Array<number>>()
  const suffixes = new Map<string, Array<number>>()
  for (const [index, { conditions }] of rules.entries()) {
    for (const item of conditions.to ?? []) {
      if (item._tag === "Domain" && item.kind !== "glob") {
        put(item.kind === "exact" ? names : suffixes, item.text, index)
      }
    }
  }
  return (name: string, into: Bits): void => {
    into.addAll(names.get(name))
    if (suffixes.size === 0) return
    into.addAll(suffixes.get(name))
    for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
      into.addAll(suffixes.get(name.slice(dot + 1)))
    }
  }
}

export class RuleIndex {
  private readonly size: number
  private readonly dimensions: ReadonlyArray<Dimension>
  private readonly toAny: Bits
  private readonly toNetworks: Bits
  private readonly networks: Networks
  private readonly names: (name: string, into: Bits) => void
  private readonly candidates: Bits
  /** Candidates that can say nothing without the address. */
  private readonly waiting: Bits
  private readonly scratch: Bits

  constructor(rules: ReadonlyArray<Rule>) {
    this.size = rules.length
    const has = (key: keyof Conditions) => rules.some(({ conditions }) => conditions[key] !== undefined)
    this.dimensions = [
      has("users") && byValue(rules, "users", ({ user }) => user),
      has("groups") && byValue(rules, "groups", ({ groups }) => groups),
      has("listeners") && byValue(rules, "listeners", ({ listener }) => listener),
      has("protocols") && byValue(rules, "protocols", ({ protocol }) => protocol),
      has("commands") && byValue(rules, "commands", ({ command }) => command),
      has("clients") && byClient(rules)
    ].filter((dimension) => dimension !== false)
    this.toAny = anyOf(
      rules,
      ({ to }) => to === undefined || hasList(to) || to.some((item) => item._tag === "Domain" && item.kind === "glob")
    )
    this.toNetworks = anyOf(rules, ({ to }) => to?.some(({ _tag }) => _tag === "IpNetwork") === true)
    this.networks = new Networks(rules, "to")
    this.names = namesOf(rules)
    this.candidates = new Bits(rules.length)
    this.waiting = new Bits(rules.length)
    this.scratch = new Bits(rules.length)
  }

  /** Finds the rules that `next` gives. They are those of the last call: nothing else may come in between. */
  narrow(facts: Facts): void {
    const { candidates, scratch, waiting } = this
    candidates.words.set(this.toAny.words)
    if (facts.name !== undefined) this.names(facts.name, candidates)
    if (facts.address !== undefined) {
      this.networks.collect(facts.address, candidates)
      for (const words of facts.carried) this.networks.collect(words, candidates)
    } else {
      waiting.words.set(this.toNetworks.words)
      waiting.drop(candidates)
      candidates.join(waiting)
    }
    for (const { collect } of this.dimensions) {
      collect(facts, scratch)
      candidates.keep(scratch)
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
