/** Who decides for the proxy that a configuration describes: one generation of services, until the next reload. */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as UpstreamPools from "../client/UpstreamPools.ts"
import { Upstreams } from "../client/Upstreams.ts"
import type { Pool } from "../config/UpstreamConfig.ts"
import type { AccessPolicy } from "../policy/AccessPolicy.ts"
import { Authenticator } from "../policy/Authenticator.ts"
import type { BanList } from "../policy/BanList.ts"
import * as InternalNetworks from "../policy/InternalNetworks.ts"
import type { SessionEpochs } from "../policy/SessionEpochs.ts"
import { Dialer } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import { Resolver } from "../transport/Resolver.ts"
import type { Effective } from "./Flags.ts"
import * as KnownUsers from "./KnownUsers.ts"

export interface Deciders {
  readonly authenticator: Authenticator["Service"]
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly dialer: Dialer["Service"]
  readonly pools: UpstreamPools.UpstreamPools["Service"]
  /** Something has happened to users in the middle of a generation: who is being served has to be judged anew. */
  readonly changes: Stream.Stream<unknown>
}

/** What stays from one generation to the next. */
export interface Memory {
  readonly bans: BanList["Service"] | undefined
  readonly epochs: SessionEpochs | undefined
}

/** Those who have no users don't pay for what reads and checks them, nor others for what they don't have. */
const importUsers = Effect.promise(() => import("../policy/Users.ts"))
const importSources = Effect.promise(() => import("../policy/UserSources.ts"))
const importHttp = Effect.promise(() => import("../policy/HttpAuthenticator.ts"))
const importClasses = Effect.promise(() => import("./UnknownClasses.ts"))
const importOptions = Effect.promise(() => import("../policy/UserOptions.ts"))
const importGuard = Effect.promise(() => import("../policy/LoginGuard.ts"))
const importRules = Effect.promise(() => Promise.all([import("../policy/Rules.ts"), import("../policy/RuleEngine.ts")]))
const importPool = Effect.promise(() => import("../client/UpstreamPool.ts"))

const known = Effect.fnUntraced(function*(effective: Effective) {
  const { loaded, settings } = effective
  const { auth, userOptions, users: list } = loaded?.config ?? {}
  const { user: users, users: file } = settings
  const otherwise = auth === undefined ? undefined : yield* Effect.flatMap(importHttp, ({ makeWithFetch }) => {
    const { http: url, timeout, cacheFor, tokenFile: token } = auth
    return makeWithFetch({ url, timeout, cacheFor, token })
  })
  if (otherwise !== undefined && users.length === 0 && file === undefined && list === undefined) {
    return { authenticator: otherwise, changes: Stream.never }
  }
  const Users = yield* importUsers
  const declares = Object.keys(userOptions ?? {}).length > 0
  const sessions = settings.egressBy === "session" && !declares
  const options = { users, sessions, ...otherwise !== undefined && { otherwise } }
  if (file === undefined && list === undefined) {
    return { authenticator: yield* Users.make(options), changes: Stream.never }
  }
  const { make } = yield* importSources
  const { store } = yield* make({
    users,
    plusIsReserved: KnownUsers.plusIsReserved(effective),
    ...list !== undefined && { list },
    ...file !== undefined && { file }
  })
  return { authenticator: Users.fromStore(store, options), changes: store.changes }
})

const authenticator = Effect.fnUntraced(function*(effective: Effective, { bans, epochs }: Memory) {
  const { loaded } = effective
  const { userOptions = {}, limits = {} } = loaded?.config ?? {}
  if (!KnownUsers.areWanted(effective)) {
    const open = yield* Effect.provide(Authenticator, Authenticator.layerOpen)
    // Without a file nobody can have picked a pool that is gone.
    const authenticator = loaded === undefined ? open : (yield* importOptions).judging(userOptions, open)
    return { authenticator, changes: Stream.never }
  }
  let { authenticator, changes } = yield* known(effective)
  if (loaded !== undefined) {
    authenticator = (yield* importClasses).warn(authenticator, limits.classes ?? new Map())
    authenticator = (yield* importOptions).judging(userOptions, authenticator)
  }
  if (Object.keys(userOptions).length > 0) {
    authenticator = (yield* importOptions).wrap(userOptions, authenticator, epochs)
  }
  if (bans !== undefined) {
    const guard = loaded === undefined ? {} : loaded.config.bans
    if (guard !== undefined) authenticator = (yield* importGuard).make(authenticator, bans, guard)
  }
  return { authenticator, changes }
})

const policy = Effect.fnUntraced(function*({ loaded, settings }: Effective) {
  if (loaded === undefined || (loaded.rules.length === 0 && loaded.config.default === "allow")) {
    return yield* InternalNetworks.make(settings)
  }
  const [Rules, RuleEngine] = yield* importRules
  return (yield* Rules.make(RuleEngine.compile(loaded.rules, loaded.config.default), settings)).policy
})

const pools = Effect.fnUntraced(function*({ loaded, settings: { connectTimeout, upstream } }: Effective) {
  const named = Object.entries(loaded?.config.upstreams ?? {})
  if (named.length === 0 && upstream.length === 0) return UpstreamPools.make(new Map(), undefined)
  const { layer } = yield* importPool
  const make = (pool: Pool) =>
    Effect.map(
      // What is a URL was read as one before.
      Effect.orDie(Layer.build(layer({ ...pool, connectTimeout, answerTimeout: connectTimeout }))),
      (context) => Context.get(context, Upstreams)
    )
  const all = yield* Effect.forEach(named, ([name, pool]) => Effect.map(make(pool), (made) => [name, made] as const))
  return UpstreamPools.make(
    new Map(all),
    Arr.isReadonlyArrayNonEmpty(upstream) ? yield* make({ chains: [upstream] }) : undefined
  )
})

/** Makes a generation, whose scope ends what it watches. */
export const make = Effect.fnUntraced(function*(effective: Effective, memory: Memory) {
  const { settings } = effective
  const ways = yield* Layer.build(Layer.merge(DnsResolver.layer({ servers: settings.dns }), Dialer.layer(settings)))
  const deciders: Deciders = {
    ...yield* authenticator(effective, memory),
    policy: yield* policy(effective),
    resolver: Context.get(ways, Resolver),
    dialer: Context.get(ways, Dialer),
    pools: yield* Effect.provide(pools(effective), ways)
  }
  return deciders
})
