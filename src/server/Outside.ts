/** The far side of a UDP association: how its datagrams leave, and where answers come from. */
import type * as Effect from "effect/Effect"
import type { UpstreamError } from "../client/Upstreams.ts"
import type { AccessDenied, AccessRequest } from "../policy/AccessPolicy.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import type { Dropped } from "./DatagramCounts.ts"
import type { Plan } from "./Route.ts"

/** A way to one destination. */
export interface Way {
  /** When it last carried a datagram, in either direction, in milliseconds; 0 when that is not known. */
  readonly usedAt: number
  /** Sends a datagram, or returns `false` when it is dropped. `now` is in milliseconds. */
  readonly send: (payload: Uint8Array, now: number) => boolean
  /** Called once, when nothing is sent by it any more. */
  readonly release: () => void
}

/** Why there is no way to a destination. */
export type NoWay = AccessDenied | ResolveError | ListenError | UpstreamError | ProtocolError

export interface Outside {
  /** The way to one destination, as it was judged. Sends nothing. */
  readonly way: (plan: Plan, request: AccessRequest) => Effect.Effect<Way, ListenError>
  /** Closes what no way needs any more. To be run only while none is being chosen. */
  readonly sweep: Effect.Effect<void>
  /** Succeeds when it has come to an end by itself. For one fiber. */
  readonly ended: Effect.Effect<void>
}

/** The side of the client, as the outside sees it. */
export interface Inside {
  /** An answer: the parts of the datagram for the client, and how many bytes of it are payload. */
  readonly answered: (parts: ReadonlyArray<Uint8Array>, payload: number) => void
  readonly dropped: (why: Dropped) => void
  /** Milliseconds. */
  readonly now: () => number
}
