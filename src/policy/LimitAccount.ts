/** What one holder of limits has in use. */
import type * as Clock from "effect/Clock"
import { bandwidth, LocalFlow } from "./Flow.ts"
import { fullWords, type Holder, type Limits, type Rate, tooFastWords, usedUpWords } from "./Limit.ts"
import { type Limited, LimitExceeded } from "./LimitStore.ts"
import { TokenBucket } from "./TokenBucket.ts"
import type { Usage, UsageBook } from "./Usage.ts"

/** A session that has a part in it. */
export interface Member {
  readonly exhausted: (error: LimitExceeded) => void
  /** Much less is left of a quota than it knows of: it may move `ahead` from now on. */
  readonly narrowed: () => void
}

type FlowName = "up" | "down" | "packets"

const flowNames = ["up", "down", "packets"] as const

type FlowRate = readonly [rate: Rate, burst: number]

/** All that came may come at once. */
const wholeRate = (rate: Rate): FlowRate => [rate, rate.count]

const ratesOf = ({ down, udpPackets, up }: Limits): Readonly<Record<FlowName, FlowRate | undefined>> => ({
  up: up === undefined ? undefined : bandwidth(up),
  down: down === undefined ? undefined : bandwidth(down),
  packets: udpPackets === undefined ? undefined : wholeRate(udpPackets)
})

/** What a flow goes on at that is no longer a limit: nobody has to wait there any more. */
const unbounded = bandwidth(1e12)

export class LimitAccount {
  readonly holder: Holder
  connections = 0
  limits: Limits = {}
  private readonly clock: Clock.Clock
  private readonly book: UsageBook
  private readonly devices = new Map<string, number>()
  private readonly members = new Set<Member>()
  private readonly flows: Partial<Record<FlowName, LocalFlow>> = {}
  private fresh: TokenBucket | undefined = undefined
  private usage: Usage | undefined = undefined
  /** The most that somebody who is in has been told of `ahead`. */
  private widest = 0

  constructor(holder: Holder, limits: Limits, clock: Clock.Clock, book: UsageBook) {
    this.holder = holder
    this.clock = clock
    this.book = book
    this.change(limits)
  }

  /** Goes on under other limits, also those who are in. */
  change(limits: Limits): void {
    this.limits = limits
    const rates = ratesOf(limits)
    for (const name of flowNames) {
      const [flow, rate] = [this.flows[name], rates[name]]
      if (flow !== undefined) flow.change(...(rate ?? unbounded))
      if (rate === undefined) delete this.flows[name]
      else if (flow === undefined) this.flows[name] = new LocalFlow(...rate, this.clock)
    }
    const { newConnections } = limits
    if (newConnections === undefined) this.fresh = undefined
    else if (this.fresh === undefined) this.fresh = new TokenBucket(newConnections, newConnections.count, this.now())
    else this.fresh.change(newConnections, newConnections.count, this.now())
    const counts = limits.bytesPerDay !== undefined || limits.bytesPerMonth !== undefined
    if (counts) this.usage ??= this.book.of(this.holder)
    else this.usage = undefined
  }

  flow(name: FlowName): LocalFlow | undefined {
    return this.flows[name]
  }

  /** How many different client addresses are in. */
  get deviceCount(): number {
    return this.devices.size
  }

  /**
   * Where bytes count, how many of them one of those who are in may move before it tells, so that together they stay within
   * what is left.
   */
  get ahead(): number | undefined {
    const { connections, limits: { bytesPerDay = Infinity, bytesPerMonth = Infinity }, usage } = this
    if (usage === undefined) return undefined
    usage.turn(this.now())
    const left = Math.min(bytesPerDay - usage.day, bytesPerMonth - usage.month)
    const ahead = Math.max(0, Math.floor(left / 4 / Math.max(1, connections)))
    this.widest = Math.max(this.widest, ahead)
    return ahead
  }

  /** Whoever was told of more than twice as much is told. */
  private narrow(): void {
    const { widest } = this
    this.widest = 0
    const { ahead } = this
    if (ahead === undefined || ahead >= widest / 2) this.widest = widest
    else for (const member of this.members) member.narrowed()
  }

  /** What is in the way of one more; nothing is taken. Quotas count when they are asked for. */
  problem(client: string, quotas: boolean): LimitExceeded | undefined {
    const { connections, devices, newConnections } = this.limits
    if (connections !== undefined && this.connections >= connections) {
      return this.exceeded("connections", fullWords(this.holder, this.connections, connections, "connections"))
    }
    if (devices !== undefined && this.devices.size >= devices && !this.devices.has(client)) {
      return this.exceeded("devices", fullWords(this.holder, this.devices.size, devices, "devices"))
    }
    const usedUp = quotas ? this.usedUp() : undefined
    if (usedUp !== undefined) return usedUp
    return newConnections !== undefined && this.fresh !== undefined && this.fresh.wait(1, this.now()) > 0
      ? this.exceeded("newConnections", tooFastWords(this.holder, newConnections))
      : undefined
  }

  /** `isNew`: it has just come. Others were here before the limits were. */
  enter(client: string, member: Member, isNew: boolean): void {
    this.connections++
    this.devices.set(client, (this.devices.get(client) ?? 0) + 1)
    this.members.add(member)
    if (isNew) this.fresh?.take(1, this.now())
    this.narrow()
  }

  leave(client: string, member: Member): void {
    this.connections--
    const left = (this.devices.get(client) ?? 1) - 1
    if (left === 0) this.devices.delete(client)
    else this.devices.set(client, left)
    this.members.delete(member)
  }

  /** Counts bytes; who is in has to go when that was too much. */
  add(bytes: number): void {
    if (this.usage === undefined) return
    this.usage.add(bytes, this.now())
    this.book.changed = true
    this.narrow()
    this.endUsedUp()
  }

  /** Who is in has to go when a quota is used up. */
  endUsedUp(): void {
    const error = this.usedUp()
    if (error === undefined) return
    for (const member of this.members) member.exhausted(error)
  }

  /** Whether it is as if nobody had ever been here, but for what is in the book. */
  get isBlank(): boolean {
    return this.connections === 0 && this.fresh?.isFull(this.now()) !== false &&
      flowNames.every((name) => this.flows[name]?.isFull() !== false)
  }

  /** The quota that is used up. */
  usedUp(): LimitExceeded | undefined {
    const { limits: { bytesPerDay, bytesPerMonth }, usage } = this
    if (usage === undefined) return undefined
    usage.turn(this.now())
    if (bytesPerMonth !== undefined && usage.month >= bytesPerMonth) {
      return this.exceeded("bytesPerMonth", usedUpWords(this.holder, bytesPerMonth, "month", usage.monthUntil))
    }
    return bytesPerDay !== undefined && usage.day >= bytesPerDay
      ? this.exceeded("bytesPerDay", usedUpWords(this.holder, bytesPerDay, "day", usage.until))
      : undefined
  }

  private exceeded(limit: Limited, words: string): LimitExceeded {
    return new LimitExceeded({ limit, words })
  }

  private now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }
}
