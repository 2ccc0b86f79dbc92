/** From the address in a request to a connection: authorise, resolve, dial. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { AccessDenied, AccessPolicy, AccessRequest } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { Resolver } from "../transport/Resolver.ts"
import type { SessionState } from "./SessionState.ts"

interface Services {
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly dialer: Dialer["Service"]
}

type Addresses = Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>

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
 * Connects a session to where its client wants to go. The policy judges the
 * request as sent, and then each address that would be dialled for it: a name
 * that resolves to an internal address is no way around.
 */
export const dial = Effect.fnUntraced(function*(services: Services, session: SessionState, address: Address.Address) {
  const parsed = Address.toHostPort(address)
  if (Result.isFailure(parsed)) return yield* Effect.fail(parsed.failure)
  const destination = parsed.success
  session.destination = destination
  const request: AccessRequest = { client: session.remote, user: session.user, destination }
  yield* services.policy.authorize(request)
  const { host, port } = destination
  // A string is a name: an address with a zone does not come out of `toHostPort`.
  const addresses: Addresses = typeof host === "string"
    ? yield* services.resolver.resolve(host as Host.DomainName)
    : [host]
  const { address: dialed, connection } = yield* services.dialer.dial(
    yield* allowed(services.policy, request, addresses),
    port
  )
  session.address = dialed
  return connection
})
