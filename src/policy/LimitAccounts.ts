/** All holders of limits, by what is limited at the moment. */
import { type Holder, isLimited, keyOf, type Limits, limitsAnybody, type LimitSet, limitsStrangers } from "./Limit.ts"
import type { LimitAccount } from "./LimitAccount.ts"
import type { Who } from "./LimitStore.ts"

/** Somebody who is in, and stays when the limits change. */
export interface Follower {
  /** Enters what holds for it now, and leaves the rest. */
  follow(): void
}

const nothing: ReadonlyArray<LimitAccount> = []

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

/** Accounts that nobody is in are kept until they are as new, or there are too many. */
export class LimitAccounts {
  readonly all = new Map<string, LimitAccount>()
  readonly followers = new Set<Follower>()
  private readonly idleClients = new Map<string, LimitAccount>()
  private readonly idleOthers = new Map<string, LimitAccount>()
  private readonly room: number
  private readonly make: (holder: Holder, limits: Limits) => LimitAccount
  private set: LimitSet
  private limited: boolean
  /** Whether those count who have not said who they are. */
  countsStrangers: boolean

  constructor(set: LimitSet, room: number, make: (holder: Holder, limits: Limits) => LimitAccount) {
    this.room = room
    this.make = make
    this.set = set
    this.limited = limitsAnybody(set)
    this.countsStrangers = limitsStrangers(set)
  }

  /** Goes on under other limits. Who is in stays, whatever they are, unless it has used up its quota. */
  replace(set: LimitSet): void {
    this.set = set
    this.limited = limitsAnybody(set)
    this.countsStrangers = limitsStrangers(set)
    for (const account of this.all.values()) account.change(limitsOf(set, account.holder))
    for (const follower of this.followers) follower.follow()
    for (const account of this.all.values()) account.endUsedUp()
    for (const idle of [this.idleClients, this.idleOthers]) this.thin(idle, Infinity)
  }

  /** Those whose limits one has to keep. `client` tells how its address is counted. */
  find(who: Who, client: () => string): ReadonlyArray<LimitAccount> {
    return this.limited ? holdersOf(this.set, who, client()).map((holder) => this.of(holder)) : nothing
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
    this.thin(this.idleClients, 16)
    this.thin(this.idleOthers, 16)
  }

  private thin(idle: Map<string, LimitAccount>, looks: number): void {
    let left = looks
    for (const [key, oldest] of idle) {
      if (idle.size > this.room || oldest.isBlank) {
        idle.delete(key)
        this.all.delete(key)
      }
      if (--left === 0) break
    }
  }

  private of(holder: Holder): LimitAccount {
    const key = keyOf(holder)
    const known = this.all.get(key)
    if (known !== undefined) return known
    const account = this.make(holder, limitsOf(this.set, holder))
    this.all.set(key, account)
    this.rest(account)
    return account
  }

  private idleOf({ kind }: Holder): Map<string, LimitAccount> {
    return kind === "client" ? this.idleClients : this.idleOthers
  }
}
