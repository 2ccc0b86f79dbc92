/** What a configuration makes of a request, as the proxy would: for tests, checks and explanations. */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import { make as makePools, type UpstreamPools } from "../client/UpstreamPools.ts"
import { Upstreams } from "../client/Upstreams.ts"
import type { AccessRequest, Verdict } from "../policy/AccessPolicy.ts"
import * as RuleEngine from "../policy/RuleEngine.ts"
import * as Rules from "../policy/Rules.ts"
import * as Route from "../server/Route.ts"
import { ResolveError, type Resolver } from "../transport/Resolver.ts"
import type { Loaded } from "./ConfigFile.ts"
import type { Settings } from "./Settings.ts"
import type { Pool } from "./UpstreamConfig.ts"

/** What became of a request. */
export type Judgement =
  | {
    readonly action: "allow"
    /** What decided, in the words of the log. */
    readonly words: string
    readonly verdict: Verdict
    /** Where it would go; `undefined` for a name that goes to an upstream as it is, or that was not looked up. */
    readonly addresses: ReadonlyArray<NetAddress.IpAddress> | undefined
  }
  | { readonly action: "deny"; readonly words: string; readonly reply: number }
  /** The name can't be resolved, or a rule waits for its addresses and there are none. */
  | { readonly action: "undecided"; readonly words: string }

export interface Judge {
  readonly engine: RuleEngine.RuleEngine
  /** Without `addresses`, nothing is known of those of a name. */
  readonly judge: (
    request: AccessRequest,
    addresses: ReadonlyArray<NetAddress.IpAddress> | undefined,
    now: number
  ) => Effect.Effect<Judgement>
  /** What refuses one address to a request, a rule or the internal networks, in the words of the log. */
  readonly refusalOf: (
    request: AccessRequest,
    address: NetAddress.IpAddress,
    now: number
  ) => Effect.Effect<string | undefined>
}

/** Stands for a chain, or several, of which only one thing is asked here. */
const stub = (chains: Pool["chains"]): Upstreams["Service"] =>
  Upstreams.of({
    resolvesNames: chains.every((chain) => ProxyUrl.resolvesNames(Arr.lastNonEmpty(chain))),
    dial: () => Effect.die(new Error("nothing is dialled")),
    list: Effect.succeed([])
  })

const poolsOf = ({ config }: Loaded, { upstream }: Settings): UpstreamPools["Service"] =>
  makePools(
    new Map(Object.entries(config.upstreams).map(([name, { chains }]) => [name, stub(chains)])),
    Arr.isReadonlyArrayNonEmpty(upstream) ? stub([upstream]) : undefined
  )

const resolverTo = (addresses: ReadonlyArray<NetAddress.IpAddress> | undefined): Resolver["Service"] => ({
  resolve: (name) =>
    addresses !== undefined && Arr.isReadonlyArrayNonEmpty(addresses)
      ? Effect.succeed(addresses)
      : Effect.fail(new ResolveError({ reason: "NotFound", name, code: "ENOTFOUND" }))
})

/** A clock that stands still. */
const stopped = (now: number): Clock.Clock => {
  const nanos = BigInt(now) * BigInt(1_000_000)
  return {
    currentTimeMillisUnsafe: () => now,
    currentTimeMillis: Effect.succeed(now),
    currentTimeNanosUnsafe: () => nanos,
    currentTimeNanos: Effect.succeed(nanos),
    monotonicTimeNanosUnsafe: () => nanos,
    monotonicTimeNanos: Effect.succeed(nanos),
    sleep: () => Effect.void
  }
}

/** At that time, and without a log: shadow rules would be told of. */
const quietlyAt = (now: number) => <A>(effect: Effect.Effect<A>): Effect.Effect<A> =>
  effect.pipe(
    Effect.provideService(Clock.Clock, stopped(now)),
    Effect.provideService(References.MinimumLogLevel, "None")
  )

const isName = (host: Host.Host): boolean => typeof host === "string"

/** Makes the judge; nothing is looked up or dialled. */
export const make = Effect.fnUntraced(function*(
  loaded: Loaded,
  settings: Settings
): Effect.fn.Return<Judge, never, Scope.Scope> {
  const engine = RuleEngine.compile(loaded.rules, loaded.config.default)
  const { policy } = yield* Rules.make(engine, settings)
  const pools = poolsOf(loaded, settings)
  const wordsOf = ({ rule }: Verdict): string => rule ?? `default ${loaded.config.default}`

  const judge = Effect.fnUntraced(
    function*(request: AccessRequest, addresses: ReadonlyArray<NetAddress.IpAddress> | undefined) {
      if (addresses === undefined && isName(request.destination.host)) {
        const verdict = yield* policy.authorize(request)
        return verdict.undecided === true
          ? { action: "undecided", words: "needs to know the addresses of the host" } satisfies Judgement
          : { action: "allow", words: wordsOf(verdict), verdict, addresses } satisfies Judgement
      }
      const plan = yield* Route.plan({ policy, pools, resolver: resolverTo(addresses) }, request)
      return {
        action: "allow",
        words: wordsOf(plan.verdict),
        verdict: plan.verdict,
        addresses: plan.addresses
      } satisfies Judgement
    }
  )

  return {
    engine,
    refusalOf: (request, address, now) =>
      policy.authorizeAddress(request, address).pipe(
        Effect.match({ onSuccess: () => undefined, onFailure: ({ rule }) => rule }),
        quietlyAt(now)
      ),
    judge: (request, addresses, now) =>
      judge(request, addresses).pipe(
        Effect.catchTags({
          AccessDenied: ({ reply = 2, rule }) => Effect.succeed<Judgement>({ action: "deny", words: rule, reply }),
          ResolveError: ({ message }) => Effect.succeed<Judgement>({ action: "undecided", words: message })
        }),
        quietlyAt(now)
      )
  }
})

/** The words of a judgement: `allowed by default allow`. */
export const format = (judgement: Judgement): string => {
  switch (judgement.action) {
    case "allow":
      return `allowed by ${judgement.words}`
    case "deny":
      return `denied by ${judgement.words}`
    case "undecided":
      return `undecided: ${judgement.words}`
  }
}
