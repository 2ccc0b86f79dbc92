/** From the address in a request to a connection: authorise, resolve, dial. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { UpstreamPools } from "../client/UpstreamPools.ts"
import type { Upstreams } from "../client/Upstreams.ts"
import type { AccessDenied, AccessPolicy, AccessRequest, Verdict } from "../policy/AccessPolicy.ts"
import { unlimited } from "../policy/LimitStore.ts"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { ResolveError, Resolver } from "../transport/Resolver.ts"
import * as Introduction from "./Introduction.ts"
import type { SessionState } from "./SessionState.ts"
import { shaped } from "./Shaper.ts"

/** What finds addresses, and judges them. */
export interface Finder {
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
}

export interface Planner extends Finder {
  /** Other proxies to go through. */
  readonly pools: UpstreamPools["Service"]
}

export interface Services extends Planner {
  readonly dialer: Dialer["Service"]
  /** Whether that holds still by which a session was let in, or got where it is: a reload may have come meanwhile. */
  readonly confirm: (session: SessionState) => Effect.Effect<void, AccessDenied>
}

export type Addresses = Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>

/** Addresses that may be dialled, and how they are served. */
export interface Found {
  readonly addresses: Addresses
  readonly verdict: Verdict
}

/** Those addresses that the policy allows, and serves as the first of them; the first denial when it allows none. */
const allowed = (
  policy: AccessPolicy["Service"],
  request: AccessRequest,
  addresses: Addresses
): Effect.Effect<Found, AccessDenied> =>
  addresses.length === 1
    ? Effect.map(policy.authorizeAddress(request, addresses[0]), (verdict) => ({ addresses, verdict }))
    : allowedOf(policy, request, addresses)

const allowedOf = Effect.fnUntraced(function*(
  policy: AccessPolicy["Service"],
  request: AccessRequest,
  addresses: Addresses
): Effect.fn.Return<Found, AccessDenied> {
  const open: Array<NetAddress.IpAddress> = []
  let verdict: Verdict | undefined
  let denied: AccessDenied | undefined
  for (const address of addresses) {
    const judged = yield* Effect.result(policy.authorizeAddress(request, address))
    if (Result.isFailure(judged)) denied ??= judged.failure
    else if (Equal.equals(verdict ??= judged.success, judged.success)) open.push(address)
  }
  if (verdict !== undefined && Arr.isReadonlyArrayNonEmpty(open)) return { addresses: open, verdict }
  // Every address was denied, so there is a denial: the type can't say that.
  return yield* denied as AccessDenied
})

/** The addresses that a client may reach its destination at: a name that leads inside is no way around. */
const locate = Effect.fnUntraced(function*({ policy, resolver }: Finder, request: AccessRequest) {
  const { host } = request.destination
  // A string is a name: an address with a zone does not come out of `toHostPort`.
  const addresses: Addresses = typeof host === "string" ? yield* resolver.resolve(host as Host.DomainName) : [host]
  return yield* allowed(policy, request, addresses)
})

/** The policy judges the request as sent, and then each address that it leads to. */
export const find = (services: Finder, request: AccessRequest) =>
  Effect.andThen(services.policy.authorize(request), locate(services, request))

/** From this machine. */
export interface DirectPlan extends Found {
  readonly upstreams: undefined
}

/** Through other proxies. */
export interface UpstreamPlan {
  readonly verdict: Verdict
  readonly upstreams: Upstreams["Service"]
  /** `undefined` for a name that goes to them as it is: what it leads to is theirs to judge. */
  readonly addresses: Addresses | undefined
}

/** How a request is to be served that is allowed. */
export type Plan = DirectPlan | UpstreamPlan

/** Judges a request. */
export const plan = Effect.fnUntraced(function*(
  services: Planner,
  request: AccessRequest
): Effect.fn.Return<Plan, AccessDenied | ResolveError> {
  const asSent = yield* services.policy.authorize(request)
  const first = services.pools.find(asSent.via ?? request.pool)
  const isName = typeof request.destination.host === "string"
  if (isName && first?.resolvesNames === true && asSent.undecided !== true) {
    return { verdict: asSent, upstreams: first, addresses: undefined }
  }
  const { addresses, verdict } = yield* locate(services, request)
  const upstreams = services.pools.find(verdict.via ?? request.pool)
  return upstreams === undefined ? { verdict, upstreams, addresses } : { verdict, upstreams, addresses }
})

/** Where a proxy was sent to; 0.0.0.0 where that is a name. */
const nominal = ({ host, port }: Host.HostPort): NetAddress.InetAddress =>
  NetAddress.inetAddressUnsafe(NetAddress.isIpAddress(host) ? host : NetAddress.ipv4Unspecified, port)

/** Through other proxies: of several addresses the first is tried, and the first of the other family. */
const dialThrough = (upstreams: Upstreams["Service"], addresses: Addresses, request: AccessRequest) => {
  const [first] = addresses
  const other = addresses.find((address) => NetAddress.familyOf(address) !== NetAddress.familyOf(first))
  const dial = (address: NetAddress.IpAddress) =>
    upstreams.dial(Host.hostPortUnsafe(address, request.destination.port), request)
  return other === undefined
    ? dial(first)
    : Effect.catchIf(dial(first), ({ reply }) => reply !== Reply.notAllowed, () => dial(other))
}

/** Connects a session to where its client wants to go. */
export const dial = Effect.fnUntraced(function*(services: Services, session: SessionState, asked: Address.Address) {
  const parsed = Address.toHostPort(asked)
  if (Result.isFailure(parsed)) return yield* Effect.fail(parsed.failure)
  const destination = parsed.success
  session.destination = destination
  // Where an earlier request on the same connection went.
  session.address = undefined
  session.granted = undefined
  const request = session.request(destination)
  const { addresses, upstreams, verdict } = yield* plan(services, request)
  if (session.lease !== unlimited) yield* session.lease.identify(session.who(verdict.limits))
  const from = verdict.egress === undefined ? request : { ...request, egress: verdict.egress }
  // While it is dialled too: of several addresses nobody knows yet which one.
  session.granted = { destination, address: addresses?.length === 1 ? addresses[0] : undefined }
  const { address, connection } = upstreams === undefined
    ? yield* services.dialer.dial(addresses, destination.port, from)
    : addresses === undefined
    ? yield* upstreams.dial(destination, from)
    : yield* dialThrough(upstreams, addresses, from)
  session.address = address
  session.granted = { destination, address: upstreams === undefined ? address.address : addresses?.[0] }
  session.verdict = verdict
  yield* services.confirm(session)
  if (verdict.proxyHeader === true) {
    yield* Introduction.send(connection, session.remote, upstreams === undefined ? address : nominal(destination))
  }
  return shaped(connection, session.lease)
})
