/** UDP through a SOCKS5 proxy, for programs of your own. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Address from "../protocol/Address.ts"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import type { Datagrams } from "../transport/Datagrams.ts"
import { Dialer } from "../transport/Dialer.ts"
import { preferred, type ResolveError, Resolver } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import * as Chain from "./Chain.ts"
import type { ProxyError } from "./ProxyError.ts"
import * as ProxyUrl from "./ProxyUrl.ts"
import * as UdpRelay from "./UdpRelay.ts"

/** What came, and from where: an address, of what was sent to by name too. */
export interface Datagram {
  readonly source: Host.HostPort
  readonly payload: Uint8Array
}

/** It ends with the scope, or with the proxy. Datagrams get lost, as everywhere. */
export interface UdpAssociation {
  /**
   * Sends up to 65,497 bytes to `HOST:PORT`, 65,485 to an IPv6 address. Never waits for the network: `false` when the
   * datagram is dropped, since too much waits already, or since it has ended.
   */
  readonly send: (
    payload: Uint8Array,
    destination: Host.HostPortInput
  ) => Effect.Effect<boolean, NetAddress.NetAddressError | ResolveError>
  /** Waits for the next one. 1,024 are kept, and what comes behind them is dropped. */
  readonly receive: Effect.Effect<Datagram, Cause.Done>
}

/** The proxy's URL is none, or of no SOCKS5 proxy; the proxy doesn't get to it; there is no socket for it here. */
export type AssociateError = ProxyUrl.ProxyUrlError | ProxyError | ListenError

const capacity = 1024

/** A fragment, or what has no header that makes sense, is nothing. */
const parse = (bytes: Uint8Array): Datagram | undefined => {
  const decoded = UdpHeader.codec.decode(bytes)
  if (decoded._tag !== "Done" || decoded.value.fragment !== 0) return undefined
  const source = Result.getOrUndefined(Address.toHostPort(decoded.value.address))
  return source && { source, payload: bytes.subarray(decoded.size) }
}

/** Asks a `socks5:` or `socks5h:` proxy for UDP ASSOCIATE (RFC 1928 §7). The scope ends it. */
export const associate = Effect.fn("SocksClient.associate")(function*(
  proxy: ProxyUrl.ProxyUrl | string,
  options?: Chain.Options
): Effect.fn.Return<UdpAssociation, AssociateError, Datagrams | Dialer | Resolver | Scope.Scope> {
  const chain = yield* Effect.fromResult(Chain.fromInput(proxy))
  const resolver = yield* Resolver
  const way = Chain.make({ dialer: yield* Dialer, resolver }, chain, options)
  if (way.associate === undefined) {
    return yield* new ProxyUrl.ProxyUrlError({ message: "UDP goes through socks5 and socks5h proxies only" })
  }
  const queue = yield* Queue.dropping<Datagram, Cause.Done>(capacity)
  const relay = yield* UdpRelay.open(yield* way.associate(), {
    received: (bytes) => {
      const datagram = parse(bytes)
      if (datagram !== undefined) Queue.offerUnsafe(queue, datagram)
    },
    foreign: () => {},
    failed: () => {}
  })
  let ended = false
  yield* Effect.addFinalizer(() => Queue.end(queue))
  yield* Effect.forkScoped(Effect.andThen(relay.ended, () => {
    ended = true
    return Queue.end(queue)
  }))

  /** The destination as the proxy is sent it. */
  const sendable = Effect.fnUntraced(function*(destination: Host.HostPortInput) {
    const to = yield* Effect.fromResult(Host.hostPortFromInput(destination))
    if (relay.resolvesNames || typeof to.host !== "string" || NetAddress.isScopedIpv6Literal(to.host)) return to
    const addresses = yield* resolver.resolve(to.host)
    return Host.hostPortUnsafe(preferred(addresses), to.port)
  })

  return {
    send: (payload, destination) =>
      Effect.map(sendable(destination), (to) => !ended && relay.send(UdpRelay.header(to), payload)),
    receive: Queue.take(queue)
  }
})
