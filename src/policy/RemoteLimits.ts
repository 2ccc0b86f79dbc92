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
import { RemoteQuota, Untold } from "./RemoteQuota.ts"

/** How often it is told how many bytes were moved. */
const usedInterval = "250 millis"

/** How long an answer may take: whoever can't be asked lets nobody in. */
const answerTimeout = "5 seconds"

const noAnswer = new LimitExceeded({ limit: "unknown", words: "limit: who keeps the limits does not answer" })

type Terms = Extract<FromKeeper, { readonly _tag: "Admitted" | "Changed" }>

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
  hold(number: number, burst: number): RemoteFlow {
    const flow = this.known.get(number) ??
      new RemoteFlow(burst, (amount, waiting) => this.send({ _tag: "Demand", flow: number, amount, waiting }))
    this.known.set(number, flow)
    flow.change(burst)
    flow.leases++
    return flow
  }

  /** No share will come any more. */
  endAll(): void {
    for (const flow of this.known.values()) flow.end()
  }

  drop(number: number): void {
    const flow = this.known.get(number)
    if (flow === undefined || --flow.leases > 0) return
    this.known.delete(number)
    const amount = flow.end()
    if (amount > 0) this.send({ _tag: "Return", flow: number, amount })
  }
}

/** What the leases of a process share. */
interface Shared {
  readonly flows: Flows
  readonly untold: Untold
  readonly send: Send<ToKeeper>
  readonly leases: Map<number, RemoteLease>
}

const identityOf = ({ groups, limits, user }: Who) => ({
  ...groups !== undefined && { groups },
  ...limits !== undefined && { limits },
  ...user !== undefined && { user }
})

const groupsOf = ({ groups = [] }: Who): string => JSON.stringify(groups)

const isSame = (a: Who, b: Who): boolean => a.user === b.user && a.limits === b.limits && groupsOf(a) === groupsOf(b)

interface Flowing {
  readonly up: ReadonlyArray<Flow>
  readonly down: ReadonlyArray<Flow>
}

class RemoteLease implements Lease {
  up: ReadonlyArray<Flow> = []
  down: ReadonlyArray<Flow> = []
  packets: ReadonlyArray<Flow> = []
  private readonly id: number
  private readonly shared: Shared
  private readonly tell: (error: LimitExceeded) => void
  private who: Who
  /** Whether the keeper knows of it, and whether as who it is. */
  private asked = false
  private identified = false
  private counts = false
  private terms: Flowing = { up: [], down: [] }
  private readonly quota: RemoteQuota
  private numbers: ReadonlyArray<number> = []
  /** The answer that is waited for. */
  private answer: Deferred.Deferred<void, LimitExceeded> | undefined = undefined

  constructor(id: number, shared: Shared, client: Who["client"], tell: (error: LimitExceeded) => void) {
    this.id = id
    this.shared = shared
    this.who = { client }
    this.tell = tell
    this.quota = new RemoteQuota(id, shared.untold, () => this.pass())
    shared.leases.set(id, this)
  }

  readonly used = (bytes: number): void => this.quota.used(bytes)

  /** So many bytes have been counted. */
  counted(bytes: number, ahead: number): void {
    if (this.counts) this.quota.counted(bytes, ahead)
  }

  /** Asks for it; whoever waits for that no longer has to release it. */
  ask(who: Who, isStranger: boolean): Effect.Effect<void, LimitExceeded> {
    return Effect.suspend(() => {
      const { client } = who
      this.who = who
      this.asked = true
      this.identified = !isStranger
      return this.request({
        _tag: "Ask",
        id: this.id,
        ...identityOf(who),
        ...client !== undefined && { client: NetAddress.formatIp(client) },
        ...isStranger && { isStranger }
      })
    })
  }

  readonly identify = (who: Who): Effect.Effect<void, LimitExceeded> =>
    Effect.suspend(() => {
      if (!this.asked) return this.ask(who, false)
      // Of a stranger, no quota was asked.
      const isKnown = this.identified || !this.counts
      this.identified = true
      if (isKnown && isSame(who, this.who)) return Effect.void
      const before = this.who
      this.who = who
      return Effect.tapError(
        this.request({ _tag: "Identify", id: this.id, ...identityOf(who) }),
        () => Effect.sync(() => void (this.who = before))
      )
    })

  readonly reidentify = (who: Who): void => {
    if (!this.asked || isSame(who, this.who)) return
    this.who = who
    this.shared.send({ _tag: "Reidentify", id: this.id, ...identityOf(who) })
  }

  readonly release: Effect.Effect<void> = Effect.sync(() => {
    const { flows, leases, send, untold } = this.shared
    // It may be what ends others, and this one.
    untold.tell(this.id)
    leases.delete(this.id)
    this.quota.set(undefined)
    for (const number of this.numbers) flows.drop(number)
    this.numbers = []
    if (this.asked) send({ _tag: "Release", id: this.id })
  })

  /** Other flows are to be passed from now on. */
  follow({ ahead, down, packets, up }: Terms): void {
    const { flows } = this.shared
    const before = this.numbers
    this.counts = ahead !== undefined
    // The new ones first, so that a share of one that stays is not given back.
    const hold = (terms: Terms["up"]) => terms.map(([number, burst]) => flows.hold(number, burst))
    this.terms = { up: hold(up), down: hold(down) }
    this.packets = hold(packets)
    this.pass()
    this.quota.set(ahead)
    this.numbers = [...up, ...down, ...packets].map(([number]) => number)
    for (const number of before) flows.drop(number)
  }

  /** What is to be passed, first of all the quota. */
  private pass(): void {
    const { quota, terms: { down, up } } = this
    this.up = quota.isInTheWay ? [quota, ...up] : up
    this.down = quota.isInTheWay ? [quota, ...down] : down
  }

  answered(answer: Effect.Effect<void, LimitExceeded>): void {
    const waiting = this.answer
    // Whoever waits goes on at once, and may have asked for something else by the time it returns.
    this.answer = undefined
    if (waiting !== undefined) Deferred.doneUnsafe(waiting, answer)
  }

  exhausted(error: LimitExceeded): void {
    this.tell(error)
  }

  /** Can be interrupted wherever it is asked from. */
  private request(message: ToKeeper): Effect.Effect<void, LimitExceeded> {
    return Effect.interruptible(Effect.suspend(() => {
      const answer = this.answer = Deferred.makeUnsafe<void, LimitExceeded>()
      this.shared.send(message)
      return Effect.timeoutOrElse(Deferred.await(answer), {
        duration: answerTimeout,
        orElse: () => Effect.fail(noAnswer)
      })
    }))
  }
}

/** The store, and what has to be told of each message that comes from the keeper. */
export const make = Effect.fnUntraced(function*(
  send: Send<ToKeeper>
): Effect.fn.Return<
  {
    readonly store: LimitStore["Service"]
    readonly receive: Receive<FromKeeper>
    /** The keeper is gone: those who are in go on without limits, for they could only wait. */
    readonly abandoned: () => void
  },
  never,
  Scope.Scope
> {
  const untold = new Untold(send)
  const leases = new Map<number, RemoteLease>()
  const shared: Shared = { flows: new Flows(send), untold, send, leases }
  let lastId = 0
  // Those who come before that is known are asked about.
  let countsStrangers = true
  yield* Effect.forkScoped(Effect.repeat(Effect.sync(untold.tellAll), Schedule.spaced(usedInterval)))

  /** Of whom the keeper has to know. */
  const begin = (who: Who, exhausted: (error: LimitExceeded) => void, isStranger: boolean) =>
    Effect.suspend(() => {
      const lease = new RemoteLease(++lastId, shared, who.client, exhausted)
      if (isStranger && !countsStrangers) return Effect.succeed(lease)
      // Also when nobody waits for the answer any more.
      return Effect.as(Effect.onError(lease.ask(who, isStranger), () => lease.release), lease)
    })

  const receive: Receive<FromKeeper> = (message) => {
    switch (message._tag) {
      case "Admitted":
        leases.get(message.id)?.follow(message)
        return leases.get(message.id)?.answered(Effect.void)
      case "Changed":
        return leases.get(message.id)?.follow(message)
      case "Refused":
        return leases.get(message.id)?.answered(Effect.fail(new LimitExceeded(message)))
      case "Exhausted":
        return leases.get(message.id)?.exhausted(new LimitExceeded(message))
      case "Counted":
        for (const [id, bytes, ahead] of message.sessions) leases.get(id)?.counted(bytes, ahead)
        return
      case "Strangers":
        countsStrangers = message.count
        return
      case "Share":
        return shared.flows.get(message.flow)?.lent(message.amount)
    }
  }

  send({ _tag: "Hello" })
  return {
    store: {
      admit: (who, exhausted) => begin(who, exhausted, false),
      meet: (client, exhausted) => begin({ client }, exhausted, true)
    },
    receive,
    abandoned: () => shared.flows.endAll()
  }
})
