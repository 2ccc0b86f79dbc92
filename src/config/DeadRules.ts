/** Rules that can never decide anything, and why. May miss some, and is never wrong about one. */
import type { Conditions, Rule } from "../policy/Rule.ts"
import { nameOf } from "../policy/RuleEngine.ts"
import type { TimeWindow } from "../policy/TimeWindow.ts"
import { CandidateIndex } from "./Candidates.ts"
import * as Coverage from "./Coverage.ts"
import * as Reach from "./Reach.ts"

/** Which rule, counted from 0, and what about it. */
export interface Dead {
  readonly index: number
  /** The key at fault, if it is one. */
  readonly key?: keyof Conditions | "not"
  readonly why: string
}

/** A rule, and what it can be asked about. */
interface Asked {
  readonly rule: Rule
  readonly index: number
  readonly reach: Reach.Reach
}

const isTimeWithin = (inner: TimeWindow | undefined, outer: TimeWindow): boolean =>
  outer.isAlways || inner !== undefined && outer.contains(inner)

const hasNetworks = (conditions: Conditions | undefined): boolean =>
  conditions?.to?.some(({ _tag }) => _tag !== "Domain") === true

/** Whether no address that a rule matches is excepted by another one for where else it may lead. */
const isPlain = (outer: Rule, inner: Rule): boolean =>
  outer.action === "deny"
    ? inner.action === "allow" || Coverage.areLiteral(outer.not?.to)
    : inner.action === "allow" && Coverage.areLiteral(inner.conditions.to)

/** Whether one exception of a rule lets nothing slip that another rule matches. */
const isSafe = (key: Coverage.Key, outer: Rule, { reach, rule: inner }: Asked, world: Reach.World): boolean => {
  const slips = Coverage.itemsOf(outer.not, key)
  if (slips === undefined) return true
  const excepted = Coverage.itemsOf(inner.not, key)
  if (excepted !== undefined && Coverage.covers(key, excepted, slips)) return true
  switch (key) {
    case "groups":
      // A user can be in two.
      return !world.haveGroups
    case "users":
      return !world.haveNames || Coverage.areApart(key, slips, reach.users)
    case "to":
      return Coverage.areApart(key, slips, inner.conditions.to) &&
        (!hasNetworks(outer.not) || isPlain(outer, inner))
    default:
      return Coverage.areApart(key, slips, reach[key])
  }
}

const aboutTarget = (conditions: Conditions | undefined): boolean =>
  conditions?.ports !== undefined || conditions?.to !== undefined

/** Whether a rule has no exception, nor a time of its own, that could let slip what another one matches. */
const isComparable = (outer: Rule, asked: Asked, world: Reach.World): boolean => {
  const { reach, rule: inner } = asked
  // An IPv6 address that carries one of IPv4 is in that one's network where this denies, not where it allows.
  const isNarrower = outer.action === "allow" && inner.action === "deny" &&
    (hasNetworks(outer.not) || hasNetworks(outer.conditions) && hasNetworks(inner.conditions) &&
        !Coverage.covers("to", outer.conditions.to, Coverage.everywhere))
  if (isNarrower) return false
  // Before a port is opened, no denial counts that hangs on where it leads.
  const isLater = outer.action === "deny" && (aboutTarget(outer.conditions) || aboutTarget(outer.not))
  if (isLater && !aboutTarget(inner.conditions) && !aboutTarget(inner.not) && Reach.mayOpenPort(reach)) return false
  const { conditions: { when }, not } = outer
  if (when !== undefined && !isTimeWithin(inner.conditions.when, when)) return false
  if (not?.when !== undefined) {
    const isExcepted = inner.not?.when !== undefined && inner.not.when.contains(not.when)
    if (!isExcepted && inner.conditions.when?.isApartFrom(not.when) !== true) return false
  }
  return Coverage.keys.every((key) => isSafe(key, outer, asked, world))
}

/** A condition that nothing can meet. */
const impossible = (
  { reach, rule: { action, conditions, not } }: Asked,
  world: Reach.World
): Omit<Dead, "index"> | undefined => {
  for (const key of Coverage.keys) {
    if (Coverage.itemsOf(conditions, key)?.length === 0) return { key, why: "has nothing in it" }
  }
  for (const key of ["clients", "to"] as const) {
    const items: ReadonlyArray<Coverage.Target> = conditions[key] ?? []
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
  const unheard = Reach.unheardOf(conditions, world)
  if (unheard !== undefined) return unheard
  // What an IPv6 address carries is denied, and not excepted.
  const carries = action === "deny" && hasNetworks(conditions)
  const excepted = Coverage.keys.find((key) => {
    const exceptions = Coverage.itemsOf(not, key)
    return exceptions !== undefined && !(key === "to" && carries) && Coverage.covers(key, exceptions, reach[key])
  }) ?? (not?.when !== undefined && isTimeWithin(conditions.when, not.when) ? "when" : undefined)
  return excepted === undefined ? undefined : { key: "not", why: `excepts all of it by its ${excepted}` }
}

/** At most as many names as one reads. */
const shown = (rules: ReadonlyArray<Asked>): string => {
  const names = rules.map(({ index, rule }) => nameOf(rule, index))
  if (names.length === 1) return `${names.join()} before it matches all that it would`
  const few = names.length > 5 ? [...names.slice(0, 4), `${names.length - 4} more`] : names
  return `${few.slice(0, -1).join(", ")} and ${few.at(-1)} before it match all that it would`
}

/** Whether a rule matches all that another one does, but for one condition that is left out. */
const matchesAll = (outer: Rule, { reach }: Asked, but?: Coverage.Key): boolean =>
  Coverage.keys.every((key) => key === but || Coverage.covers(key, Coverage.itemsOf(outer.conditions, key), reach[key]))

/** The rules before one that match all that it would: one alone, or several that are narrower by the same condition. */
const covering = (
  asked: Asked,
  all: ReadonlyArray<Asked>,
  index: CandidateIndex,
  world: Reach.World
): ReadonlyArray<Asked> | undefined => {
  const { alone, together } = index.of(asked.reach)
  const refused = new Set<number>()
  for (const at of alone) {
    const before = all[at]
    if (before === undefined || !matchesAll(before.rule, asked)) continue
    if (isComparable(before.rule, asked, world)) return [before]
    refused.add(at)
  }
  for (const [key, candidates] of together) {
    const sources = candidates.flatMap((at): ReadonlyArray<Coverage.Source<Asked>> => {
      const before = all[at]
      const items = Coverage.itemsOf(before?.rule.conditions, key)
      return before !== undefined && items !== undefined && !refused.has(at) && matchesAll(before.rule, asked, key) &&
          isComparable(before.rule, asked, world)
        ? [{ of: before, items }]
        : []
    })
    const used = sources.length < 2 ? undefined : Coverage.sourcesOfAll(key, asked.reach[key], sources)
    if (used !== undefined) return used.toSorted((a, b) => a.index - b.index)
  }
  return undefined
}

/** All rules that can never match, or are never reached, by those who can ask. */
export const find = (rules: ReadonlyArray<Rule>, known: Partial<Reach.World> = {}): ReadonlyArray<Dead> => {
  const world = { ...Reach.anywhere, ...known }
  const all = rules.map((rule, index): Asked => ({ rule, index, reach: Reach.of(rule.conditions, world) }))
  const index = new CandidateIndex(rules)
  return all.flatMap((asked): ReadonlyArray<Dead> => {
    const empty = impossible(asked, world)
    if (empty !== undefined) return [{ index: asked.index, ...empty }]
    const before = covering(asked, all, index, world)
    if (asked.rule.shadow !== true) index.add(asked.index)
    return before === undefined ? [] : [{ index: asked.index, why: shown(before) }]
  })
}
