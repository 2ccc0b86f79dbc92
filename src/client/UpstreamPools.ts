/** Other proxies, by name: which of them, or none, a request goes through. */
import * as Context from "effect/Context"
import type { Upstreams } from "./Upstreams.ts"

/** The name for going out from this machine, whatever upstreams there are for all. */
export const direct = "direct"

export class UpstreamPools extends Context.Service<UpstreamPools, {
  /**
   * The upstreams of that name; without a name those that there are for all. `undefined` means that destinations are
   * dialled from here: never the answer to a name that is not known, for which this throws.
   */
  readonly find: (name: string | undefined) => Upstreams["Service"] | undefined
}>()("sluice/client/UpstreamPools") {}

/** Pools by their names; `usual` are those for all. */
export const make = (
  pools: ReadonlyMap<string, Upstreams["Service"]>,
  usual: Upstreams["Service"] | undefined
): UpstreamPools["Service"] => ({
  find: (name) => {
    if (name === undefined) return usual
    if (name === direct) return undefined
    const pool = pools.get(name)
    if (pool === undefined) throw new Error(`there are no upstreams called ${name}`)
    return pool
  }
})
