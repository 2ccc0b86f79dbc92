/**
 * The `LimitStore` that ships: all of it in this process's memory, and bounded there. What was used of a quota can be
 * kept in a file.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as ClientNetwork from "./ClientNetwork.ts"
import type { LocalFlow } from "./Flow.ts"
import { type Holder, isLimited, keyOf, type Limits, limitsAnybody, type LimitSet } from "./Limit.ts"
import { LimitAccount, type Member } from "./LimitAccount.ts"
import { type Lease, type LimitExceeded, LimitStore, unlimited, type Who } from "./LimitStore.ts"
import { UsageBook } from "./Usage.ts"
import * as UsageFile from "./UsageFile.ts"

export interface Options {
  /** Where the bytes that were used are kept. Default: nowhere, and a restart forgets them. */
  readonly stateFile?: string | undefined
  /** How many clients that are not connected are remembered, and how many users and groups. Default: 65,536. */
  readonly remember?: number | undefined
}

/** What a holder of limits has in use. */
export interface InUse {
  readonly holder: Holder
  readonly limits: Limits
  readonly connections: number
  readonly devices: number
}

/** The lease that it gives. */
export interface MemoryLease extends Lease {
  readonly up: ReadonlyArray<LocalFlow>
  readonly down: ReadonlyArray<LocalFlow>
  readonly packets: ReadonlyArray<LocalFlow>
  /** Whether bytes count for anybody. */
  readonly counts: boolean
  readonly changeClass: (limits: string) => Effect.Effect<void, LimitExceeded>
}

type MemoryAdmit = (
  who: Who,
  exhausted: (error: LimitExceeded) => void
) => Effect.Effect<MemoryLease, LimitExceeded>

/** The store, and what there is to do about it beyond its service. */
export class MemoryLimits extends Context.Service<MemoryLimits, {
  readonly admit: MemoryAdmit
  /** Goes on under other limits. What flows is limited anew at once; who is in, stays. */
  readonly replace: (limits: LimitSet) => Effect.Effect<void>
  /** Who has something in use, or had a moment ago. */
  readonly list: Effect.Effect<ReadonlyArray<InUse>>
}>()("sluice/policy/MemoryLimits") {}

const nobody: MemoryLease = { ...unlimited, up: [], down: [], packets: [], counts: false }

/** All accounts. Those that nobody is in are kept until they are as new, or there are too many. */
class Accounts {
  readonly all = new Map<string, LimitAccount>()
  private readonly idleClients = new Map<string, LimitAccount>()
  private readonly idleOthers = new Map<string, LimitAccount>()
  private readonly room: number
  private readonly make: (holder: Holder, limits: Limits) => LimitAccount

  constructor(room: number, make: (holder: Holder, limits: Limits) => LimitAccount) {
    this.room = room
    this.make = make
  }

  of(holder: Holder, limits: Limits): LimitAccount {
    const key = keyOf(holder)
    const known = this.all.get(key)
    if (known !== undefined) return known
    const account = this.make(holder, limits)
    this.all.set(key, account)
    this.rest(account)
    return account
  }

  /** Somebody is in. */
  wake({ holder }: LimitAccount): void {
    this.idleOf(holder).delete(keyOf(holder))
  }

  /** The last one has left, or nobody was in yet. */
  rest(account: LimitAccount): void {
    this.idleOf(account.holder).set(keyOf(account.holder), account)
  }

  /** Makes room. Each who comes or goes looks at a few that have rested for longest; it has added fewer. */
  sweep(): void {
    for (const idle of [this.idleClients, this.idleOthers]) {
      let looks = 16
      for (const [key, oldest] of idle) {
        if (idle.size > this.room || oldest.isBlank) {
          idle.delete(key)
          this.all.delete(key)
        }
        if (--looks === 0) break
      }
    }
  }

  private idleOf({ kind }: Holder): Map<string, LimitAccount> {
    return kind === "client" ? this.idleClients : this.idleOthers
  }
}

const limitsOf = (set: LimitSet, { class: name, kind, name: group }: Holder): Limits => {
  if (name !== undefined) return set.classes?.get(name) ?? {}
  return (kind === "group" ? set.groups?.get(group) : set[kind]) ?? {}
}

/** The holders whose limits one has to keep, the narrowest first. */
const holdersOf = (set: LimitSet, who: Who, client: string): ReadonlyArray<Holder> => {
  const name = who.limits !== undefined && set.classes?.has(who.limits) === true ? who.limits : undefined
  const classed: Holder | undefined = name !== undefined
    // Without a user it is the client that has the class.
    ? { kind: who.user === undefined ? "client" : "user", name: who.user ?? client, class: name }
    : who.user === undefined
    ? undefined
    : { kind: "user", name: who.user }
  const groups = [...new Set(who.groups)].map((name): Holder => ({ kind: "group", name }))
  const holders: ReadonlyArray<Holder> = [
    ...classed === undefined ? [] : [classed],
    { kind: "client", name: client },
    ...groups,
    { kind: "global", name: "" }
  ]
  return holders.filter((holder) => isLimited(limitsOf(set, holder)))
}

/** How those are counted who have no address of their own. */
const local = "without an address"

class Session implements MemoryLease, Member {
  private accounts: ReadonlyArray<LimitAccount> = []
  private readonly find: (who: Who) => ReadonlyArray<LimitAccount>
  private readonly owner: Accounts
  private readonly client: string
  private who: Who
  private readonly tell: (error: LimitExceeded) => void
  private over = false

  constructor(
    find: (who: Who) => ReadonlyArray<LimitAccount>,
    owner: Accounts,
    client: string,
    who: Who,
    tell: (error: LimitExceeded) => void
  ) {
    this.find = find
    this.owner = owner
    this.client = client
    this.who = who
    this.tell = tell
  }

  get up(): ReadonlyArray<LocalFlow> {
    return this.accounts.flatMap((account) => account.flow("up") ?? [])
  }

  get down(): ReadonlyArray<LocalFlow> {
    return this.accounts.flatMap((account) => account.flow("down") ?? [])
  }

  get packets(): ReadonlyArray<LocalFlow> {
    return this.accounts.flatMap((account) => account.flow("packets") ?? [])
  }

  get counts(): boolean {
    return this.accounts.some((account) => account.counts)
  }

  readonly used = (bytes: number): void => {
    for (const account of this.accounts) account.add(bytes)
  }

  exhausted(error: LimitExceeded): void {
    if (this.over) return
    this.over = true
    this.tell(error)
  }

  /** Enters all accounts that it is not in yet, or none; leaves the others. */
  enter(who: Who): LimitExceeded | undefined {
    const problem = this.tryEnter(who)
    this.owner.sweep()
    return problem
  }

  private tryEnter(who: Who): LimitExceeded | undefined {
    const next = this.find(who)
    const added = next.filter((account) => !this.accounts.includes(account))
    for (const account of added) {
      const problem = account.problem(this.client)
      if (problem !== undefined) return problem
    }
    for (const account of added) {
      account.enter(this.client, this)
      this.owner.wake(account)
    }
    this.leave(this.accounts.filter((account) => !next.includes(account)))
    this.accounts = next
    this.who = who
    return undefined
  }

  readonly changeClass = (limits: string): Effect.Effect<void, LimitExceeded> =>
    Effect.suspend(() => {
      const problem = limits === this.who.limits ? undefined : this.enter({ ...this.who, limits })
      return problem === undefined ? Effect.void : Effect.fail(problem)
    })

  readonly release: Effect.Effect<void> = Effect.sync(() => {
    this.over = true
    this.leave(this.accounts)
    this.accounts = []
    this.owner.sweep()
  })

  private leave(accounts: ReadonlyArray<LimitAccount>): void {
    for (const account of accounts) {
      account.leave(this.client, this)
      if (account.connections === 0) this.owner.rest(account)
    }
  }
}

/** Makes the store. The file is read now, and written while the scope is open and when it closes. */
export const make = Effect.fnUntraced(function*(
  initial: LimitSet,
  options: Options = {}
): Effect.fn.Return<MemoryLimits["Service"], never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const room = options.remember ?? 65_536
  const book = new UsageBook(room, () => clock.currentTimeMillisUnsafe())
  if (options.stateFile !== undefined) yield* UsageFile.keep(options.stateFile, book)
  const accounts = new Accounts(room, (holder, limits) => new LimitAccount(holder, limits, clock, book))
  let limits = initial
  let limited = limitsAnybody(initial)

  const admit: MemoryAdmit = (who, exhausted) =>
    Effect.suspend(() => {
      if (!limited) return Effect.succeed(nobody)
      const client = who.client === undefined ? local : ClientNetwork.of(who.client)
      const find = (who: Who) =>
        holdersOf(limits, who, client).map((holder) => accounts.of(holder, limitsOf(limits, holder)))
      const session = new Session(find, accounts, client, who, exhausted)
      const problem = session.enter(who)
      return problem === undefined ? Effect.succeed(session) : Effect.fail(problem)
    })

  return {
    admit,
    replace: (next) =>
      Effect.sync(() => {
        limits = next
        limited = limitsAnybody(next)
        for (const account of accounts.all.values()) account.change(limitsOf(next, account.holder))
      }),
    list: Effect.sync(() =>
      [...accounts.all.values()].map(({ connections, deviceCount, holder, limits }) => ({
        holder,
        limits,
        connections,
        devices: deviceCount
      }))
    )
  }
})

/** The store with its own service, for who reloads. */
export const layer = (limits: LimitSet, options?: Options): Layer.Layer<LimitStore | MemoryLimits> =>
  Layer.effectContext(
    Effect.map(make(limits, options), (store) => Context.make(LimitStore, store).pipe(Context.add(MemoryLimits, store)))
  )
