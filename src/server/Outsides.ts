/** All far sides of a UDP association: from this machine, and through other proxies, as the policy has it. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { UpstreamError, Upstreams } from "../client/Upstreams.ts"
import type { AccessRequest } from "../policy/AccessPolicy.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import * as Request from "../protocol/Request.ts"
import type { ListenError } from "../transport/Transport.ts"
import * as DirectOutside from "./DirectOutside.ts"
import type { Inside, NoWay, Outside, Way } from "./Outside.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"
import * as UpstreamOutside from "./UpstreamOutside.ts"

export interface Services extends Route.Planner, DirectOutside.Services {}

type Unopened = ProtocolError | UpstreamError | ListenError

export class Outsides {
  private readonly services: Services
  private readonly session: SessionState
  private readonly scope: Scope.Scope
  private readonly inside: Inside
  private readonly open = new Map<Upstreams["Service"] | undefined, Outside>()
  private readonly opening = Semaphore.makeUnsafe(1)

  /** Whatever is opened is closed with the scope. */
  constructor(services: Services, session: SessionState, scope: Scope.Scope, inside: Inside) {
    this.services = services
    this.session = session
    this.scope = scope
    this.inside = inside
  }

  /** Where most datagrams will go: it has to be there before the client is told that it may send. */
  get usual(): Effect.Effect<Outside, Unopened> {
    return Effect.suspend(() => this.outsideOf(this.services.pools.find(this.session.identity?.pool)))
  }

  choose(request: AccessRequest): Effect.Effect<Way, NoWay> {
    return Effect.flatMap(
      Route.plan(this.services, request),
      (plan) => Effect.flatMap(this.outsideOf(plan.upstreams), (outside) => outside.way(plan, request))
    )
  }

  readonly sweep: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach([...this.open.values()], (outside) => outside.sweep, { discard: true })
  )

  private outsideOf(upstreams: Upstreams["Service"] | undefined): Effect.Effect<Outside, Unopened> {
    return this.opening.withPermit(Effect.suspend(() => {
      const known = this.open.get(upstreams)
      return known === undefined ? this.openOne(upstreams) : Effect.succeed(known)
    }))
  }

  private openOne(upstreams: Upstreams["Service"] | undefined): Effect.Effect<Outside, Unopened> {
    return Effect.flatMap(Scope.fork(this.scope), (scope) =>
      this.begin(upstreams).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void)),
        Effect.flatMap((outside) => {
          const ended = Deferred.makeUnsafe<void>()
          const known: Outside = { way: outside.way, sweep: outside.sweep, ended: Deferred.await(ended) }
          this.open.set(upstreams, known)
          // One that has ended is opened again for the next destination.
          const leave = Effect.gen({ self: this }, function*(this: Outsides) {
            yield* outside.ended
            this.open.delete(upstreams)
            yield* Deferred.succeed(ended, undefined)
            yield* Scope.close(scope, Exit.void)
          })
          return Effect.as(Effect.forkIn(leave, this.scope), known)
        })
      ))
  }

  private begin(upstreams: Upstreams["Service"] | undefined): Effect.Effect<Outside, Unopened, Scope.Scope> {
    if (upstreams === undefined) return DirectOutside.make(this.services, this.inside)
    // Past the upstreams, from this machine, nothing shall leave.
    return upstreams.associate === undefined
      ? Effect.fail(Request.notServed(Request.udpAssociate))
      : UpstreamOutside.make(this.services.datagrams, upstreams.associate, this.session, this.inside)
  }
}
