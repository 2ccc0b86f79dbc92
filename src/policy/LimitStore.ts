/** How much of what a client may use: the service. `MemoryLimits` is the one that ships. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import type { Flow } from "./Flow.ts"

/** Who wants to be served. */
export interface Who {
  /** The name that the client logged in as. */
  readonly user?: string | undefined
  readonly groups?: ReadonlyArray<string> | undefined
  /** `undefined` for one that did not come by IP: all of those are one. */
  readonly client: NetAddress.IpAddress | undefined
  /** The class of limits that holds in the place of each user's; one that nobody knows is none. */
  readonly limits?: string | undefined
}

/** All that is limited, but for what flows. `unknown`: nobody could say. */
export const limited = ["connections", "devices", "newConnections", "bytesPerDay", "bytesPerMonth", "unknown"] as const

export type Limited = typeof limited[number]

/** A limit has been reached. The message is for the log, never for the client: it tells of others. */
export class LimitExceeded extends Data.TaggedError("LimitExceeded")<{
  readonly limit: Limited
  /** `limit: user ann has 100 of 100 connections`, `quota: user ann has used up 10GB a day, more from 2026-12-01 (UTC)` */
  readonly words: string
}> {
  override get message(): string {
    return this.words
  }
}

/** What a session holds for as long as it runs. What it has to pass changes with the limits: look each time. */
export interface Lease {
  /** What the bytes to the target have to pass, one after the other. */
  readonly up: ReadonlyArray<Flow>
  /** The same for those to the client. */
  readonly down: ReadonlyArray<Flow>
  /** What each datagram has to pass, in either direction. */
  readonly packets: ReadonlyArray<Flow>
  /** Told of all bytes that are moved; does nothing where nobody counts them. */
  readonly used: (bytes: number) => void
  /** Goes on as who it has turned out to be, or under another class, unless a limit is in the way: then as before. */
  readonly identify: (who: Who) => Effect.Effect<void, LimitExceeded>
  /** Goes on as somebody of whom other things hold now, whatever the limits: who is in, stays. */
  readonly reidentify: (who: Who) => void
  /** Gives it all back. Idempotent. */
  readonly release: Effect.Effect<void>
}

/** Of a session that nothing is held against, nor ever will be. */
export const unlimited: Lease = {
  up: [],
  down: [],
  packets: [],
  used: () => {},
  identify: () => Effect.void,
  reidentify: () => {},
  release: Effect.void
}

export class LimitStore extends Context.Service<LimitStore, {
  /**
   * Lets a session in, or says which limit is in its way; of several, the narrowest. `exhausted` is called at most once,
   * when a quota is used up that the session has a part in: then it has to end. Who is let in has to release the lease.
   */
  readonly admit: (who: Who, exhausted: (error: LimitExceeded) => void) => Effect.Effect<Lease, LimitExceeded>
  /**
   * The same for a client that has not said yet who it is. It counts for its address, and among all; whether a quota is used
   * up is left to `identify`, when it can be told.
   */
  readonly meet: (
    client: Who["client"],
    exhausted: (error: LimitExceeded) => void
  ) => Effect.Effect<Lease, LimitExceeded>
}>()("sluice/policy/LimitStore") {
  /** Without any limit. */
  static readonly layerUnlimited: Layer.Layer<LimitStore> = Layer.succeed(this, {
    admit: () => Effect.succeed(unlimited),
    meet: () => Effect.succeed(unlimited)
  })
}
