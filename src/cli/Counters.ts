/**
 * What is remembered of clients: what they use, how often their logins fail, and which session is which. With workers
 * the supervisor remembers, and they ask it.
 */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Config } from "../config/Config.ts"
import type { BanList } from "../policy/BanList.ts"
import type { LimitStore } from "../policy/LimitStore.ts"
import type { SessionEpochs } from "../policy/SessionEpochs.ts"
import type { Effective } from "./Flags.ts"
import * as KnownUsers from "./KnownUsers.ts"
import type { WorkerProcess } from "./WorkerProcess.ts"

export interface Counters {
  readonly limits: LimitStore["Service"]
  readonly bans: BanList["Service"]
  readonly epochs: SessionEpochs
  /** Goes on by another configuration. */
  readonly replace: (config: Counted) => Effect.Effect<void>
}

// Who has neither a configuration file nor users pays for none of it.
const importConfig = Effect.promise(() => import("../config/LimitConfig.ts"))
const importLimits = Effect.promise(() => import("../policy/MemoryLimits.ts"))
const importBans = Effect.promise(() => import("../policy/BanList.ts"))
const importEpochs = Effect.promise(() => import("../policy/SessionEpochs.ts"))
const importShared = Effect.promise(() => import("../policy/SharedEpochs.ts"))
const importNetworks = Effect.promise(() => import("../policy/ClientNetwork.ts"))
const importMessages = Effect.promise(() => import("../policy/LimitMessage.ts"))
const importKeepers = Effect.promise(() =>
  Promise.all([import("../policy/LimitKeeper.ts"), import("../policy/BanKeeper.ts")])
)
const importRemotes = Effect.promise(() =>
  Promise.all([import("../policy/RemoteLimits.ts"), import("../policy/RemoteBans.ts")])
)

/** What there is to count by. */
export type Counted = Pick<Config, "bans" | "limits">

/** Without a configuration file it is the failed logins that are counted, where there are logins. */
export const countedOf = (effective: Pick<Effective, "loaded" | "settings">): Effect.Effect<Counted | undefined> => {
  const { loaded } = effective
  if (loaded !== undefined) return Effect.succeed(loaded.config)
  return KnownUsers.areWanted(effective)
    ? Effect.map(importConfig, ({ defaultBans }) => ({ bans: defaultBans, limits: {} }))
    : Effect.undefined
}

const memory = Effect.fnUntraced(function*({ bans, limits }: Counted) {
  const [MemoryLimits, BanList] = [yield* importLimits, yield* importBans]
  const { stateFile } = limits
  const counted = yield* MemoryLimits.make(limits, stateFile === undefined ? {} : { stateFile })
  const banned = yield* BanList.memory(bans)
  return {
    limits: counted,
    bans: banned.bans,
    epochs: (yield* importEpochs).make(),
    replace: (next: Counted) =>
      Effect.andThen(
        // Before the limits, so that a quota finds what was used of it.
        Effect.andThen(counted.keepIn(next.limits.stateFile), counted.replace(next.limits)),
        banned.replace(next.bans ?? {})
      )
  }
})

/** Whoever is in the networks that are never banned is banned no more; nor is anybody where nothing follows failed logins. */
const lift = Effect.fnUntraced(function*(bans: BanList["Service"], { bans: options }: Counted) {
  const { isAmong } = yield* importNetworks
  for (const { client } of yield* bans.list) {
    // Of IPv6 it is a network.
    const address = Result.getOrUndefined(NetAddress.ipFromString(client.replace(/\/.*/, "")))
    if (address === undefined) continue
    if (options === undefined || isAmong(options.allow ?? [], address)) yield* bans.lift(address)
  }
})

/** In this process, for this process. */
export const own = Effect.fnUntraced(function*(config: Counted): Effect.fn.Return<Counters, never, Scope.Scope> {
  const { bans, epochs, limits, replace } = yield* memory(config)
  return { bans, epochs, limits, replace: (next) => Effect.andThen(replace(next), lift(bans, next)) }
})

/** In this process, for its workers. */
export const keep = Effect.fnUntraced(function*(config: Counted) {
  const { bans, epochs, limits, replace } = yield* memory(config)
  const [LimitKeeper, BanKeeper] = yield* importKeepers
  const SharedEpochs = yield* importShared
  const { decode, encode } = yield* importMessages
  const keeper = BanKeeper.make(bans)
  return {
    replace: (next: Counted) => Effect.andThen(replace(next), lift(keeper.bans, next)),
    /** Answers a worker for as long as the scope is open, and then takes back all that it had. */
    attend: Effect.fnUntraced(function*(worker: WorkerProcess) {
      const send = (message: Parameters<typeof encode.fromKeeper>[0]) => worker.send(encode.fromKeeper(message))
      const limited = yield* LimitKeeper.connect(limits, send)
      const banned = yield* keeper.connect(send)
      const tagged = SharedEpochs.attend(epochs, send)
      worker.hear((message) => {
        const known = Option.getOrUndefined(decode.toKeeper(message))
        if (known === undefined) return
        limited(known)
        banned(known)
        tagged(known)
      })
    })
  }
})

/** In the supervisor's process. */
export const remote = Effect.gen(function*() {
  const [RemoteLimits, RemoteBans] = yield* importRemotes
  const SharedEpochs = yield* importShared
  const { decode, encode } = yield* importMessages
  const send = (message: Parameters<typeof encode.toKeeper>[0]): void => {
    // Without a supervisor nobody answers, and those who are in are let go on.
    if (process.connected) process.send?.(encode.toKeeper(message))
  }
  const { abandoned, receive, store } = yield* RemoteLimits.make(send)
  const { bans, receive: hear } = yield* RemoteBans.make(send)
  const { epochs, receive: learn } = SharedEpochs.remote(send)
  const listener = (message: unknown): void => {
    const known = Option.getOrUndefined(decode.fromKeeper(message))
    if (known === undefined) return
    receive(known)
    hear(known)
    learn(known)
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("message", listener).once("disconnect", abandoned)),
    () => Effect.sync(() => process.off("message", listener).off("disconnect", abandoned))
  )
  const counters: Counters = { limits: store, bans, epochs, replace: () => Effect.void }
  return counters
})
