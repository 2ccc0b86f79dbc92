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
import { AnswerTimedOut, type ProxyError, type Subject, subjectOf } from "./ProxyError.ts"
import * as ProxyUrl from "./ProxyUrl.ts"
import * as UdpRelay from "./UdpRelay.ts"
import { UpstreamError, Upstreams } from "./Upstreams.ts"

/**
 * How a chain is chosen: each in turn, the one with the fewest connections, or always the same for a user. A session of a
 * user keeps to one in any case.
 */
export const choices = ["round-robin", "least-connections", "user"] as const

export type Choice = typeof choices[number]

export interface Options<Proxies extends Chain.Proxies = Chain.Chain> extends Chain.Options {
  /** One at least. `layer` takes URLs too: one for a single proxy, a list of them for a chain. */
  readonly chains: Arr.NonEmptyReadonlyArray<Proxies>
  /** Default: `round-robin`. With `user`, who has no name is served in turn. */
  readonly choose?: Choice | undefined
  /**
   * What takes a chain out of the pool: so many failures of its own, one after the other, or so many requests that it
   * refused without a reason, or never answered, and that another chain was then granted. Default: 3.
   */
  readonly maxFailures?: number | undefined
  /**
   * How long it stays out, unless a check finds it well before; a check greets only, which says nothing of requests.
   * Default: 30 seconds.
   */
  readonly ejectFor?: Duration.Input | undefined
  /**
   * How often each chain is tried without a destination: dialled, greeted, logged in. Default: 10 seconds where there
   * are several chains, else never. 0 = never.
   */
  readonly checkEvery?: Duration.Input | undefined
  /**
   * Limit for all chains that one request tries together. Default: `connectTimeout` and `answerTimeout` together, so
   * that one chain alone never meets it.
   */
  readonly totalTimeout?: Duration.Input | undefined
}

type Failure = ProxyError | ResolveError

class Member {
  readonly chain: Chain.Chain
  readonly way: Chain.Way
  readonly name: string
  /** The last of its proxies, as errors name it. */
  readonly last: string
  readonly hash: number
  connections = 0
  /** Failures of its own since it last worked. */
  faults = 0
  /** Requests since it last granted one that another chain was granted after it. */
  doubts = 0
  /** When it may be tried again, in milliseconds of the clock. */
  ejectedUntil = 0

  constructor(chain: Chain.Chain, way: Chain.Way) {
    this.chain = chain
    this.way = way
    this.name = chain.map(ProxyUrl.format).join(" ")
    this.last = ProxyUrl.format(Arr.lastNonEmpty(chain))
    this.hash = KeyHash.of(this.name)
  }
}

/** What fails leaves nothing open; what succeeds is closed with the parent. */
const inOwnScope = <A, E>(
  parent: Scope.Scope,
  effect: Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<A, E> =>
  Effect.flatMap(
    Scope.fork(parent),
    (scope) => Effect.onError(Scope.provide(effect, scope), () => Scope.close(scope, Exit.void))
  )

const subject = (error: Failure): Subject => error._tag === "ResolveError" ? "destination" : subjectOf(error)

/** How much each tells to whom none got through for: a word on the destination is worth more than a dead proxy. */
const weights: Readonly<Record<Subject, number>> = { destination: 2, unknown: 1, request: 1, proxy: 0 }

const tellsMore = (error: Failure, than: Failure | undefined): boolean =>
  than === undefined || weights[subject(error)] >= weights[subject(than)]

const counted = <A, E, R>(member: Member, by: Effect.Effect<A, E, R>) =>
  // Counted from now on: those that are under way are a load too.
  Effect.andThen(
    Effect.acquireRelease(
      Effect.sync(() => void member.connections++),
      () => Effect.sync(() => void member.connections--)
    ),
    by
  )

const make = Effect.fnUntraced(function*(options: Options) {
  const { chains, choose = "round-robin", maxFailures = 3 } = options
  const ways: Chain.Ways = { dialer: yield* Dialer, resolver: yield* Resolver }
  const ejectFor = Duration.toMillis(options.ejectFor ?? "30 seconds")
  const checkEvery = Duration.fromInputUnsafe(options.checkEvery ?? (chains.length > 1 ? "10 seconds" : 0))
  const members = Arr.map(chains, (chain) => new Member(chain, Chain.make(ways, chain, options)))
  const totalTimeout = options.totalTimeout === undefined
    ? Duration.sum(Chain.connectTimeout(options), Chain.answerTimeout(options))
    : Duration.fromInputUnsafe(options.totalTimeout)
  let turn = 0

  /** It is there; `asked`: and does what it is asked for, or says why not. */
  const sound = (member: Member, asked: boolean) =>
    Effect.suspend(() => {
      member.faults = 0
      if (asked) member.doubts = 0
      if (member.ejectedUntil === 0 || member.doubts >= maxFailures) return Effect.void
      member.ejectedUntil = 0
      return Effect.annotateLogs(Effect.logInfo("upstream is back"), { upstream: member.name })
    })

  const failed = (member: Member, count: "faults" | "doubts", error: Failure) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (++member[count] < maxFailures) return Effect.void
      const wasOut = member.ejectedUntil > 0
      member.ejectedUntil = now + ejectFor
      return wasOut ? Effect.void : Effect.annotateLogs(Effect.logWarning("upstream is down"), {
        upstream: member.name,
        reason: error.message
      })
    })

  /** What goes by the same chain each time. */
  const stickyKey = (from: From | undefined): string | undefined => {
    if (from?.user === undefined) return undefined
    if (from.session !== undefined) return `${from.user}+${from.session}`
    return choose === "user" ? from.user : undefined
  }

  /** All of them, the one to be tried first in front. Those that are out come last: better one of them than none. */
  const inOrder = (now: number, from: From | undefined): ReadonlyArray<Member> => {
    const start = turn++ % members.length
    const inTurn = [...members.slice(start), ...members.slice(0, start)]
    // Sorting is stable: among equals, each is first in turn.
    const by = (score: (member: Member) => number) => inTurn.sort((a, b) => score(a) - score(b))
    if (choose === "least-connections") by(({ connections }) => connections)
    const key = stickyKey(from)
    // The highest of the hashes of user and chain: when a chain leaves the pool, only its own users go elsewhere.
    if (key !== undefined) {
      const whose = KeyHash.of(key)
      by(({ hash }) => -KeyHash.mix(whose ^ hash))
    }
    return by(({ ejectedUntil }) => ejectedUntil > now ? 1 : 0)
  }

  /**
   * By one chain after the other, until one gets through; `undefined` where a chain can't be asked. `judges`: a word on
   * the destination ends it, and what another chain is granted counts against those that have refused it.
   */
  const through = Effect.fnUntraced(function*<A>(
    from: From | undefined,
    by: (way: Chain.Way) => Effect.Effect<A, Failure, Scope.Scope> | undefined,
    judges: boolean
  ) {
    const parent = yield* Effect.scope
    const story: { tried: number; asked?: Member; error?: Failure } = { tried: 0 }
    const doubted: Array<readonly [member: Member, error: Failure]> = []
    const tell = (error: Failure) => {
      if (tellsMore(error, story.error)) story.error = error
    }
    // One member at least was asked, so that one has failed: the type can't say that.
    const fail = Effect.suspend(() => new UpstreamError({ error: story.error as Failure, tried: story.tried }))

    const attempts = Effect.gen(function*() {
      for (const member of inOrder(yield* Clock.currentTimeMillis, from)) {
        const obtain = by(member.way)
        if (obtain === undefined) continue
        story.asked = member
        story.tried++
        const attempt = yield* Effect.result(inOwnScope(parent, counted(member, obtain)))
        if (Result.isSuccess(attempt)) {
          yield* sound(member, judges)
          // So it was no matter of the destination.
          yield* Effect.forEach(doubted, ([other, error]) => failed(other, "doubts", error), { discard: true })
          return attempt.success
        }
        const error = attempt.failure
        tell(error)
        const about = subject(error)
        if (about === "proxy") yield* failed(member, "faults", error)
        if (about === "unknown" && judges) doubted.push([member, error])
        if (about === "destination") {
          if (error._tag !== "ResolveError") yield* sound(member, judges)
          if (judges || error._tag === "ResolveError") break
        }
      }
      return yield* fail
    })

    return yield* Effect.timeoutOrElse(attempts, {
      duration: totalTimeout,
      orElse: () => {
        if (story.asked !== undefined) tell(new AnswerTimedOut({ proxy: story.asked.last }))
        return fail
      }
    })
  })

  const dial = Effect.fn("Upstreams.dial")((destination: Host.HostPort, from?: From) =>
    through(from, (way) => way.dial(destination, from), true)
  )

  const associate = Effect.fn("Upstreams.associate")(function*(receiver: UdpRelay.Receiver, from?: From) {
    // A refusal is about UDP, which another proxy may well have, and this one is no worse for.
    const association = yield* through(from, (way) => way.associate?.(from), false)
    return yield* UdpRelay.open(association, receiver)
  })

  const check = (member: Member) =>
    Effect.scoped(member.way.check).pipe(
      Effect.matchEffect({
        onSuccess: () => sound(member, false),
        onFailure: (error) => failed(member, "faults", error)
      })
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
        members.map(({ chain, connections, doubts, ejectedUntil, faults }) => ({
          proxies: chain.map(ProxyUrl.format),
          connections,
          failures: faults + doubts,
          ejected: ejectedUntil > now
        }))
    )
  })
})

type Input = Options<Chain.Proxies>

const parse = (
  chains: Input["chains"]
): Result.Result<Arr.NonEmptyReadonlyArray<Chain.Chain>, ProxyUrl.ProxyUrlError> =>
  Result.all(
    Arr.map(chains, (proxies, at) =>
      Result.mapError(Chain.fromInput(proxies), ({ message }) =>
        new ProxyUrl.ProxyUrlError({
          message: chains.length === 1 ? message : `chain ${at + 1} of ${chains.length}: ${message}`
        })))
  )

/**
 * One pool for all connections; what it holds ends with the layer's scope. Fails with a `ProxyUrlError` that says which
 * URL is none; those that are parsed already can't fail.
 */
export function layer(options: Options): Layer.Layer<Upstreams, never, Dialer | Resolver>
export function layer(options: Input): Layer.Layer<Upstreams, ProxyUrl.ProxyUrlError, Dialer | Resolver>
export function layer(options: Input): Layer.Layer<Upstreams, ProxyUrl.ProxyUrlError, Dialer | Resolver> {
  return Layer.effect(
    Upstreams,
    Effect.flatMap(Effect.fromResult(parse(options.chains)), (chains) => make({ ...options, chains }))
  )
}
