/** By which way a request would go out, in words. */
import * as Duration from "effect/Duration"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import { direct } from "../client/UpstreamPools.ts"
import type { Loaded } from "../config/ConfigFile.ts"
import type { Settings } from "../config/Settings.ts"
import type * as Visitor from "../config/Visitor.ts"
import type { Verdict } from "../policy/AccessPolicy.ts"
import * as Egress from "../transport/Egress.ts"

const chain = (proxies: ReadonlyArray<ProxyUrl.ProxyUrl>): string => proxies.map(ProxyUrl.format).join(" then ")

/** Who always gets the same of several, and for how long; `undefined` where nobody does. */
const stickWords = (by: "user" | "session", { name, session, stickFor }: Visitor.Visitor): string | undefined => {
  if (name === undefined) return undefined
  if (by === "user") return `for user ${name} always the same`
  if (session === undefined) return undefined
  return stickFor === undefined
    ? `for session ${session} always the same`
    : `for session ${session} the same until ${
      Duration.format(Duration.fromInputUnsafe(stickFor))
    } after its last login`
}

export const upstream = (
  { config }: Loaded,
  { upstream }: Settings,
  visitor: Visitor.Visitor,
  verdict: Verdict
): string => {
  const name = verdict.via ?? visitor.pool
  if (name === direct || (name === undefined && upstream.length === 0)) return "upstream: none, it is dialled from here"
  if (name === undefined) return `upstream: ${chain(upstream)}`
  const pool = config.upstreams[name]
  if (pool === undefined) return `upstream: pool ${name}: unknown`
  const sticks = pool.chains.length === 1
    ? undefined
    : stickWords(pool.choose === "user" && visitor.session === undefined ? "user" : "session", visitor)
  return `upstream: pool ${name}: ${pool.chains.map(chain).join(", or ")}${sticks === undefined ? "" : `; ${sticks}`}`
}

/** Whether there is a choice, for the addresses of one family. */
const areSeveral = (sources: ReadonlyArray<Egress.Source>): boolean =>
  sources.some((source) => IpNetwork.isIpNetwork(source) && source.prefixLength < NetAddress.width(source.address)) ||
  [NetAddress.isIpv4Address, NetAddress.isIpv6Address].some((isOne) => sources.filter(isOne).length > 1)

export const egress = (settings: Settings, visitor: Visitor.Visitor, verdict: Verdict): string => {
  const { name, session, stickFor, user } = visitor
  const usual = settings.egress.length === 0 ? undefined : Egress.make(settings.egress, settings.egressBy)
  const found = verdict.egress ?? user?.egress ?? usual
  if (found === undefined) return "egress: as the system's routes choose"
  const isChoice = areSeveral(found.sources)
  const whose = `by ${verdict.egress !== undefined ? "rule" : user?.egress !== undefined ? "user" : "egress"}`
  const sticks = isChoice ? stickWords(found.by === "user" ? "user" : "session", visitor) : undefined
  const by = sticks === undefined ? whose : `${whose}; ${sticks}`
  const from = { user: name, session }
  // When a session began is not known here, and so not which one it has.
  const isKnown = Egress.keyOf(found.by, from) !== undefined && (found.by === "user" || stickFor === undefined)
  if (isChoice && !isKnown) return `egress: one of ${found.sources.map(Egress.format).join(", ")} (${by})`
  const chosen = found.choose(from)
  const addresses = [chosen.ipv4, chosen.ipv6].flatMap((address) =>
    address === undefined ? [] : [NetAddress.formatIp(address)]
  )
  return `egress: ${addresses.length === 0 ? "nothing to go out from" : addresses.join(", ")} (${by})`
}
