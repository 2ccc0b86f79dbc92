/**
 * The limits of several processes, kept in one: this side answers `RemoteLimits` in each of the others. When a channel
 * ends, however that comes about, all that was lent over it is given back.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { LocalFlow } from "./Flow.ts"
import type { FromKeeper, ToKeeper } from "./LimitMessage.ts"
import type { MemoryLease } from "./LimitSession.ts"
import type { LimitExceeded, Who } from "./LimitStore.ts"
import type { MemoryLimits } from "./MemoryLimits.ts"

/** Says something to the other side. */
export type Send<A> = (message: A) => void

/** What came from there; messages that are for somebody else are passed over. */
export type Receive<A> = (message: A) => void

/** A flow that leases of a channel have. */
interface Lent {
  readonly flow: LocalFlow
  readonly number: number
  /** How many have it. */
  leases: number
}

/** A lease of the channel, and what the other side was told of it. */
interface Held {
  readonly lease: MemoryLease
  readonly flows: ReadonlyArray<LocalFlow>
  readonly told: string
}

type Ask = Extract<ToKeeper, { readonly _tag: "Ask" }>

type Identify = Extract<ToKeeper, { readonly _tag: "Identify" | "Reidentify" }>

const whoOf = ({ groups, limits, user }: Identify): Who => ({ client: undefined, groups, limits, user })

export const addressOf = (client: string | undefined): NetAddress.IpAddress | undefined =>
  client === undefined ? undefined : Result.getOrUndefined(NetAddress.ipFromString(client))

class Channel {
  private readonly limits: MemoryLimits["Service"]
  private readonly send: Send<FromKeeper>
  private readonly run: (effect: Effect.Effect<void>) => unknown
  private readonly held = new Map<number, Held>()
  private readonly byFlow = new Map<LocalFlow, Lent>()
  private readonly byNumber = new Map<number, Lent>()
  private readonly narrowed = new Set<number>()
  private lastNumber = 0
  private countsStrangers = false

  constructor(
    limits: MemoryLimits["Service"],
    send: Send<FromKeeper>,
    run: (effect: Effect.Effect<void>) => unknown
  ) {
    this.limits = limits
    this.send = send
    this.run = run
  }

  readonly receive: Receive<ToKeeper> = (message) => {
    switch (message._tag) {
      case "Hello":
        return this.send({ _tag: "Strangers", count: this.countsStrangers })
      case "Ask":
        return this.ask(message)
      case "Identify":
        return this.identify(message)
      case "Reidentify":
        return this.held.get(message.id)?.lease.reidentify(whoOf(message))
      case "Release":
        return this.release(message.id)
      case "Used":
        return this.used(message.sessions)
      case "Demand":
        return this.demand(message.flow, message.amount, Math.max(1, message.waiting))
      case "Return":
        return this.byNumber.get(message.flow)?.flow.giveBack(message.amount)
    }
  }

  /** Other limits hold. */
  readonly strangersCount = (count: boolean): void => {
    this.countsStrangers = count
    this.send({ _tag: "Strangers", count })
  }

  /** All that it has goes back. */
  readonly end = Effect.sync(() => {
    for (const id of this.held.keys()) this.release(id)
  })

  private ask({ client: text, groups, id, isStranger, limits, user }: Ask): void {
    const client = addressOf(text)
    const exhausted = ({ limit, words }: LimitExceeded) => this.send({ _tag: "Exhausted", id, limit, words })
    // The store is in memory: it answers at once, so that a release can't overtake the lease.
    const exit = Effect.runSyncExit(Effect.result(
      isStranger === true
        ? this.limits.meet(client, exhausted)
        : this.limits.admit({ client, groups, limits, user }, exhausted)
    ))
    if (Exit.isFailure(exit)) {
      return this.send({ _tag: "Refused", id, limit: "unknown", words: "limit: internal error" })
    }
    if (Result.isFailure(exit.value)) return this.refuse(id, exit.value.failure)
    const lease = exit.value.success
    lease.changed = () => this.tell("Changed", id, lease)
    lease.narrowed = () => this.narrow(id)
    this.tell("Admitted", id, lease)
  }

  private identify(message: Identify): void {
    const { id } = message
    const lease = this.held.get(id)?.lease
    if (lease === undefined) return
    const result = Effect.runSync(Effect.result(lease.identify(whoOf(message))))
    if (Result.isFailure(result)) this.refuse(id, result.failure)
    else this.tell("Admitted", id, lease)
  }

  private used(sessions: ReadonlyArray<readonly [id: number, bytes: number]>): void {
    for (const [id, bytes] of sessions) this.held.get(id)?.lease.used(bytes)
    this.counted(sessions)
  }

  private counted(sessions: ReadonlyArray<readonly [id: number, bytes: number]>): void {
    const counted = sessions.map(([id, bytes]) => [id, bytes, this.held.get(id)?.lease.ahead ?? 0] as const)
    this.send({ _tag: "Counted", sessions: counted })
  }

  /** All of them together: where one is told, others of the same holder are too. */
  private narrow(id: number): void {
    if (this.narrowed.size === 0) {
      queueMicrotask(() => {
        const sessions = [...this.narrowed].map((id) => [id, 0] as const)
        this.narrowed.clear()
        this.counted(sessions)
      })
    }
    this.narrowed.add(id)
  }

  private refuse(id: number, { limit, words }: LimitExceeded): void {
    this.send({ _tag: "Refused", id, limit, words })
  }

  /** Tells what holds for a lease; as a change only where it is one. */
  private tell(_tag: "Admitted" | "Changed", id: number, lease: MemoryLease): void {
    const { ahead, down, packets, up } = lease
    const before = this.held.get(id)
    const lend = (flows: ReadonlyArray<LocalFlow>) => flows.map((flow) => [this.lend(flow), flow.burst] as const)
    const terms = { up: lend(up), down: lend(down), packets: lend(packets), ...ahead !== undefined && { ahead } }
    const told = JSON.stringify({ ...terms, ahead: ahead !== undefined })
    this.held.set(id, { lease, flows: [...up, ...down, ...packets], told })
    // After the new ones, so that one that stays keeps its number.
    if (before !== undefined) this.forget(before.flows)
    if (_tag === "Admitted" || told !== before?.told) this.send({ _tag, id, ...terms })
  }

  private release(id: number): void {
    const held = this.held.get(id)
    if (held === undefined) return
    this.held.delete(id)
    Effect.runSync(held.lease.release)
    this.forget(held.flows)
  }

  /** The number of a flow. */
  private lend(flow: LocalFlow): number {
    const known = this.byFlow.get(flow)
    if (known !== undefined) {
      known.leases++
      return known.number
    }
    const lent: Lent = { flow, number: ++this.lastNumber, leases: 1 }
    this.byFlow.set(flow, lent)
    this.byNumber.set(lent.number, lent)
    return lent.number
  }

  private forget(flows: ReadonlyArray<LocalFlow>): void {
    for (const flow of flows) {
      const lent = this.byFlow.get(flow)
      if (lent === undefined || --lent.leases > 0) continue
      this.byFlow.delete(flow)
      this.byNumber.delete(lent.number)
    }
  }

  /** Waits for its turn among all channels, as a connection does among those of one. */
  private demand(number: number, amount: number, waiting: number): void {
    const flow = this.byNumber.get(number)?.flow
    if (flow === undefined) return
    this.run(Effect.map(flow.lend(this, amount, waiting), (share) => {
      if (this.byNumber.has(number)) this.send({ _tag: "Share", flow: number, amount: share })
      else flow.giveBack(share)
    }))
  }
}

/** Serves one of the other processes until the scope closes. */
export const connect = Effect.fnUntraced(function*(
  limits: MemoryLimits["Service"],
  send: Send<FromKeeper>
): Effect.fn.Return<Receive<ToKeeper>, never, Scope.Scope> {
  const channel = new Channel(limits, send, yield* FiberSet.makeRuntime<never>())
  yield* Effect.addFinalizer(() => channel.end)
  yield* limits.watch(channel.strangersCount)
  return channel.receive
})
