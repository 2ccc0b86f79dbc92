/** Whether somebody is where the upstreams, and the login service, are said to be. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { ProxyUrl } from "../client/ProxyUrl.ts"
import { Dialer } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { Resolver } from "../transport/Resolver.ts"
import * as Soundness from "./Soundness.ts"

/** Whoever checks a file waits for it. */
const connectTimeout = "2 seconds"

type Address = ProxyUrl["address"]

/** Where a service is that is asked by HTTP. */
const addressOf = (text: string): Address | undefined => {
  const { hostname, port, protocol } = new URL(text)
  const usual = protocol === "https:" ? "443" : "80"
  return Result.getOrUndefined(Host.hostPortFromString(`${hostname}:${port === "" ? usual : port}`))
}

/** Whoever is dialled from here, each once, and what says so. */
const firsts = (subject: Soundness.Subject) => {
  const auth = subject.loaded?.config.auth
  const places = new Map<string, readonly [address: Address, place: string]>()
  const add = (address: Address | undefined, place: string) => {
    if (address === undefined) return
    const key = Host.formatHostPort(address)
    if (!places.has(key)) places.set(key, [address, place])
  }
  for (const { address, source } of Soundness.dialled(subject)) add(address, source)
  if (auth !== undefined) add(addressOf(auth.http), subject.loaded?.sourceOf(["auth", "http"]) ?? "auth.http")
  return [...places.values()]
}

const reach = Effect.fnUntraced(function*({ host, port }: Address) {
  // No URL has one.
  if (NetAddress.isScopedIpv6Literal(host)) return
  const { resolve } = yield* Resolver
  const { dial } = yield* Dialer
  yield* dial(typeof host === "string" ? yield* resolve(host) : Arr.of(host), port)
}, Effect.scoped)

/** A line for each that can't be found or connected to, at the moment and from this machine. */
export const unreached = Effect.fn("UpstreamReach.unreached")(function*(subject: Soundness.Subject) {
  const { dns, egress, egressBy } = subject.settings
  const places = firsts(subject)
  // Who has none doesn't pay for what resolves them.
  if (places.length === 0) return []
  const lines = yield* Effect.forEach(places, ([address, place]) =>
    Effect.match(reach(address), {
      onFailure: ({ message }) => [`${place}: ${message}`],
      onSuccess: () => []
    }), { concurrency: 16 }).pipe(
      Effect.provide([DnsResolver.layer({ servers: dns }), Dialer.layer({ connectTimeout, egress, egressBy })]),
      Effect.provide(NodeTransport.layer())
    )
  return lines.flat()
})
