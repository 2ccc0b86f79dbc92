/** Rules that can never decide anything, and why. May miss some, and is never wrong about one. */
import * as Arr from "effect/Array"
import * as AddressWords from "../policy/AddressWords.ts"
import * as Domain from "../policy/Domain.ts"
import type { Entry, List } from "../policy/List.ts"
import type { Conditions, Rule } from "../policy/Rule.ts"
import { nameOf } from "../policy/RuleEngine.ts"
import type { TimeWindow } from "../policy/TimeWindow.ts"
import * as Dialect from "../server/Dialect.ts"
import type { PortRange } from "../transport/PortRange.ts"

/** Which rule, counted from 0, and what about it. */
export interface Dead {
  readonly index: number
  /** The key at fault, if it is one. */
  readonly key?: keyof Conditions
  readonly why: string
}

type Target = Entry | List

/** What stands in a condition. */
type Item = string | Target | PortRange

const keys = ["users", "groups", "clients", "listeners", "protocols", "commands", "to", "ports"] as const

type Key = typeof keys[number]

const itemsOf = (conditions: Conditions | undefined, key: Key): ReadonlyArray<Item> | undefined => conditions?.[key]

const isDomainWithin = (inner: Domain.Domain, outer: Domain.Domain): boolean => {
  if (inner.kind === outer.kind && inner.text === outer.text) return true
  if (outer.kind === "exact") return false
  if (outer.kind === "suffix") {
    return inner.text.endsWith(`.${outer.text}`) || inner.kind !== "glob" && inner.text === outer.text
  }
  if (!Domain.globMatches(outer.text, inner.text)) return false
  // A star takes in whatever stands before a suffix, and a star of another glob; a question mark does not.
  return inner.kind === "exact" || (inner.kind === "suffix" ? outer.text.startsWith("*") : !outer.text.includes("?"))
}

const isInList = (item: Entry, { domains, entries, globs, networks }: List): boolean => {
  if (entries !== undefined) return entries.some((entry) => isTargetWithin(item, entry))
  if (item._tag === "IpNetwork") {
    const { bits, words } = AddressWords.fromNetwork(item)
    let widest = Infinity
    networks.each(words, (_, length) => widest = Math.min(widest, length))
    return widest <= bits
  }
  if (globs.some((text) => isDomainWithin(item, { _tag: "Domain", kind: "glob", text }))) return true
  // A name that is there by itself says nothing of those below it.
  const found = item.kind === "glob" ? undefined : domains.find(item.text)
  return found !== undefined && (item.kind === "exact" || found.startsWith("."))
}

const isTargetWithin = (inner: Target, outer: Target): boolean => {
  if (outer._tag === "List") return inner === outer || inner._tag !== "List" && isInList(inner, outer)
  if (inner._tag === "Domain" && outer._tag === "Domain") return isDomainWithin(inner, outer)
  if (inner._tag !== "IpNetwork" || outer._tag !== "IpNetwork") return false
  const [a, b] = [AddressWords.fromNetwork(outer), AddressWords.fromNetwork(inner)]
  return a.bits <= b.bits && AddressWords.contains(a, b.words)
}

const isTarget = (item: Item): item is Target => typeof item === "object" && "_tag" in item

const isRange = (item: Item): item is PortRange => typeof item === "object" && "from" in item

const isWithin = (inner: Item, outer: Item): boolean =>
  isTarget(inner) && isTarget(outer) ? isTargetWithin(inner, outer) : inner === outer

/** The items of one condition, and whose they are. */
interface Source<A> {
  readonly of: A
  readonly items: ReadonlyArray<Item>
}

/** Which of them take in a range between them, port by port. */
const sourcesOfRange = <A>(
  { from, to }: PortRange,
  sources: ReadonlyArray<Source<A>>
): ReadonlyArray<A> | undefined => {
  const used: Array<A> = []
  for (let port = from; port <= to;) {
    let end = port - 1
    for (const { items, of } of sources) {
      const range = items.find((item): item is PortRange => isRange(item) && item.from <= port && port <= item.to)
      if (range === undefined) continue
      used.push(of)
      end = range.to
      break
    }
    if (end < port) return undefined
    port = end + 1
  }
  return used
}

/** Which of them take in an item: one alone, or several that each have a part of it. */
const sourcesOf = <A>(key: Key, item: Item, sources: ReadonlyArray<Source<A>>): ReadonlyArray<A> | undefined => {
  if (isRange(item)) return sourcesOfRange(item, sources)
  const source = sources.find(({ items }) => items.some((wider) => isWithin(item, wider)))
  if (source !== undefined) return [source.of]
  if (!isTarget(item) || item._tag !== "List") return undefined
  // Clients have no names.
  const parts = item.entries?.filter((entry) => key === "to" || entry._tag === "IpNetwork")
  return parts && sourcesOfAll(key, parts, sources)
}

const sourcesOfAll = <A>(
  key: Key,
  items: ReadonlyArray<Item> | undefined,
  sources: ReadonlyArray<Source<A>>
): ReadonlyArray<A> | undefined => {
  // Without a condition all passes, which no items are known to take in.
  if (items === undefined) return undefined
  const used: Array<A> = []
  for (const item of items) {
    const some = sourcesOf(key, item, sources)
    if (some === undefined) return undefined
    used.push(...some)
  }
  return used
}

/** Whether all that one condition lets pass, another does too. */
const covers = (key: Key, outer: ReadonlyArray<Item> | undefined, inner: ReadonlyArray<Item> | undefined): boolean =>
  outer === undefined || sourcesOfAll(key, inner, [{ of: undefined, items: outer }]) !== undefined

const isSameTime = (outer: TimeWindow | undefined, inner: TimeWindow | undefined): boolean =>
  outer === undefined || inner?.equals(outer) === true

const hasNetworks = (conditions: Conditions | undefined): boolean =>
  conditions?.to?.some(({ _tag }) => _tag !== "Domain") === true

/** Whether a rule has no exception, nor a time of its own, that could let slip what another one matches. */
const isComparable = (outer: Rule, inner: Rule): boolean => {
  // An IPv6 address that carries one of IPv4 is in that one's network where this denies, not where it allows.
  const isNarrower = outer.action === "allow" && inner.action === "deny" &&
    (hasNetworks(outer.conditions) || hasNetworks(outer.not))
  return !isNarrower && isSameTime(outer.conditions.when, inner.conditions.when) &&
    isSameTime(outer.not?.when, inner.not?.when) &&
    keys.every((key) => {
      const [slips, excepted] = [itemsOf(outer.not, key), itemsOf(inner.not, key)]
      return slips === undefined || excepted !== undefined && covers(key, excepted, slips)
    })
}

/** What is never asked for: by how clients speak, or by what they can speak here. */
const unheardOf = (
  { commands, ports, protocols }: Conditions,
  spoken: ReadonlyArray<Dialect.Protocol>
): Omit<Dead, "index"> | undefined => {
  const speaking = spoken.filter((protocol) => protocols?.includes(protocol) !== false)
  if (speaking.length === 0) return { key: "protocols", why: `clients can speak nothing but ${spoken.join(", ")} here` }
  const asked = speaking.flatMap((protocol) => Dialect.commandsOf[protocol])
  if (commands?.some((command) => asked.some((known) => known === command)) === false) {
    const known = Arr.dedupe(asked).join(", ")
    return { key: "commands", why: `clients that speak ${speaking.join(", ")} ask for nothing but ${known}` }
  }
  const isLookup = commands?.every((command) => command === "resolve" || command === "resolve-ptr") === true
  return isLookup && ports !== undefined ? { key: "ports", why: "lookups ask for no port" } : undefined
}

/** A condition that nothing can meet. */
const impossible = (
  { action, conditions, not }: Rule,
  spoken: ReadonlyArray<Dialect.Protocol>
): Omit<Dead, "index"> | undefined => {
  for (const key of keys) {
    if (itemsOf(conditions, key)?.length === 0) return { key, why: "has nothing in it" }
  }
  for (const key of ["clients", "to"] as const) {
    const items: ReadonlyArray<Target> = conditions[key] ?? []
    const full = items.filter((item) =>
      item._tag !== "List" || (key === "clients" ? item.networks.size : item.size) > 0
    )
    if (items.length > 0 && full.length === 0) {
      const names = items.flatMap((item) => item._tag === "List" ? [item.name] : []).join(", ")
      return {
        key,
        why: key === "clients" ? `has no network in it: list ${names}` : `has nothing in it: list ${names}`
      }
    }
  }
  // What an IPv6 address carries is denied, and not excepted.
  const carries = action === "deny" && hasNetworks(conditions)
  const excepted = keys.find((key) => {
    const exceptions = itemsOf(not, key)
    return exceptions !== undefined && !(key === "to" && carries) && covers(key, exceptions, itemsOf(conditions, key))
  })
  return excepted === undefined
    ? unheardOf(conditions, spoken)
    : { key: excepted, why: "not excepts all of it" }
}

interface Earlier {
  readonly rule: Rule
  readonly index: number
}

/** At most as many names as one reads. */
const shown = (rules: ReadonlyArray<Earlier>): string => {
  const names = rules.map(({ index, rule }) => nameOf(rule, index))
  if (names.length === 1) return `${names.join()} before it matches all that it would`
  const few = names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} more`] : names
  return `${few.slice(0, -1).join(", ")} and ${few.at(-1)} before it match all that it would`
}

/** The conditions by which a rule matches less than another one; more than one are as good as all. */
const narrowerBy = (outer: Rule, inner: Rule): ReadonlyArray<Key> => {
  const narrower: Array<Key> = []
  for (const key of keys) {
    if (covers(key, itemsOf(outer.conditions, key), itemsOf(inner.conditions, key))) continue
    narrower.push(key)
    if (narrower.length > 1) break
  }
  return narrower
}

/** The rules before one that match all that it would: one alone, or several that are narrower by the same condition. */
const covering = (rule: Rule, earlier: ReadonlyArray<Earlier>): ReadonlyArray<Earlier> | undefined => {
  const partial = new Map<Key, Array<Source<Earlier>>>()
  for (const before of earlier) {
    const [key, ...others] = narrowerBy(before.rule, rule)
    if (others.length > 0 || !isComparable(before.rule, rule)) continue
    if (key === undefined) return [before]
    const sources = partial.get(key) ?? []
    sources.push({ of: before, items: itemsOf(before.rule.conditions, key) ?? [] })
    partial.set(key, sources)
  }
  for (const [key, sources] of partial) {
    const used = sourcesOfAll(key, itemsOf(rule.conditions, key), sources)
    if (used !== undefined) return Arr.dedupe(used).toSorted((a, b) => a.index - b.index)
  }
  return undefined
}

/** All rules that can never match, or are never reached, where clients can speak these protocols. */
export const find = (
  rules: ReadonlyArray<Rule>,
  spoken: ReadonlyArray<Dialect.Protocol> = Dialect.protocols
): ReadonlyArray<Dead> => {
  const earlier: Array<Earlier> = []
  return rules.flatMap((rule, index): ReadonlyArray<Dead> => {
    const empty = impossible(rule, spoken)
    if (empty !== undefined) return [{ index, ...empty }]
    const before = covering(rule, earlier)
    if (rule.shadow !== true) earlier.push({ rule, index })
    return before === undefined ? [] : [{ index, why: shown(before) }]
  })
}
