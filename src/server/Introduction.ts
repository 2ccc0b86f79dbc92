/**
 * Who a client is, as proxies tell each other: the PROXY protocol, from a load balancer before us and to a target behind
 * us.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import { BadProxyHeader, ProtocolError } from "../protocol/ProtocolError.ts"
import * as ProxyHeader from "../protocol/ProxyHeader.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import { DialError } from "../transport/Transport.ts"
import type { MessageReader } from "./MessageReader.ts"
import type { SessionState } from "./SessionState.ts"

/**
 * Reads the header that a connection must begin with; `undefined` where it comes from nobody who is to send one, so that
 * a client can't give itself out as another.
 */
export type Introduction = (
  session: SessionState,
  reader: MessageReader
) => Effect.Effect<void, ProtocolError | ConnectionError | Cause.Done> | undefined

/** A client that the load balancer does not know is not taken for the load balancer, which may be on this host. */
const introduce = (session: SessionState, header: ProxyHeader.ProxyHeader): void => {
  if (header._tag !== "Local") session.remote = ProxyHeader.client(header)
}

/** A load balancer writes the header before TLS, and what is read here is inside of it: the client may have written that. */
const hidden = new ProtocolError({
  frame: ProxyHeader.codec.name,
  reason: new BadProxyHeader({ why: "none is read on a listener with TLS" })
})

/** Of those who come from these networks. */
export const make = (networks: ReadonlyArray<IpNetwork.IpNetwork>): Introduction => (session, reader) => {
  if (networks.length === 0 || session.remote === undefined) return undefined
  // On a listener for both families, IPv4 comes as IPv6.
  const { address } = NetAddress.toCanonical(session.remote)
  if (!networks.some((network) => IpNetwork.contains(network, address))) return undefined
  if (session.client.insecure === true) return Effect.fail(hidden)
  return Effect.map(reader.read(ProxyHeader.codec), (header) => introduce(session, header))
}

/** Tells a target who its client is, and that it was asked for by the address at which it was dialled. */
export const send = (
  target: Connection,
  client: NetAddress.InetAddress | undefined,
  address: NetAddress.InetAddress
): Effect.Effect<void, DialError> =>
  Effect.mapError(
    target.write(ProxyHeader.codec.encode(ProxyHeader.between(client, address))),
    ({ code }) => new DialError({ reason: "Unknown", address, code })
  )
