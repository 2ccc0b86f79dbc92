/** From the address in a request to a connection: authorise, resolve, dial. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { Upstreams } from "../client/Upstreams.ts"
import type { AccessDenied, AccessPolicy, AccessRequest, Verdict } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { Resolver } from "../transport/Resolver.ts"
import * as Introduction from "./Introduction.ts"
import type { SessionState } from "./SessionState.ts"

/** What finds addresses, and judges them. */
export interface Finder {
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
}

export interface Services extends Finder {
  readonly dialer: Dialer["Service"]
  /** Other proxies to go through. */
  readonly upstreams?: Upstreams["Service"] | undefined
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

/**
 * The addresses that a client may reach its destination at. The policy judges
 * the request as sent, and then each address that it leads to: a name that
 * resolves to an internal address is no way around.
 */
export const find = Effect.fnUntraced(function*(services: Finder, request: AccessRequest) {
  yield* services.policy.authorize(request)
  const { host } = request.destination
  // A string is a name: an address with a zone does not come out of `toHostPort`.
  const addresses: Addresses = typeof host === "string"
    ? yield* services.resolver.resolve(host as Host.DomainName)
    : [host]
  return yield* allowed(services.policy, request, addresses)
})

/** Where a proxy was sent to; 0.0.0.0 where that is a name. */
const nominal = ({ host, port }: Host.HostPort): NetAddress.InetAddress =>
  NetAddress.inetAddressUnsafe(NetAddress.isIpAddress(host) ? host : NetAddress.ipv4Unspecified, port)

/**
 * Through other proxies. A name goes to one that looks names up as it is: what it leads to is then that proxy's to judge.
 * Else it is found and judged here, and the first address is tried, and the first of the other family.
 */
const dialThrough = Effect.fnUntraced(function*(
  services: Services,
  upstreams: Upstreams["Service"],
  request: AccessRequest
) {
  const { host, port } = request.destination
  if (typeof host === "string" && upstreams.resolvesNames) {
    const verdict = yield* services.policy.authorize(request)
    return { verdict, judged: undefined, dialed: yield* upstreams.dial(request.destination, request) }
  }
  const { addresses, verdict } = yield* find(services, request)
  const [first] = addresses
  const other = addresses.find((address) => NetAddress.familyOf(address) !== NetAddress.familyOf(first))
  const dial = (address: NetAddress.IpAddress) => upstreams.dial(Host.hostPortUnsafe(address, port), request)
  const dialed = yield* other === undefined
    ? dial(first)
    : Effect.catchIf(dial(first), ({ reply }) => reply !== Reply.notAllowed, () => dial(other))
  return { verdict, judged: first, dialed }
})

/** From this machine. */
const dialDirectly = Effect.fnUntraced(function*({ dialer, ...finder }: Services, request: AccessRequest) {
  const { addresses, verdict } = yield* find(finder, request)
  const { egress } = verdict
  const from = egress === undefined ? request : { ...request, egress }
  const dialed = yield* dialer.dial(addresses, request.destination.port, from)
  return { verdict, judged: dialed.address.address, dialed }
})

/** Connects a session to where its client wants to go. */
export const dial = Effect.fnUntraced(function*(services: Services, session: SessionState, asked: Address.Address) {
  const parsed = Address.toHostPort(asked)
  if (Result.isFailure(parsed)) return yield* Effect.fail(parsed.failure)
  const destination = parsed.success
  session.destination = destination
  const request = session.request(destination)
  const { upstreams } = services
  const { dialed: { address, connection }, judged, verdict } = upstreams === undefined
    ? yield* dialDirectly(services, request)
    : yield* dialThrough(services, upstreams, request)
  session.address = address
  session.granted = { destination, address: judged }
  if (verdict.proxyHeader === true) {
    yield* Introduction.send(connection, session.remote, upstreams === undefined ? address : nominal(destination))
  }
  return connection
})
