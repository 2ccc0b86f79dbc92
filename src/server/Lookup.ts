/**
 * Tor's RESOLVE and RESOLVE_PTR (socks-extensions.txt, "Name lookup"): a client asks for a name's address, or for the
 * name of an address, and for no connection.
 *
 * The policy judges both as requests to port 0, and each address that a name leads to: who may not go there is not told.
 */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Address from "../protocol/Address.ts"
import { ProtocolError, UnknownAddressType } from "../protocol/ProtocolError.ts"
import * as Request from "../protocol/Request.ts"
import { preferred } from "../transport/Resolver.ts"
import type { Wish } from "./Dialect.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"

/** What there is to tell, as BND.ADDR of a reply; its port is 0. */
export const answer = Effect.fnUntraced(function*(services: Route.Finder, session: SessionState, wish: Wish) {
  const { host } = yield* Effect.fromResult(Address.toHostPort(wish.address))
  const destination = session.destination = Host.hostPortUnsafe(host, 0)
  const request = session.request(destination)
  if (wish.command === "resolve") {
    // Many ask for one address who know no IPv6.
    const { addresses } = yield* Route.find(services, request)
    const address = preferred(addresses)
    return Address.fromInetAddress(NetAddress.inetAddressUnsafe(address, 0))
  }
  if (typeof host === "string") {
    const reason = new UnknownAddressType({ type: Address.AddressType.Domain })
    return yield* new ProtocolError({ frame: Request.codec.name, reason })
  }
  const { reverse } = services.resolver
  if (reverse === undefined) return yield* Request.notServed(Request.resolvePtr)
  const { addresses: [address] } = yield* Route.find(services, request)
  const told: Address.Address = { _tag: "Domain", name: yield* reverse(address), port: 0 }
  return told
})
