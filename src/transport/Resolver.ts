/** Names to addresses, and back: the service. `DnsResolver` is the layer that ships. */
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"

/**
 * A name could not be resolved.
 *
 * - `NotFound`: it does not exist, or has no address.
 * - `TimedOut`: no answer within the resolver's time limit.
 * - `Failed`: the servers answered with a failure, or could not be asked; `code` says which.
 */
export class ResolveError extends Data.TaggedError("ResolveError")<{
  readonly reason: "NotFound" | "TimedOut" | "Failed"
  readonly name: Host.DomainName
  readonly code: string
}> {
  override get message(): string {
    return `can't resolve ${this.name}: ${this.code}`
  }
}

/** Where only one of several addresses can be tried, IPv4 works in more places. */
export const preferred = (addresses: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>): NetAddress.IpAddress =>
  addresses.find(NetAddress.isIpv4Address) ?? addresses[0]

/** Asked for names only, never for literals, once for each connection: a cache is its own business. */
export class Resolver extends Context.Service<Resolver, {
  /** Every address of a name, IPv4 and IPv6, in the order in which they are best tried. */
  readonly resolve: (
    name: Host.DomainName
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>, ResolveError>
  /** The name of an address; the error names it in DNS's reverse form. Without this, clients can't ask for one. */
  readonly reverse?: (address: NetAddress.IpAddress) => Effect.Effect<Host.DomainName, ResolveError>
}>()("sluice/transport/Resolver") {}
