/** Services that stay the same for the server, while those who do their work are exchanged behind them. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as UpstreamPools from "../client/UpstreamPools.ts"
import { AccessPolicy } from "../policy/AccessPolicy.ts"
import { AuthenticationFailed, Authenticator } from "../policy/Authenticator.ts"
import { Dialer } from "../transport/Dialer.ts"
import { Resolver } from "../transport/Resolver.ts"
import type { Deciders } from "./Deciders.ts"

/** Deciders, and what ends them. */
export interface Generation {
  readonly deciders: Deciders
  readonly scope: Scope.Closeable
}

/** Makes a generation in a scope of its own, which is closed when that fails. */
export const generation = <E, R>(
  make: Effect.Effect<Deciders, E, R>
): Effect.Effect<Generation, E, Exclude<R, Scope.Scope>> =>
  Effect.flatMap(Scope.make(), (scope) =>
    make.pipe(
      Scope.provide(scope),
      Effect.map((deciders) => ({ deciders, scope })),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    ))

/** What those still need who asked the last generation for something, such as a name that is being looked up. */
const grace = "30 seconds"

export class Live {
  private current: Generation
  private readonly scope: Scope.Scope

  private constructor(first: Generation, scope: Scope.Scope) {
    this.current = first
    this.scope = scope
  }

  /** The last generation ends with the scope. */
  static readonly make = Effect.fnUntraced(function*(first: Generation) {
    const live = new Live(first, yield* Effect.scope)
    yield* Effect.addFinalizer((exit) => Scope.close(live.current.scope, exit))
    return live
  })

  get generation(): Generation {
    return this.current
  }

  /** Whoever asks from now on asks the new ones. */
  replace(next: Generation): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { scope } = this.current
      this.current = next
      return Effect.asVoid(
        Effect.forkIn(Effect.ensuring(Effect.sleep(grace), Scope.close(scope, Exit.void)), this.scope)
      )
    })
  }

  /** The services as the server has them. */
  get services(): Context.Context<Authenticator | AccessPolicy | Resolver | Dialer | UpstreamPools.UpstreamPools> {
    const now = () => this.current.deciders
    return Context.make(Authenticator, {
      get required() {
        return now().authenticator.required
      },
      authenticate: (credentials) => now().authenticator.authenticate(credentials),
      identify: (username, client) =>
        now().authenticator.identify?.(username, client) ?? Effect.fail(new AuthenticationFailed({ username })),
      recheck: (identity, client) => now().authenticator.recheck?.(identity, client) ?? Effect.succeed(identity)
    }).pipe(
      Context.add(AccessPolicy, {
        authorize: (request) => now().policy.authorize(request),
        authorizeAddress: (request, address) => now().policy.authorizeAddress(request, address),
        authorizeCommand: (request) => now().policy.authorizeCommand?.(request) ?? AccessPolicy.permit
      }),
      Context.add(Resolver, {
        resolve: (name) => now().resolver.resolve(name),
        reverse: (address) =>
          Effect.suspend(() => now().resolver.reverse?.(address) ?? Effect.die(new Error("no reverse lookup")))
      }),
      Context.add(Dialer, {
        dial: (addresses, port, from) => now().dialer.dial(addresses, port, from),
        sources: (from) => now().dialer.sources?.(from)
      }),
      Context.add(UpstreamPools.UpstreamPools, { find: (name) => now().pools.find(name) })
    )
  }
}
