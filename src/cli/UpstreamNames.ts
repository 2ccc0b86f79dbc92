/** Whether the hosts of upstreams can be found. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import type { ProxyUrl } from "../client/ProxyUrl.ts"
import type { Loaded } from "../config/ConfigFile.ts"
import type { Settings } from "../config/Settings.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import { Resolver } from "../transport/Resolver.ts"

/** Only the first proxy of a chain is looked up here. */
const firsts = ({ config, sourceOf }: Loaded, { upstream }: Settings): ReadonlyMap<string, string> => {
  const places = new Map<string, string>()
  const add = (proxy: ProxyUrl | undefined, place: string) => {
    const host = proxy?.address.host
    if (typeof host === "string" && !places.has(host)) places.set(host, place)
  }
  add(upstream[0], sourceOf(["upstream"]))
  for (const [name, { chains }] of Object.entries(config.upstreams)) {
    for (const [index, [proxy]] of chains.entries()) add(proxy, sourceOf(["upstreams", name, "proxies", index]))
  }
  return places
}

/** A line for each host that has no address, at the moment and as far as this machine can tell. */
export const unknown = Effect.fn("UpstreamNames.unknown")(function*(loaded: Loaded, settings: Settings) {
  const places = [...firsts(loaded, settings)]
  // Who has none doesn't pay for what resolves them.
  if (places.length === 0) return []
  const lines = yield* Effect.gen(function*() {
    const { resolve } = yield* Resolver
    return yield* Effect.forEach(places, ([host, place]) =>
      Effect.fromResult(Host.domainNameFromString(host)).pipe(
        Effect.flatMap(resolve),
        Effect.as([]),
        Effect.catch(({ message }) => Effect.succeed([`${place}: ${message}`]))
      ), { concurrency: 8 })
  }).pipe(Effect.provide(DnsResolver.layer({ servers: settings.dns })))
  return lines.flat()
})
