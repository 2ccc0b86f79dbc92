/** How much may be used, and by whom: types and their words. */

/** So many in each time; all of them may come at once. */
export interface Rate {
  readonly count: number
  /** Milliseconds. */
  readonly per: number
}

/** What is limited; what is missing is not. */
export interface Limits {
  /** Connections at once. */
  readonly connections?: number | undefined
  /** Different client addresses at once; an IPv6 network of 64 bits is one. */
  readonly devices?: number | undefined
  readonly newConnections?: Rate | undefined
  /** In both directions together. */
  readonly udpPackets?: Rate | undefined
  /** Bytes a second to targets. */
  readonly up?: number | undefined
  /** Bytes a second to clients. */
  readonly down?: number | undefined
  /** Bytes in both directions together, from midnight to midnight (UTC). */
  readonly bytesPerDay?: number | undefined
  /** The same for a month. */
  readonly bytesPerMonth?: number | undefined
}

/** All limits that there are. They hold beside each other: the narrowest decides. */
export interface LimitSet {
  /** For all clients together. */
  readonly global?: Limits | undefined
  /** For each user. */
  readonly user?: Limits | undefined
  /** For each client address; an IPv6 network of 64 bits is one. */
  readonly client?: Limits | undefined
  /** For all users of a group together, by its name. */
  readonly groups?: ReadonlyMap<string, Limits> | undefined
  /** In the place of `user`, for those who have the class of that name. */
  readonly classes?: ReadonlyMap<string, Limits> | undefined
}

/** Nothing is limited. */
export const none: LimitSet = {}

export const kinds = ["global", "group", "user", "client"] as const

/** Who has used something up. */
export interface Holder {
  readonly kind: typeof kinds[number]
  /** Of the user or group, or the client's address; empty for `global`. */
  readonly name: string
  /** The class that it has here: under another one it starts anew. */
  readonly class?: string | undefined
}

/** Two holders are the same when this is. */
export const keyOf = ({ class: limits = "", kind, name }: Holder): string => `${kind}\0${limits}\0${name}`

/** Whether anything is limited at all. */
export const isLimited = (limits: Limits | undefined): limits is Limits =>
  limits !== undefined && Object.values(limits).some((limit) => limit !== undefined)

/** Whether a set limits anybody at all. */
export const limitsAnybody = ({ classes, client, global, groups, user }: LimitSet): boolean =>
  [global, user, client, ...groups?.values() ?? [], ...classes?.values() ?? []].some(isLimited)

/** Whether a set limits how many come, of all or from one address: such clients count before they say who they are. */
export const limitsStrangers = ({ client, global }: LimitSet): boolean =>
  [global, client].some((limits) =>
    limits?.connections !== undefined || limits?.devices !== undefined || limits?.newConnections !== undefined
  )

const holderWords = ({ kind, name }: Holder): readonly [subject: string, has: string, makes: string] =>
  kind === "global" ? ["all clients together", "have", "make"] : [`${kind} ${name}`, "has", "makes"]

/** Which limit it was, where there are several. */
const classWords = (holder: Holder): string => holder.class === undefined ? "" : ` (class ${holder.class})`

const units = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]] as const

/** As a person would write it: `10GB`, `1500B`. */
export const formatBytes = (bytes: number): string => {
  const unit = units.find(([, size]) => bytes >= size && bytes % (size / 10) === 0)
  return unit === undefined ? `${bytes}B` : `${bytes / unit[1]}${unit[0]}`
}

const times = new Map([[1000, "a second"], [60_000, "a minute"], [3_600_000, "an hour"], [86_400_000, "a day"]])

/** In words: `20 new connections a second`. */
export const formatRate = ({ count, per }: Rate, what: string): string =>
  `${count} ${what} ${times.get(per) ?? `in ${per / 1000} seconds`}`

/** In words: `user ann has 100 of 100 connections`. */
export const fullWords = (holder: Holder, has: number, limit: number, what: "connections" | "devices"): string => {
  const [subject, verb] = holderWords(holder)
  return `limit: ${subject} ${verb} ${has} of ${limit} ${what}${classWords(holder)}`
}

/** In words: `user ann makes more than 20 new connections a second`. */
export const tooFastWords = (holder: Holder, rate: Rate): string => {
  const [subject, , verb] = holderWords(holder)
  return `limit: ${subject} ${verb} more than ${formatRate(rate, "new connections")}${classWords(holder)}`
}

/** In words: `user ann has used up 10GB a day, more from 2026-12-01 (UTC)`; `until` is in milliseconds since 1970. */
export const usedUpWords = (holder: Holder, limit: number, period: "day" | "month", until: number): string => {
  const [subject, verb] = holderWords(holder)
  const day = new Date(until).toISOString().slice(0, 10)
  return `quota: ${subject} ${verb} used up ${formatBytes(limit)} a ${period}${
    classWords(holder)
  }, more from ${day} (UTC)`
}
