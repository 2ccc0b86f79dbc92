/** Clients that are not served for a while: the service, and the list that ships, in memory. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as IpNetwork from "effect/net/IpNetwork"
import type * as NetAddress from "effect/net/NetAddress"
import * as ClientNetwork from "./ClientNetwork.ts"
import { Recent } from "./Recent.ts"

/** One that is banned. */
export interface Ban {
  /** `192.0.2.5`, or an IPv6 network of 64 bits: `2001:db8:0:1::/64`. */
  readonly client: string
  /** Milliseconds since 1970. */
  readonly until: number
  /** In a few words: `5 failed logins`. */
  readonly why: string
}

/** A client is not served for now. The message is for the log. */
export class Banned extends Data.TaggedError("Banned")<Ban> {
  override get message(): string {
    const time = new Date(this.until).toISOString().slice(0, 19)
    return `banned: ${this.client} until ${time}Z for ${this.why}`
  }
}

/** What became of a failed login. */
export interface Failed {
  /** How many there were of this client in a row; 0 for one that is never banned. */
  readonly failures: number
  /** The ban that this led to. */
  readonly ban?: Ban | undefined
}

/** All of a client's IPv6 network of 64 bits is one. An address that carries an IPv4 address is that. */
export class BanList extends Context.Service<BanList, {
  /** The ban of a client, if there is one. Asked for each connection. */
  readonly find: (client: NetAddress.IpAddress) => Effect.Effect<Ban | undefined>
  /** Bans a client, unless it is one that never is. */
  readonly ban: (
    client: NetAddress.IpAddress,
    duration: Duration.Duration,
    why: string
  ) => Effect.Effect<Ban | undefined>
  /** Ends a ban, and forgets what has led to it; `false` when there is none. */
  readonly lift: (client: NetAddress.IpAddress) => Effect.Effect<boolean>
  /** Those that are banned at the moment, the oldest ban first. */
  readonly list: Effect.Effect<ReadonlyArray<Ban>>
  /** A login of a client has failed. */
  readonly loginFailed: (client: NetAddress.IpAddress) => Effect.Effect<Failed>
  /** One has succeeded: what failed before is forgotten. */
  readonly loggedIn: (client: NetAddress.IpAddress) => Effect.Effect<void>
}>()("sluice/policy/BanList") {
  /** Fails for a client that is banned. */
  static readonly check = (
    bans: BanList["Service"],
    client: NetAddress.IpAddress
  ): Effect.Effect<void, Banned> =>
    Effect.flatMap(bans.find(client), (ban) => ban === undefined ? Effect.void : Effect.fail(new Banned(ban)))

  static readonly layer = (options?: Options): Layer.Layer<BanList> => Layer.effect(this, make(options))
}

export interface Options {
  /** Failed logins that lead to a ban. Default: 5. */
  readonly after?: number | undefined
  /** Only those count that are no older. Default: 10 minutes. */
  readonly within?: Duration.Input | undefined
  /** How long a ban lasts. Default: 1 hour. */
  readonly for?: Duration.Input | undefined
  /** Who is never banned. */
  readonly allow?: ReadonlyArray<IpNetwork.IpNetwork> | undefined
  /** How many clients with bans, and with failed logins, are remembered: of more, the latest. Default: 65,536. */
  readonly remember?: number | undefined
}

/** When logins of a client have failed, in milliseconds: no more of them than lead to a ban. */
type Failures = ReadonlyArray<number>

/** Options with their defaults. */
const complete = (options: Options) => ({
  after: options.after ?? 5,
  allow: options.allow ?? [],
  within: Duration.toMillis(options.within ?? "10 minutes"),
  duration: Duration.fromInputUnsafe(options.for ?? "1 hour")
})

/** A list in memory, for who reloads. */
export interface MemoryBans {
  readonly bans: BanList["Service"]
  /** Goes on by other options, but for `remember`; bans that there are stay as they are. */
  readonly replace: (options: Options) => Effect.Effect<void>
}

/** The list, empty. */
export const memory = Effect.fnUntraced(function*(options: Options = {}): Effect.fn.Return<MemoryBans> {
  const clock = yield* Clock.Clock
  const { remember = 65_536 } = options
  let current = complete(options)
  const bans = new Recent<Ban>(remember)
  const failed = new Recent<Failures>(remember)
  const now = () => clock.currentTimeMillisUnsafe()

  const find = (client: string): Ban | undefined => {
    const ban = bans.get(client)
    if (ban === undefined || now() < ban.until) return ban
    bans.delete(client)
    return undefined
  }

  const ban = (address: NetAddress.IpAddress, lasts: Duration.Duration, why: string): Ban | undefined => {
    if (ClientNetwork.isAmong(current.allow, address)) return undefined
    const client = ClientNetwork.of(address)
    const made: Ban = { client, until: now() + Duration.toMillis(lasts), why }
    bans.set(client, made)
    failed.delete(client)
    return made
  }

  const loginFailed = (address: NetAddress.IpAddress): Failed => {
    const { after, allow, duration, within } = current
    if (ClientNetwork.isAmong(allow, address)) return { failures: 0 }
    const client = ClientNetwork.of(address)
    // A login that was under way when the ban came.
    const banned = find(client)
    if (banned !== undefined) return { failures: after, ban: banned }
    const time = now()
    const times = [...(failed.get(client) ?? []).filter((at) => time - at < within), time]
    if (times.length < after) {
      failed.set(client, times)
      return { failures: times.length }
    }
    const why = times.length === 1 ? "a failed login" : `${times.length} failed logins`
    return { failures: times.length, ban: ban(address, duration, why) }
  }

  const list = BanList.of({
    // Most of the time there is nobody.
    find: (address) => Effect.sync(() => bans.size === 0 ? undefined : find(ClientNetwork.of(address))),
    ban: (address, lasts, why) => Effect.sync(() => ban(address, lasts, why)),
    lift: (address) =>
      Effect.sync(() => {
        const client = ClientNetwork.of(address)
        failed.delete(client)
        const lifted = find(client) !== undefined
        bans.delete(client)
        return lifted
      }),
    list: Effect.sync(() => [...bans.values()].filter(({ until }) => now() < until)),
    loginFailed: (address) => Effect.sync(() => loginFailed(address)),
    loggedIn: (address) =>
      Effect.sync(() => {
        if (failed.size > 0) failed.delete(ClientNetwork.of(address))
      })
  })
  return {
    bans: list,
    replace: (next) =>
      Effect.sync(() => {
        current = complete(next)
      })
  }
})

/** The list alone. */
export const make = (options?: Options): Effect.Effect<BanList["Service"]> =>
  Effect.map(memory(options), ({ bans }) => bans)
