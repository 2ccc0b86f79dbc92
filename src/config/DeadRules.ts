/** Rules that can never decide anything, and why. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Domain from "../policy/Domain.ts"
import type { Entry, List } from "../policy/List.ts"
import type { Conditions, Rule } from "../policy/Rule.ts"
import { nameOf } from "../policy/RuleEngine.ts"
import type { PortRange } from "../transport/PortRange.ts"

/** Which rule, counted from 0, and what about it. */
export interface Dead {
  readonly index: number
  /** The key at fault, if it is one. */
  readonly key?: keyof Conditions
  readonly why: string
}

type Target = Entry | List

/** Lists that are too long to be compared item by item are equal when they are the same. */
const isIn = (item: Target, list: List): boolean => {
  if (item === list) return true
  if (item._tag === "Domain") return item.kind === "exact" && list.hasName(item.text)
  return false
}

const mapped = (network: IpNetwork.IpNetwork): IpNetwork.IpNetwork => {
  const { address, prefixLength } = network
  return NetAddress.isIpv4Address(address)
    ? Result.getOrElse(IpNetwork.make(NetAddress.toIpv4Mapped(address), 96 + prefixLength), () => network)
    : network
}

const isWithinDomain = (inner: Domain.Domain, outer: Domain.Domain): boolean => {
  if (inner.kind === outer.kind && inner.text === outer.text) return true
  if (outer.kind === "suffix" && inner.kind !== "glob") {
    return inner.text === outer.text || inner.text.endsWith(`.${outer.text}`)
  }
  return outer.kind === "glob" && inner.kind === "exact" && Domain.globMatches(outer.text, inner.text)
}

const isWithin = (inner: Target, outer: Target): boolean => {
  if (outer._tag === "List") return isIn(inner, outer)
  if (inner._tag === "Domain" && outer._tag === "Domain") return isWithinDomain(inner, outer)
  return inner._tag === "IpNetwork" && outer._tag === "IpNetwork" &&
    IpNetwork.containsNetwork(mapped(outer), mapped(inner))
}

const isRangeWithin = (inner: PortRange, outer: PortRange): boolean => outer.from <= inner.from && inner.to <= outer.to

/** Whether all that one condition lets pass, another does too. */
const covers = <A>(
  outer: ReadonlyArray<A> | undefined,
  inner: ReadonlyArray<A> | undefined,
  within: (inner: A, outer: A) => boolean
): boolean => outer === undefined || inner?.every((item) => outer.some((wider) => within(item, wider))) === true

const same = (a: string, b: string): boolean => a === b

/** Whether every request that matches `inner` matches `outer` too. May miss some, and is never wrong. */
const coversAll = (outer: Rule, inner: Rule): boolean => {
  const [a, b] = [outer.conditions, inner.conditions]
  // An IPv6 address that carries one of IPv4 is in that one's network where this denies, not where it allows.
  const isNarrower = outer.action === "allow" && inner.action === "deny" && a.to?.some(({ _tag }) => _tag !== "Domain")
  const excepts = Object.values(outer.not ?? {}).some((condition) => condition !== undefined)
  return !excepts && isNarrower !== true && a.when === undefined &&
    covers(a.users, b.users, same) && covers(a.groups, b.groups, same) && covers(a.listeners, b.listeners, same) &&
    covers(a.protocols, b.protocols, same) && covers(a.commands, b.commands, same) &&
    covers(a.ports, b.ports, isRangeWithin) &&
    covers<Target>(a.clients, b.clients, isWithin) && covers<Target>(a.to, b.to, isWithin)
}

const listKeys = ["users", "groups", "clients", "listeners", "protocols", "commands", "to", "ports"] as const

/** A condition that nothing can meet. */
const impossible = ({ conditions }: Rule): Omit<Dead, "index"> | undefined => {
  for (const key of listKeys) {
    const items: ReadonlyArray<unknown> | undefined = conditions[key]
    if (items?.length === 0) return { key, why: "has nothing in it" }
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
  return undefined
}

/** All rules that can never match, or are never reached. */
export const find = (rules: ReadonlyArray<Rule>): ReadonlyArray<Dead> =>
  rules.flatMap((rule, index): ReadonlyArray<Dead> => {
    const empty = impossible(rule)
    if (empty !== undefined) return [{ index, ...empty }]
    const earlier = rules.findIndex((other, at) =>
      at < index && other.shadow !== true && impossible(other) === undefined && coversAll(other, rule)
    )
    const before = rules[earlier]
    return before === undefined
      ? []
      : [{ index, why: `${nameOf(before, earlier)} before it matches all that it would` }]
  })
