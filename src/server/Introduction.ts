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

/** A load balancer writes the header before TLS. Where nothing is read before it, the client may have written what comes. */
const hidden = new ProtocolError({
  frame: ProxyHeader.codec.name,
  reason: new BadProxyHeader({ why: "none is read on a listener with TLS" })
})

/** Those who come from a network, or by a Unix socket of this machine. */
export type Balancer = IpNetwork.IpNetwork | "unix"

/** Whether somebody is one, by the address that it comes from and, where it has come by a Unix socket, that one's name. */
export type IsBalancer = (remote: NetAddress.InetAddress | undefined, label?: string) => boolean

export const among = (balancers: ReadonlyArray<Balancer>): IsBalancer => {
  const unix = balancers.includes("unix")
  const networks = balancers.filter((balancer) => balancer !== "unix")
  return (remote, label) => {
    // The loopback address that it is given is no network's.
    if (label !== undefined) return unix
    if (networks.length === 0 || remote === undefined) return false
    // On a listener for both families, IPv4 comes as IPv6.
    const { address } = NetAddress.toCanonical(remote)
    return networks.some((network) => IpNetwork.contains(network, address))
  }
}

/** Of those who are load balancers; behind it, TLS begins on a listener that has it. */
export const make = (isBalancer: IsBalancer): Introduction => (session, reader) => {
  const { client } = session
  if (!isBalancer(session.remote, client.label)) return undefined
  if (client.insecure === true && client.beginTls === undefined) return Effect.fail(hidden)
  return Effect.flatMap(reader.read(ProxyHeader.codec), (header) => {
    introduce(session, header)
    return client.beginTls?.(reader.takeRest()) ?? Effect.void
  })
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
