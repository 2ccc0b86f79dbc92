/** The far side of a UDP association: how its datagrams leave, and where answers come from. */
import type * as Effect from "effect/Effect"
import type { AccessDenied, AccessRequest } from "../policy/AccessPolicy.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import type { Dropped } from "./DatagramCounts.ts"

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
export type NoWay = AccessDenied | ResolveError | ListenError

export interface Outside {
  /** Judges one destination, and finds the way to it. Sends nothing. */
  readonly choose: (request: AccessRequest) => Effect.Effect<Way, NoWay>
  /** Closes what no way needs any more. To be run only while none is being chosen. */
  readonly sweep: Effect.Effect<void>
  /** Succeeds when it has come to an end by itself: the association ends with it. For one fiber. */
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
