/** The connections that are being served: to look at, and to end. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { AccessDenied, AccessPolicy } from "../policy/AccessPolicy.ts"
import type { Authenticator } from "../policy/Authenticator.ts"
import type { SessionInfo, SessionState } from "./SessionState.ts"

/** Provided by `SocksServer.layer`. What it tells is of the moment at which it is asked. */
export class Sessions extends Context.Service<Sessions, {
  /** How many there are. */
  readonly count: Effect.Effect<number>
  /** All of them, oldest first. */
  readonly list: Effect.Effect<ReadonlyArray<SessionInfo>>
  readonly get: (id: number) => Effect.Effect<Option.Option<SessionInfo>>
  /** Ends one, and waits until both its sockets are closed; `false` when there is none of that id. */
  readonly interrupt: (id: number) => Effect.Effect<boolean>
}>()("sluice/server/Sessions") {}

/** Who decides about sessions. */
export interface Judges {
  readonly authenticator: Authenticator["Service"]
  readonly policy: AccessPolicy["Service"]
}

/** Whoever is not in yet will be asked who it is. */
const reidentify = (session: SessionState, limits?: string): void => {
  if (session.phase !== "handshake") session.lease.reidentify(session.who(limits))
}

/** Why a session may not go on: in the words of the log, and as the client is told that waits for an answer. */
interface Objection {
  readonly reason: string
  readonly error: AccessDenied
}

const objection = (reason: string): Objection => ({ reason, error: new AccessDenied({ rule: reason }) })

const denial = (error: AccessDenied): Objection => ({ reason: error.message, error })

/** What speaks against a session; `undefined` for nothing. A service that breaks ends nobody. */
const rejudge = Effect.fnUntraced(
  function*({ authenticator, policy }: Judges, session: SessionState): Effect.fn.Return<Objection | undefined> {
    const { granted, identity } = session
    // A name out of a certificate is not the authenticator's.
    if (identity !== undefined && authenticator.recheck !== undefined && session.client.peerName === undefined) {
      const now = yield* authenticator.recheck(identity, session.remote)
      if (now === undefined) return objection("the user may not log in any more")
      session.admit(now)
    }
    // In the handshake it will be told so.
    if (identity === undefined && authenticator.required && session.phase !== "handshake") {
      return objection("a login is needed now")
    }
    session.rejudged?.()
    const { command } = session
    let limitClass: string | undefined
    if (command === "associate" || command === "bind") {
      const allowed = yield* Effect.result(policy.authorizeCommand?.(session.commandRequest) ?? AccessPolicy.permit)
      if (Result.isFailure(allowed)) return denial(allowed.failure)
      limitClass = allowed.success.limits
    }
    if (granted === undefined) return void reidentify(session, limitClass)
    const request = session.request(granted.destination)
    const { address } = granted
    return yield* policy.authorize(request).pipe(
      Effect.flatMap((asSent) =>
        address === undefined ? Effect.succeed(asSent) : policy.authorizeAddress(request, address)
      ),
      Effect.match({
        onSuccess: ({ limits = limitClass }) => void reidentify(session, limits),
        onFailure: denial
      })
    )
  },
  (effect) =>
    Effect.catchDefect(effect, (defect) => Effect.as(Effect.logError("judging a session anew died", defect), undefined))
)

/** The registry behind the service. */
export class Registry {
  readonly running = new Map<number, SessionState>()
  private readonly idle = new Set<() => void>()
  private lastId = 0
  /** How often all were judged anew. */
  private rounds = 0

  nextId(): number {
    return ++this.lastId
  }

  add(session: SessionState, fiber: Fiber.Fiber<void>): void {
    session.fiber = fiber
    session.round = this.rounds
    this.running.set(session.id, session)
    fiber.addObserver(() => {
      this.running.delete(session.id)
      if (this.running.size > 0) return
      for (const resume of this.idle) resume()
      this.idle.clear()
    })
  }

  /** Until none is running. */
  readonly awaitEmpty: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.running.size === 0) return resume(Effect.void)
    const wake = () => resume(Effect.void)
    this.idle.add(wake)
    return Effect.sync(() => {
      this.idle.delete(wake)
    })
  })

  /** Ends those who would not be let in any more, or not to where they are. Tells how many. */
  rejudge(services: Judges): Effect.Effect<number> {
    return Effect.suspend(() => {
      this.rounds++
      return Effect.forEach(
        [...this.running.values()],
        (session) =>
          Effect.map(rejudge(services, session), (objection) => {
            if (objection !== undefined) session.cut(objection.reason)
            return objection
          })
      )
    }).pipe(Effect.map((objections) => objections.filter((objection) => objection !== undefined).length))
  }

  /**
   * For one that has been let in, or has got somewhere: what allowed it may be from before all others were judged anew.
   */
  confirm(services: Judges, session: SessionState): Effect.Effect<void, AccessDenied> {
    return Effect.suspend(() => {
      if (session.round === this.rounds) return Effect.void
      session.round = this.rounds
      return Effect.flatMap(
        rejudge(services, session),
        (objection) => objection === undefined ? Effect.void : Effect.fail(objection.error)
      )
    })
  }

  /** Ends all, and waits for it. */
  stopAll(reason: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const session of this.running.values()) session.cut(reason)
      return this.awaitEmpty
    })
  }

  readonly service: Sessions["Service"] = {
    count: Effect.sync(() => this.running.size),
    list: Effect.sync(() => [...this.running.values()].map((session) => session.info)),
    get: (id) => Effect.sync(() => Option.map(Option.fromUndefinedOr(this.running.get(id)), (session) => session.info)),
    interrupt: Effect.fn("Sessions.interrupt")({ self: this }, function*(this: Registry, id: number) {
      const session = this.running.get(id)
      if (session?.fiber === undefined) return false
      session.stop("interrupted")
      yield* Fiber.await(session.fiber)
      return true
    })
  }
}
