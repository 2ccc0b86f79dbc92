/** From the address in a request to a connection: authorise, resolve, dial. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { Upstreams } from "../client/Upstreams.ts"
import type { AccessDenied, AccessPolicy, AccessRequest } from "../policy/AccessPolicy.ts"
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

/** Those addresses that the policy allows; the first denial when it allows none. */
const allowed = (
  policy: AccessPolicy["Service"],
  request: AccessRequest,
  addresses: Addresses
): Effect.Effect<Addresses, AccessDenied> =>
  addresses.length === 1
    ? Effect.as(policy.authorizeAddress(request, addresses[0]), addresses)
    : allowedOf(policy, request, addresses)

const allowedOf = Effect.fnUntraced(function*(
  policy: AccessPolicy["Service"],
  request: AccessRequest,
  addresses: Addresses
): Effect.fn.Return<Addresses, AccessDenied> {
  const open: Array<NetAddress.IpAddress> = []
  let denied: AccessDenied | undefined
  for (const address of addresses) {
    const verdict = yield* Effect.result(policy.authorizeAddress(request, address))
    if (Result.isSuccess(verdict)) open.push(address)
    else denied ??= verdict.failure
  }
  if (Arr.isReadonlyArrayNonEmpty(open)) return open
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
const asked = ({ host, port }: Host.HostPort): NetAddress.InetAddress =>
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
    yield* services.policy.authorize(request)
    return yield* upstreams.dial(request.destination, request)
  }
  const addresses = yield* find(services, request)
  const [first] = addresses
  const other = addresses.find((address) => NetAddress.familyOf(address) !== NetAddress.familyOf(first))
  const dial = (address: NetAddress.IpAddress) => upstreams.dial(Host.hostPortUnsafe(address, port), request)
  return yield* other === undefined
    ? dial(first)
    : Effect.catchIf(dial(first), ({ reply }) => reply !== Reply.notAllowed, () => dial(other))
})

/** Connects a session to where its client wants to go. */
export const dial = Effect.fnUntraced(function*(services: Services, session: SessionState, address: Address.Address) {
  const parsed = Address.toHostPort(address)
  if (Result.isFailure(parsed)) return yield* Effect.fail(parsed.failure)
  const destination = parsed.success
  session.destination = destination
  const request: AccessRequest = { client: session.remote, user: session.user, destination }
  const { upstreams } = services
  const { address: dialed, connection } = upstreams === undefined
    ? yield* services.dialer.dial(yield* find(services, request), destination.port, request)
    : yield* dialThrough(services, upstreams, request)
  session.address = dialed
  if (services.policy.sendsProxyHeader?.(request) === true) {
    yield* Introduction.send(connection, session.remote, upstreams === undefined ? dialed : asked(destination))
  }
  return connection
})
