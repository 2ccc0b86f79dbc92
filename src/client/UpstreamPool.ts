/** A pool of chains of proxies, of which each connection takes one. */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Host from "effect/net/Host"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { Dialer, type From } from "../transport/Dialer.ts"
import * as KeyHash from "../transport/KeyHash.ts"
import { type ResolveError, Resolver } from "../transport/Resolver.ts"
import * as Chain from "./Chain.ts"
import { isAnswer, type ProxyError } from "./ProxyError.ts"
import * as ProxyUrl from "./ProxyUrl.ts"
import * as UdpRelay from "./UdpRelay.ts"
import { UpstreamError, Upstreams } from "./Upstreams.ts"

/** How a chain is chosen: each in turn, the one with the fewest connections, or always the same for a user. */
export const choices = ["round-robin", "least-connections", "user"] as const

export type Choice = typeof choices[number]

export interface Options extends Chain.Options {
  /** One at least. */
  readonly chains: Arr.NonEmptyReadonlyArray<Chain.Chain>
  /** Default: `round-robin`. With `user`, who has no name is served in turn. */
  readonly choose?: Choice | undefined
  /** Failures of a chain itself, one after the other, that take it out of the pool. Default: 3. */
  readonly maxFailures?: number | undefined
  /** How long it stays out, unless a check finds it well before. Default: 30 seconds. */
  readonly ejectFor?: Duration.Input | undefined
  /**
   * How often each chain is tried without a destination: dialled, greeted, logged in. Default: 10 seconds where there
   * are several chains, else never. 0 = never.
   */
  readonly checkEvery?: Duration.Input | undefined
}

class Member {
  readonly chain: Chain.Chain
  readonly way: Chain.Way
  readonly name: string
  readonly hash: number
  connections = 0
  failures = 0
  /** When it may be tried again, in milliseconds of the clock. */
  ejectedUntil = 0

  constructor(chain: Chain.Chain, way: Chain.Way) {
    this.chain = chain
    this.way = way
    this.name = chain.map(ProxyUrl.format).join(" ")
    this.hash = KeyHash.of(this.name)
  }
}

/** It is sound, by what it did or said. */
const worked = (member: Member) =>
  Effect.suspend(() => {
    const wasOut = member.ejectedUntil > 0
    member.failures = member.ejectedUntil = 0
    return wasOut
      ? Effect.annotateLogs(Effect.logInfo("upstream is back"), { upstream: member.name })
      : Effect.void
  })

/** What fails leaves nothing open; what succeeds is closed with the parent. */
const inOwnScope = <A, E>(
  parent: Scope.Scope,
  effect: Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<A, E> =>
  Effect.flatMap(
    Scope.fork(parent),
    (scope) => Effect.onError(Scope.provide(effect, scope), () => Scope.close(scope, Exit.void))
  )

const make = Effect.fnUntraced(function*(options: Options) {
  const { chains, choose = "round-robin", maxFailures = 3 } = options
  const ways: Chain.Ways = { dialer: yield* Dialer, resolver: yield* Resolver }
  const ejectFor = Duration.toMillis(options.ejectFor ?? "30 seconds")
  const checkEvery = Duration.fromInputUnsafe(options.checkEvery ?? (chains.length > 1 ? "10 seconds" : 0))
  const members = Arr.map(chains, (chain) => new Member(chain, Chain.make(ways, chain, options)))
  let turn = 0

  const failed = (member: Member, error: ProxyError | ResolveError) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      member.failures++
      if (member.failures < maxFailures) return Effect.void
      const wasOut = member.ejectedUntil > 0
      member.ejectedUntil = now + ejectFor
      return wasOut ? Effect.void : Effect.annotateLogs(Effect.logWarning("upstream is down"), {
        upstream: member.name,
        reason: error.message
      })
    })

  /** All of them, the one to be tried first in front. Those that are out come last: better one of them than none. */
  const inOrder = (now: number, user: string | undefined): ReadonlyArray<Member> => {
    const start = turn++ % members.length
    const inTurn = [...members.slice(start), ...members.slice(0, start)]
    // Sorting is stable: among equals, each is first in turn.
    const by = (score: (member: Member) => number) => inTurn.sort((a, b) => score(a) - score(b))
    if (choose === "least-connections") by(({ connections }) => connections)
    // The highest of the hashes of user and chain: when a chain leaves the pool, only its own users go elsewhere.
    if (choose === "user" && user !== undefined) {
      const whose = KeyHash.of(user)
      by(({ hash }) => -KeyHash.mix(whose ^ hash))
    }
    return by(({ ejectedUntil }) => ejectedUntil > now ? 1 : 0)
  }

  const counted = Effect.fnUntraced(function*<A, E>(member: Member, by: Effect.Effect<A, E, Scope.Scope>) {
    // Counted from now on: those that are under way are a load too.
    yield* Effect.acquireRelease(
      Effect.sync(() => void member.connections++),
      () => Effect.sync(() => void member.connections--)
    )
    const obtained = yield* by
    yield* worked(member)
    return obtained
  })

  /** By one chain after the other, until one gets through; `undefined` where a chain can't be asked. */
  const through = Effect.fnUntraced(function*<A>(
    user: string | undefined,
    by: (way: Chain.Way) => Effect.Effect<A, ProxyError | ResolveError, Scope.Scope> | undefined,
    isFinal: (error: ProxyError) => boolean
  ) {
    const parent = yield* Effect.scope
    let tried = 0
    let last: ProxyError | ResolveError | undefined
    for (const member of inOrder(yield* Clock.currentTimeMillis, user)) {
      const obtain = by(member.way)
      if (obtain === undefined) continue
      tried++
      const attempt = yield* Effect.result(inOwnScope(parent, counted(member, obtain)))
      if (Result.isSuccess(attempt)) return attempt.success
      last = attempt.failure
      // The proxy's word on the destination, and so a sign that it works.
      if (last._tag === "ResolveError" || isAnswer(last)) {
        if (last._tag !== "ResolveError" && last._tag !== "Unsendable") yield* worked(member)
        if (last._tag === "ResolveError" || isFinal(last)) break
      } else yield* failed(member, last)
    }
    // One member at least was asked, so that one has failed: the type can't say that.
    return yield* new UpstreamError({ error: last as ProxyError | ResolveError, tried })
  })

  const dial = Effect.fn("Upstreams.dial")((destination: Host.HostPort, from?: From) =>
    through(from?.user, (way) => way.dial(destination, from), () => true)
  )

  const associate = Effect.fn("Upstreams.associate")(function*(receiver: UdpRelay.Receiver, from?: From) {
    // A refusal is about UDP, which another proxy may well have.
    const association = yield* through(from?.user, (way) => way.associate?.(from), () => false)
    return yield* UdpRelay.open(association, receiver)
  })

  const check = (member: Member) =>
    Effect.scoped(member.way.check).pipe(
      Effect.matchEffect({ onSuccess: () => worked(member), onFailure: (error) => failed(member, error) })
    )

  if (!Duration.isZero(checkEvery)) {
    yield* Effect.forEach(members, check, { concurrency: "unbounded", discard: true }).pipe(
      Effect.delay(checkEvery),
      Effect.forever,
      Effect.forkScoped
    )
  }

  return Upstreams.of({
    resolvesNames: members.every(({ chain }) => ProxyUrl.resolvesNames(Arr.lastNonEmpty(chain))),
    dial,
    ...members.some(({ way }) => way.associate !== undefined) && { associate },
    list: Effect.map(
      Clock.currentTimeMillis,
      (now) =>
        members.map(({ chain, connections, ejectedUntil, failures }) => ({
          proxies: chain.map(ProxyUrl.format),
          connections,
          failures,
          ejected: ejectedUntil > now
        }))
    )
  })
})

/** One pool for all connections; what it holds ends with the layer's scope. */
export const layer = (options: Options): Layer.Layer<Upstreams, never, Dialer | Resolver> =>
  Layer.effect(Upstreams, make(options))
