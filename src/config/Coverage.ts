/** What is within what: an item of a condition in others of the same kind, alone or in several that share it. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as AddressWords from "../policy/AddressWords.ts"
import * as Domain from "../policy/Domain.ts"
import type { Entry, List } from "../policy/List.ts"
import type { Conditions } from "../policy/Rule.ts"
import type { PortRange } from "../transport/PortRange.ts"

export type Target = Entry | List

/** What stands in a condition. */
export type Item = string | Target | PortRange

/** The conditions that have items. */
export const keys = ["users", "groups", "clients", "listeners", "protocols", "commands", "to", "ports"] as const

export type Key = typeof keys[number]

export const itemsOf = (conditions: Conditions | undefined, key: Key): ReadonlyArray<Item> | undefined =>
  conditions?.[key]

/** All addresses. No address of one family is in a network of the other. */
export const everywhere: ReadonlyArray<IpNetwork.IpNetwork> = ["0.0.0.0/0", "::/0"].map(IpNetwork.fromStringUnsafe)

export const isTarget = (item: Item): item is Target => typeof item === "object" && "_tag" in item

export const isRange = (item: Item): item is PortRange => typeof item === "object" && "from" in item

const prefixes = new WeakMap<IpNetwork.IpNetwork, AddressWords.Prefix>()

/** The same network is asked for with each rule that it is compared with. */
export const prefixOf = (network: IpNetwork.IpNetwork): AddressWords.Prefix => {
  const known = prefixes.get(network)
  if (known !== undefined) return known
  const prefix = AddressWords.fromNetwork(network)
  prefixes.set(network, prefix)
  return prefix
}

export const isPrefixWithin = (inner: AddressWords.Prefix, outer: AddressWords.Prefix): boolean =>
  outer.bits <= inner.bits && AddressWords.contains(outer, inner.words)

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
    const { bits, words } = prefixOf(item)
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
  return inner._tag === "IpNetwork" && outer._tag === "IpNetwork" && isPrefixWithin(prefixOf(inner), prefixOf(outer))
}

const isWithin = (inner: Item, outer: Item): boolean =>
  isTarget(inner) && isTarget(outer) ? isTargetWithin(inner, outer) : inner === outer

/** The items of one condition, and whose they are. */
export interface Source<A> {
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

interface Part<A> {
  readonly of: A
  readonly prefix: AddressWords.Prefix
}

const networksIn = (items: ReadonlyArray<Target>): ReadonlyArray<IpNetwork.IpNetwork> =>
  items.flatMap((item) =>
    item._tag === "IpNetwork" ? [item] : item._tag === "List" ? networksIn(item.entries ?? []) : []
  )

const ipv4Unspecified = AddressWords.fromIp(NetAddress.ipv4Unspecified)

/** Whether no address in them may lead elsewhere than to itself: they are networks of IPv4, and without 0.0.0.0. */
export const areLiteral = (items: ReadonlyArray<Target> | undefined): boolean =>
  items?.every((item) =>
    item._tag === "List"
      ? item.entries !== undefined && areLiteral(item.entries)
      : item._tag === "IpNetwork" && prefixOf(item).words.length === 1 &&
        !AddressWords.contains(prefixOf(item), ipv4Unspecified)
  ) === true

const half = ({ bits, words }: AddressWords.Prefix, bit: 0 | 1): AddressWords.Prefix => ({
  bits: bits + 1,
  words: words.map((word, at) => at === bits >> 5 ? word | bit << 31 - (bits & 31) : word)
})

/** Which of them take in a network between them, half by half. */
const partsOf = <A>(whole: AddressWords.Prefix, parts: ReadonlyArray<Part<A>>): ReadonlyArray<A> | undefined => {
  const wider = parts.find(({ prefix }) => isPrefixWithin(whole, prefix))
  if (wider !== undefined) return [wider.of]
  const inside = parts.filter(({ prefix }) => isPrefixWithin(prefix, whole))
  if (inside.length < 2) return undefined
  const [low, high] = [half(whole, 0), half(whole, 1)]
  // Most often there is nothing in one of the two.
  if (!inside.some(({ prefix }) => isPrefixWithin(prefix, high))) return undefined
  const first = partsOf(low, inside)
  const second = first && partsOf(high, inside)
  return first && second && [...first, ...second]
}

const sourcesOfNetwork = <A>(
  network: IpNetwork.IpNetwork,
  sources: ReadonlyArray<Source<A>>
): ReadonlyArray<A> | undefined =>
  partsOf(
    prefixOf(network),
    sources.flatMap(({ items, of }) =>
      networksIn(items.filter(isTarget)).map((part) => ({ of, prefix: prefixOf(part) }))
    )
  )

/** What counts of a list, if that is known: clients have no names. */
const entriesOf = (key: Key, { entries }: List): ReadonlyArray<Entry> | undefined =>
  entries?.filter((entry) => key === "to" || entry._tag === "IpNetwork")

/** Which of them take in an item: one alone, or several that each have a part of it. */
const sourcesOf = <A>(key: Key, item: Item, sources: ReadonlyArray<Source<A>>): ReadonlyArray<A> | undefined => {
  if (isRange(item)) return sourcesOfRange(item, sources)
  const source = sources.find(({ items }) => items.some((wider) => isWithin(item, wider)))
  if (source !== undefined) return [source.of]
  if (!isTarget(item)) return undefined
  if (item._tag === "IpNetwork") return sourcesOfNetwork(item, sources)
  // Whatever a name leads to is an address. Until it is known, nothing that names it decides.
  if (item._tag === "Domain") return sourcesOfAll(key, everywhere, sources)
  const parts = entriesOf(key, item)
  return parts && sourcesOfAll(key, parts, sources)
}

/** Which of them take in all items between them. Without a condition all passes, which no items are known to take in. */
export const sourcesOfAll = <A>(
  key: Key,
  items: ReadonlyArray<Item> | undefined,
  sources: ReadonlyArray<Source<A>>
): ReadonlyArray<A> | undefined => {
  if (items === undefined) return undefined
  const used = new Set<A>()
  for (const item of items) {
    const some = sourcesOf(key, item, sources)
    if (some === undefined) return undefined
    for (const one of some) used.add(one)
  }
  return [...used]
}

/** Whether all that one condition lets pass, another does too. */
export const covers = (
  key: Key,
  outer: ReadonlyArray<Item> | undefined,
  inner: ReadonlyArray<Item> | undefined
): boolean => outer === undefined || sourcesOfAll(key, inner, [{ of: undefined, items: outer }]) !== undefined

/** A glob may have a name in common with what neither is within the other. */
const mayMeet = (a: Entry, b: Entry): boolean =>
  a._tag === "Domain" && b._tag === "Domain" && a.kind !== "exact" && b.kind !== "exact" &&
  (a.kind === "glob" || b.kind === "glob")

/** Whether there is surely nothing that both take in. */
const isItemApart = (key: Key, a: Item, b: Item): boolean => {
  if (typeof a === "string" || typeof b === "string") return a !== b
  if (isRange(a) || isRange(b)) return isRange(a) && isRange(b) && (a.to < b.from || b.to < a.from)
  if (a._tag === "List") return entriesOf(key, a)?.every((entry) => isItemApart(key, entry, b)) === true
  if (b._tag === "List") return isItemApart(key, b, a)
  // A name may lead into any network.
  if (a._tag !== b._tag || mayMeet(a, b)) return false
  return !isTargetWithin(a, b) && !isTargetWithin(b, a)
}

/** Whether surely nothing passes both conditions, of something that a request has one of. */
export const areApart = (key: Key, a: ReadonlyArray<Item>, b: ReadonlyArray<Item> | undefined): boolean =>
  b?.every((inner) => a.every((outer) => isItemApart(key, inner, outer))) === true
