/** The `LimitStore` of a process that shares its limits with others: it asks who keeps them, the `LimitKeeper`. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Flow } from "./Flow.ts"
import type { Receive, Send } from "./LimitKeeper.ts"
import type { FromKeeper, ToKeeper } from "./LimitMessage.ts"
import { type Lease, LimitExceeded, type LimitStore, type Who } from "./LimitStore.ts"
import { RemoteFlow } from "./RemoteFlow.ts"

/** How often it is told how many bytes were moved. */
const usedInterval = "250 millis"

/** How long an answer may take: whoever can't be asked lets nobody in. */
const answerTimeout = "5 seconds"

const noAnswer = new LimitExceeded({ limit: "unknown", words: "limit: who keeps the limits does not answer" })

type Admitted = Extract<FromKeeper, { readonly _tag: "Admitted" }>

/** All flows that leases of this process have. */
class Flows {
  private readonly known = new Map<number, RemoteFlow>()
  private readonly send: Send<ToKeeper>

  constructor(send: Send<ToKeeper>) {
    this.send = send
  }

  get(number: number): RemoteFlow | undefined {
    return this.known.get(number)
  }

  /** For one more lease. */
  hold(number: number, slice: number): RemoteFlow {
    const flow = this.known.get(number) ??
      new RemoteFlow(Math.max(1, slice), (amount) => this.send({ _tag: "Demand", flow: number, amount }))
    this.known.set(number, flow)
    flow.leases++
    return flow
  }

  drop(number: number): void {
    const flow = this.known.get(number)
    if (flow === undefined || --flow.leases > 0) return
    this.known.delete(number)
    const amount = flow.end()
    if (amount > 0) this.send({ _tag: "Return", flow: number, amount })
  }
}

class RemoteLease implements Lease {
  up: ReadonlyArray<Flow> = []
  down: ReadonlyArray<Flow> = []
  packets: ReadonlyArray<Flow> = []
  readonly id: number
  private readonly flows: Flows
  private numbers: ReadonlyArray<number> = []
  private counts = false
  /** Bytes that were not told yet. */
  private untold = 0
  private readonly send: Send<ToKeeper>
  private readonly leave: () => void
  private readonly tell: (error: LimitExceeded) => void
  /** The answer that is waited for. */
  answer: Deferred.Deferred<void, LimitExceeded> | undefined = undefined

  constructor(
    id: number,
    flows: Flows,
    send: Send<ToKeeper>,
    leave: () => void,
    tell: (error: LimitExceeded) => void
  ) {
    this.id = id
    this.flows = flows
    this.send = send
    this.leave = leave
    this.tell = tell
  }

  readonly used = (bytes: number): void => {
    if (this.counts) this.untold += bytes
  }

  /** Bytes since the last time. */
  takeUntold(): number {
    const { untold } = this
    this.untold = 0
    return untold
  }

  /** Asks, and waits; whoever waits no longer has to release it. Can be interrupted wherever it is asked from. */
  request(message: ToKeeper): Effect.Effect<void, LimitExceeded> {
    return Effect.interruptible(Effect.suspend(() => {
      const answer = this.answer = Deferred.makeUnsafe<void, LimitExceeded>()
      this.send(message)
      return Effect.timeoutOrElse(Deferred.await(answer), {
        duration: answerTimeout,
        orElse: () => Effect.fail(noAnswer)
      })
    }))
  }

  readonly changeClass = (limits: string): Effect.Effect<void, LimitExceeded> =>
    this.request({ _tag: "Change", id: this.id, limits })

  readonly release: Effect.Effect<void> = Effect.sync(() => {
    const untold = this.takeUntold()
    if (untold > 0) this.send({ _tag: "Used", sessions: [[this.id, untold]] })
    this.counts = false
    for (const number of this.numbers) this.flows.drop(number)
    this.numbers = []
    this.send({ _tag: "Release", id: this.id })
    this.leave()
  })

  admitted({ counts, down, packets, up }: Admitted): void {
    const before = this.numbers
    this.counts = counts
    // The new ones first, so that a share of one that stays is not given back.
    const hold = (flows: Admitted["up"]) => flows.map(([number, slice]) => this.flows.hold(number, slice))
    this.up = hold(up)
    this.down = hold(down)
    this.packets = hold(packets)
    this.numbers = [...up, ...down, ...packets].map(([number]) => number)
    for (const number of before) this.flows.drop(number)
    this.answered(Effect.void)
  }

  answered(answer: Effect.Effect<void, LimitExceeded>): void {
    if (this.answer !== undefined) Deferred.doneUnsafe(this.answer, answer)
    this.answer = undefined
  }

  exhausted(error: LimitExceeded): void {
    this.tell(error)
  }
}

const asking = (id: number, { client, groups, limits, user }: Who): ToKeeper => ({
  _tag: "Ask",
  id,
  ...client !== undefined && { client: NetAddress.formatIp(client) },
  ...groups !== undefined && { groups },
  ...limits !== undefined && { limits },
  ...user !== undefined && { user }
})

/** The store, and what has to be told of each message that comes from the keeper. */
export const make = Effect.fnUntraced(function*(
  send: Send<ToKeeper>
): Effect.fn.Return<
  { readonly store: LimitStore["Service"]; readonly receive: Receive<FromKeeper> },
  never,
  Scope.Scope
> {
  const leases = new Map<number, RemoteLease>()
  const flows = new Flows(send)
  let lastId = 0

  const tellUsed = Effect.sync(() => {
    const sessions = [...leases.values()].flatMap((lease) => {
      const bytes = lease.takeUntold()
      return bytes === 0 ? [] : [[lease.id, bytes] as const]
    })
    if (sessions.length > 0) send({ _tag: "Used", sessions })
  })
  yield* Effect.forkScoped(Effect.repeat(tellUsed, Schedule.spaced(usedInterval)))

  const admit: LimitStore["Service"]["admit"] = (who, exhausted) =>
    Effect.suspend(() => {
      const id = ++lastId
      const lease = new RemoteLease(id, flows, send, () => leases.delete(id), exhausted)
      leases.set(id, lease)
      // Also when nobody waits for the answer any more.
      return Effect.as(Effect.onError(lease.request(asking(id, who)), () => lease.release), lease)
    })

  const receive: Receive<FromKeeper> = (message) => {
    switch (message._tag) {
      case "Admitted":
        return leases.get(message.id)?.admitted(message)
      case "Refused":
        return leases.get(message.id)?.answered(Effect.fail(new LimitExceeded(message)))
      case "Exhausted":
        return leases.get(message.id)?.exhausted(new LimitExceeded(message))
      case "Share":
        return flows.get(message.flow)?.lent(message.amount)
    }
  }

  return { store: { admit }, receive }
})
