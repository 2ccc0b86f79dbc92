/** The proxy that is probed: how one gets to it, and through it. */
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import * as Negotiation from "../client/Negotiation.ts"
import { type ProxyError, ProxyUnreachable } from "../client/ProxyError.ts"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import type { Datagrams } from "../transport/Datagrams.ts"
import * as TlsClient from "../transport/TlsClient.ts"
import type { Transport } from "../transport/Transport.ts"
import { Talk } from "./Talk.ts"

export type Family = "socks5" | "socks4" | "http"

export const familyNames: Readonly<Record<Family, string>> = { socks5: "SOCKS5", socks4: "SOCKS4", http: "HTTP" }

export interface Proxy {
  readonly url: ProxyUrl.ProxyUrl
  readonly family: Family
  readonly negotiation: Negotiation.Negotiation
  /** The one of its addresses that answers. */
  readonly address: NetAddress.InetAddress
  readonly transport: Transport["Service"]
  readonly datagrams: Datagrams["Service"]
  /** Connected, with TLS where the URL says so; nothing is said yet. */
  readonly open: Effect.Effect<Talk, ProxyError, Scope.Scope>
  /** The same, and logged in where the URL says so. */
  readonly greeted: Effect.Effect<Talk, ProxyError, Scope.Scope>
  /** Connected with a destination. `early` goes out in one write with the request. */
  readonly through: (
    destination: Host.HostPort,
    early?: Uint8Array
  ) => Effect.Effect<Talk, ProxyError, Scope.Scope>
}

export const familyOf = ({ protocol }: ProxyUrl.ProxyUrl): Family => {
  switch (protocol) {
    case "socks5":
    case "socks5h":
      return "socks5"
    case "socks4":
    case "socks4a":
      return "socks4"
    case "http":
    case "https":
      return "http"
  }
}

export interface Ways extends Pick<Proxy, "url" | "address" | "transport" | "datagrams"> {}

export const make = (ways: Ways): Proxy => {
  const { address, transport, url } = ways
  const name = ProxyUrl.format(url)
  const negotiation = Negotiation.make(url)
  const unreachable = ({ code }: { readonly code: string }) => new ProxyUnreachable({ proxy: name, code })

  const open = Effect.gen(function*() {
    const plain = yield* Effect.mapError(transport.connect(address), unreachable)
    if (url.protocol !== "https") return new Talk(plain, name)
    return new Talk(yield* Effect.mapError(TlsClient.secure(plain, url.address.host), unreachable), name)
  })

  const greeted = Effect.tap(open, (talk) => talk.greet(negotiation))

  return {
    ...ways,
    family: familyOf(url),
    negotiation,
    open,
    greeted,
    through: Effect.fnUntraced(function*(destination, early) {
      const request = yield* Effect.fromResult(negotiation.request(destination))
      const talk = yield* greeted
      yield* talk.ask(negotiation, early === undefined ? request : Buffer.concat([request, early]))
      return talk
    })
  }
}
