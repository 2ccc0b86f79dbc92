/** Datagrams through a SOCKS5 proxy that has granted UDP ASSOCIATE (RFC 1928 §7). */
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import type { Connection } from "../transport/Connection.ts"
import { Datagrams } from "../transport/Datagrams.ts"
import type { ListenError } from "../transport/Transport.ts"
import { toAddress } from "./Negotiation.ts"

/** What a proxy has granted. */
export interface Association {
  /** The association lasts as long as this. */
  readonly connection: Connection
  /** Where the proxy was dialled. */
  readonly address: NetAddress.InetAddress
  /** Where it takes datagrams. */
  readonly relay: NetAddress.InetAddress
  /** Whether it looks names up, and has to be sent them. */
  readonly resolvesNames: boolean
}

/** Who gets what comes. Called from the event loop: must return at once, and never throw. */
export interface Receiver {
  /** A datagram of the proxy's, with what it says is a header before its data. */
  readonly received: (datagram: Uint8Array) => void
  /** One from somebody else: it is dropped. */
  readonly foreign: () => void
  /** One that `send` had taken could not be sent; `code` is the operating system's name for why. */
  readonly failed: (code: string) => void
}

export interface UdpRelay extends Pick<Association, "address" | "resolvesNames"> {
  /** Sends data to where the header says. Never waits: `false` when it is dropped, since too much waits already. */
  readonly send: (header: Uint8Array, data: Uint8Array) => boolean
  /** Succeeds when the proxy has ended the association, or is gone. For one fiber. */
  readonly ended: Effect.Effect<void>
}

/** What stands before the data of a datagram that stands alone. */
export const header = (destination: Host.HostPort): Uint8Array =>
  UdpHeader.codec.encode({ fragment: 0, address: toAddress(destination) })

/**
 * Opens our socket for it, which the scope closes. Datagrams leave from the address that the proxy was dialled from,
 * since a proxy takes them from its client alone.
 */
export const open = Effect.fnUntraced(function*(
  { address, connection, relay, resolvesNames }: Association,
  receiver: Receiver
): Effect.fn.Return<UdpRelay, ListenError, Datagrams | Scope.Scope> {
  const datagrams = yield* Datagrams
  const family = NetAddress.familyOf(relay.address)
  const dialledFrom = connection.local && NetAddress.toCanonical(connection.local).address
  const from = dialledFrom !== undefined && NetAddress.familyOf(dialledFrom) === family
    ? dialledFrom
    : family === "IPv4"
    ? NetAddress.ipv4Unspecified
    : NetAddress.ipv6Unspecified
  const relayHost = NetAddress.formatIp(relay.address)
  const socket = yield* datagrams.bind(NetAddress.inetAddressUnsafe(from, 0), {
    received: (bytes, host, port) =>
      port === relay.port && (host === relayHost || host.split("%")[0] === relayHost)
        ? receiver.received(bytes)
        : receiver.foreign(),
    failed: receiver.failed
  })
  return {
    address,
    resolvesNames,
    send: (header, data) => socket.send([header, data], relayHost, relay.port),
    // Nothing is to come but the end, and what does come is passed over.
    ended: Effect.ignore(Effect.forever(connection.pull))
  }
})
