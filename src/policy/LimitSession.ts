/** One who is in: the lease that `MemoryLimits` gives. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as ClientNetwork from "./ClientNetwork.ts"
import type { LocalFlow } from "./Flow.ts"
import type { LimitAccount, Member } from "./LimitAccount.ts"
import type { Follower, LimitAccounts } from "./LimitAccounts.ts"
import type { Lease, LimitExceeded, Who } from "./LimitStore.ts"

/** What it is beyond a `Lease`. */
export interface MemoryLease extends Lease {
  readonly up: ReadonlyArray<LocalFlow>
  readonly down: ReadonlyArray<LocalFlow>
  readonly packets: ReadonlyArray<LocalFlow>
  /** Where bytes count for somebody, how many it may move before it tells. */
  readonly ahead: number | undefined
  /** Told when other limits hold for it than before, unless that is what `identify` was asked for. */
  changed: (() => void) | undefined
  /** Told when `ahead` is much less than before. */
  narrowed: () => void
}

/** How those are counted who have no address of their own. */
const local = "without an address"

const nothing: ReadonlyArray<never> = []

export class LimitSession implements MemoryLease, Member, Follower {
  up: ReadonlyArray<LocalFlow> = nothing
  down: ReadonlyArray<LocalFlow> = nothing
  packets: ReadonlyArray<LocalFlow> = nothing
  changed: (() => void) | undefined = undefined
  narrowed: () => void = constVoid
  private accounts: ReadonlyArray<LimitAccount> = nothing
  private readonly owner: LimitAccounts
  private readonly tell: (error: LimitExceeded) => void
  private who: Who
  /** Where it is stays the same, whoever it is. */
  private readonly address: Who["client"]
  private client: string | undefined = undefined
  private over = false

  constructor(owner: LimitAccounts, who: Who, tell: (error: LimitExceeded) => void) {
    this.owner = owner
    this.who = who
    this.address = who.client
    this.tell = tell
  }

  get ahead(): number | undefined {
    const all = this.accounts.flatMap(({ ahead }) => ahead ?? [])
    return all.length === 0 ? undefined : Math.min(...all)
  }

  readonly used = (bytes: number): void => {
    for (const account of this.accounts) account.add(bytes)
  }

  exhausted(error: LimitExceeded): void {
    if (this.over) return
    this.over = true
    this.tell(error)
  }

  /** Lets it in as who it is, or as a stranger, of whom no quota is asked. */
  begin(isStranger: boolean): LimitExceeded | undefined {
    const problem = this.enter(this.who, !isStranger)
    if (problem === undefined) this.owner.followers.add(this)
    return problem
  }

  readonly identify = (who: Who): Effect.Effect<void, LimitExceeded> =>
    Effect.suspend(() => {
      const problem = this.enter(who, true)
      return problem === undefined ? Effect.void : Effect.fail(problem)
    })

  readonly reidentify = (who: Who): void => {
    this.who = who
    this.follow()
  }

  follow(): void {
    // It may have gone in the meantime.
    if (!this.owner.followers.has(this)) return
    this.moveTo(this.owner.find(this.who, this.clientName), false)
    this.changed?.()
  }

  readonly release: Effect.Effect<void> = Effect.sync(() => {
    this.over = true
    this.owner.followers.delete(this)
    this.moveTo(nothing, false)
    this.owner.sweep()
  })

  private readonly clientName = (): string =>
    this.client ??= this.address === undefined ? local : ClientNetwork.of(this.address)

  /** Enters all accounts that it is not in yet, or none; leaves the others. */
  private enter(who: Who, quotas: boolean): LimitExceeded | undefined {
    const next = this.owner.find(who, this.clientName)
    const problem = this.problem(next, quotas)
    if (problem === undefined) {
      this.who = who
      this.moveTo(next, true)
    }
    this.owner.sweep()
    return problem
  }

  private problem(next: ReadonlyArray<LimitAccount>, quotas: boolean): LimitExceeded | undefined {
    for (const account of next) {
      const problem = !this.accounts.includes(account)
        ? account.problem(this.clientName(), quotas)
        : quotas
        ? account.usedUp()
        : undefined
      if (problem !== undefined) return problem
    }
    return undefined
  }

  private moveTo(next: ReadonlyArray<LimitAccount>, isNew: boolean): void {
    const before = this.accounts
    if (before.length === 0 && next.length === 0) return
    const client = this.clientName()
    for (const account of next) {
      if (before.includes(account)) continue
      account.enter(client, this, isNew)
      this.owner.wake(account)
    }
    for (const account of before) {
      if (next.includes(account)) continue
      account.leave(client, this)
      if (account.connections === 0) this.owner.rest(account)
    }
    this.accounts = next
    // Also where those are the same: what they limit may be something else.
    this.up = next.flatMap((account) => account.flow("up") ?? nothing)
    this.down = next.flatMap((account) => account.flow("down") ?? nothing)
    this.packets = next.flatMap((account) => account.flow("packets") ?? nothing)
  }
}
