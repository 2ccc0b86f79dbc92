/**
 * The `AccessPolicy` of rules. `InternalNetworks` stays underneath: what a rule allows is inside only if the rule says so,
 * or names the network.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import { AccessDenied, AccessPolicy, type AccessRequest, type Verdict } from "./AccessPolicy.ts"
import * as AddressWords from "./AddressWords.ts"
import * as InternalNetworks from "./InternalNetworks.ts"
import type { Decision, RuleEngine } from "./RuleEngine.ts"
import * as ShadowLog from "./ShadowLog.ts"

/** The rules in force, and how to put others in their place. */
export class Rules extends Context.Service<Rules, {
  readonly current: Effect.Effect<RuleEngine>
  /**
   * From now on others are in force, for what is asked next; without `internal` the same networks stay inside. Running
   * connections are not asked about again by this.
   */
  readonly replace: (engine: RuleEngine, internal?: InternalNetworks.Options) => Effect.Effect<void>
  /** How often each shadow rule has matched since it is in force, by its name. */
  readonly shadowed: Effect.Effect<ReadonlyMap<string, number>>
}>()("sluice/policy/Rules") {}

/** What is in force at a time. */
interface InForce {
  readonly engine: RuleEngine
  readonly guard: InternalNetworks.Guard
  readonly shadows: ShadowLog.ShadowLog
}

const denied = ({ reply, rule, verdict: { log } }: Decision): AccessDenied => new AccessDenied({ rule, reply, log })

/** Makes the policy and the handle to it. See `InternalNetworks.guard`. */
export const make = Effect.fnUntraced(function*(
  engine: RuleEngine,
  internal: InternalNetworks.Options = {}
): Effect.fn.Return<
  { readonly policy: AccessPolicy["Service"]; readonly rules: Rules["Service"] },
  never,
  Scope.Scope
> {
  const scope = yield* Effect.scope
  let inForce: InForce = {
    engine,
    guard: yield* InternalNetworks.guard(internal),
    shadows: ShadowLog.make(engine, scope)
  }

  const decide = (
    request: AccessRequest,
    address: NetAddress.IpAddress | undefined,
    serve: (decision: Decision, guard: InternalNetworks.Guard) => Effect.Effect<Verdict, AccessDenied>
  ): Effect.Effect<Verdict, AccessDenied> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const { engine, guard, shadows } = inForce
      const decision = engine.decide(request, address, now)
      const served = serve(decision, guard)
      return decision.shadows.length === 0 ? served : Effect.andThen(shadows.saw(request, decision.shadows), served)
    })

  const authorizeAddress = (request: AccessRequest, address: NetAddress.IpAddress) =>
    decide(request, address, (decision, guard) => {
      if (decision.action === "deny") return Effect.fail(denied(decision))
      const isOpen = (words: AddressWords.Words) =>
        decision.internal || decision.named(words) >= InternalNetworks.meantFrom(words)
      return Effect.flatMap(
        guard.against(request.client, address, isOpen),
        (rule) => rule === undefined ? Effect.succeed(decision.verdict) : Effect.fail(new AccessDenied({ rule }))
      )
    })

  const policy = AccessPolicy.of({
    authorize: (request) => {
      const literal = AddressWords.literalOf(request.destination.host)
      if (literal !== undefined) return authorizeAddress(request, literal)
      return decide(
        request,
        undefined,
        (decision) =>
          decision.action === "deny" && !decision.undecided
            ? Effect.fail(denied(decision))
            : Effect.succeed(decision.verdict)
      )
    },
    authorizeAddress,
    authorizeCommand: (request) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const decision = inForce.engine.decideCommand(request, now)
        if (decision === undefined) return AccessPolicy.permit
        return decision.action === "deny" ? Effect.fail(denied(decision)) : Effect.succeed(decision.verdict)
      })
  })

  const rules = Rules.of({
    current: Effect.sync(() => inForce.engine),
    replace: Effect.fn("Rules.replace")(function*(engine, internal) {
      const guard = internal === undefined ? inForce.guard : yield* InternalNetworks.guard(internal)
      inForce = { engine, guard, shadows: ShadowLog.make(engine, scope) }
    }),
    shadowed: Effect.sync(() => inForce.shadows.counts())
  })
  return { policy, rules }
})

/** The rules that are in force at first, on top of `InternalNetworks`. */
export const layer = (
  engine: RuleEngine,
  internal?: InternalNetworks.Options
): Layer.Layer<AccessPolicy | Rules> =>
  Layer.effectContext(Effect.map(
    make(engine, internal),
    ({ policy, rules }) => Context.make(AccessPolicy, policy).pipe(Context.add(Rules, rules))
  ))
