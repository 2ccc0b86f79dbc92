/** Ports from a range, for sockets that a firewall has to know of. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ListenError } from "./Transport.ts"

/** From `from` to `to`, both included. */
export interface PortRange {
  readonly from: number
  readonly to: number
}

/** Ports of a range that may be found in use by somebody else before the search is given up. */
const maxMisses = 128

/** Binds something to a port, and keeps that port from the next ones until the scope closes. */
export type BindWithin = <A, R>(
  bind: (port: number) => Effect.Effect<A, ListenError, R>
) => Effect.Effect<A, ListenError, R | Scope.Scope>

/**
 * Binds to the ports of a range, to any free one (0) without a range. The search begins anywhere, so that processes that
 * share a range seldom meet; a port that this one uses itself is passed over without asking the system, whatever its
 * address. Fails as the last attempt did.
 */
export const make = (range: PortRange | undefined): BindWithin => {
  if (range === undefined) return (bind) => bind(0)
  const taken = new Set<number>()
  const size = range.to - range.from + 1

  const take = (port: number) =>
    Effect.acquireRelease(
      Effect.sync(() => taken.add(port)),
      () => Effect.sync(() => taken.delete(port))
    )

  /** From the `tried`-th port on, when the first is `first`. */
  const search = <A, R>(
    bind: (port: number) => Effect.Effect<A, ListenError, R>,
    first: number,
    tried: number,
    misses: number
  ): Effect.Effect<A, ListenError, R | Scope.Scope> => {
    const portOf = (place: number) => range.from + (first + place) % size
    let place = tried
    while (place < size - 1 && taken.has(portOf(place))) place++
    const attempt = Effect.tap(bind(portOf(place)), () => take(portOf(place)))
    return place === size - 1 || misses === maxMisses ? attempt : Effect.catchIf(
      attempt,
      ({ code }) => code === "EADDRINUSE",
      () => search(bind, first, place + 1, misses + 1)
    )
  }

  return (bind) => Effect.suspend(() => search(bind, Math.floor(Math.random() * size), 0, 0))
}
