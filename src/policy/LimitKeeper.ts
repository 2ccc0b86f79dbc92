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
import type { LimitExceeded, Who } from "./LimitStore.ts"
import type { MemoryLease, MemoryLimits } from "./MemoryLimits.ts"

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

/** A lease of the channel, with the flows that it was told of: others may hold for its holders since. */
interface Held {
  readonly lease: MemoryLease
  readonly flows: ReadonlyArray<LocalFlow>
}

export const addressOf = (client: string | undefined): NetAddress.IpAddress | undefined =>
  client === undefined ? undefined : Result.getOrUndefined(NetAddress.ipFromString(client))

class Channel {
  private readonly limits: MemoryLimits["Service"]
  private readonly send: Send<FromKeeper>
  private readonly run: (effect: Effect.Effect<void>) => unknown
  private readonly held = new Map<number, Held>()
  private readonly byFlow = new Map<LocalFlow, Lent>()
  private readonly byNumber = new Map<number, Lent>()
  private lastNumber = 0

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
      case "Ask":
        return this.ask(message)
      case "Change":
        return this.change(message.id, message.limits)
      case "Release":
        return this.release(message.id)
      case "Used":
        for (const [id, bytes] of message.sessions) this.held.get(id)?.lease.used(bytes)
        return
      case "Demand":
        return this.demand(message.flow, message.amount)
      case "Return":
        return this.byNumber.get(message.flow)?.flow.giveBack(message.amount)
    }
  }

  /** All that it has goes back. */
  readonly end = Effect.sync(() => {
    for (const id of this.held.keys()) this.release(id)
  })

  private ask({ client, id, groups, limits, user }: Extract<ToKeeper, { readonly _tag: "Ask" }>): void {
    const who: Who = { client: addressOf(client), groups, limits, user }
    const exhausted = ({ limit, words }: LimitExceeded) => this.send({ _tag: "Exhausted", id, limit, words })
    // The store is in memory: it answers at once, so that a release can't overtake the lease.
    const exit = Effect.runSyncExit(Effect.result(this.limits.admit(who, exhausted)))
    if (Exit.isFailure(exit)) {
      return this.send({ _tag: "Refused", id, limit: "unknown", words: "limit: internal error" })
    }
    if (Result.isFailure(exit.value)) return this.refuse(id, exit.value.failure)
    this.admitted(id, exit.value.success)
  }

  private change(id: number, limits: string): void {
    const held = this.held.get(id)
    if (held === undefined) return
    const result = Effect.runSync(Effect.result(held.lease.changeClass(limits)))
    if (Result.isFailure(result)) this.refuse(id, result.failure)
    else {
      this.admitted(id, held.lease)
      this.forget(held.flows)
    }
  }

  private refuse(id: number, { limit, words }: LimitExceeded): void {
    this.send({ _tag: "Refused", id, limit, words })
  }

  private admitted(id: number, lease: MemoryLease): void {
    const { counts, down, packets, up } = lease
    this.held.set(id, { lease, flows: [...up, ...down, ...packets] })
    const lend = (flows: ReadonlyArray<LocalFlow>) => flows.map((flow) => [this.lend(flow), flow.slice] as const)
    this.send({ _tag: "Admitted", id, up: lend(up), down: lend(down), packets: lend(packets), counts })
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
  private demand(number: number, amount: number): void {
    const flow = this.byNumber.get(number)?.flow
    if (flow === undefined) return
    const share = Math.min(amount, flow.share)
    this.run(Effect.map(flow.take(share), () => this.send({ _tag: "Share", flow: number, amount: share })))
  }
}

/** Serves one of the other processes until the scope closes. */
export const connect = Effect.fnUntraced(function*(
  limits: MemoryLimits["Service"],
  send: Send<FromKeeper>
): Effect.fn.Return<Receive<ToKeeper>, never, Scope.Scope> {
  const channel = new Channel(limits, send, yield* FiberSet.makeRuntime<never>())
  yield* Effect.addFinalizer(() => channel.end)
  return channel.receive
})
