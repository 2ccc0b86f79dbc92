/** Who may log in: the service, and what ships for it: users in memory, from settings and from a users file. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as IpNetwork from "effect/net/IpNetwork"
import * as PubSub from "effect/PubSub"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { createHmac, randomBytes } from "node:crypto"
import type { Egress } from "../transport/Egress.ts"
import * as Digest from "./Digest.ts"
import type { Expiry } from "./Expiry.ts"

/** One of the passwords of a user. */
export interface Password {
  /** argon2id, one that `PasswordHash.problemOf` does not complain about. */
  readonly hash: Redacted.Redacted<string>
  /** What is known of it where it was given in plain text: another hash is made of it each time. Default: the hash. */
  readonly mark?: Redacted.Redacted<string> | undefined
  /** Tells it apart from the others. */
  readonly label?: string | undefined
  readonly expires?: Expiry | undefined
}

export interface StoredUser {
  readonly name: string
  /** Each of them will do. */
  readonly passwords: ReadonlyArray<Password>
  readonly groups?: ReadonlyArray<string> | undefined
  readonly expires?: Expiry | undefined
  /** The networks that the user may log in from. Default: all. */
  readonly from?: ReadonlyArray<IpNetwork.IpNetwork> | undefined
  /** What the user goes out from. */
  readonly egress?: Egress | undefined
  /** The name of a limit class. */
  readonly limits?: string | undefined
}

/** What became of users, by their names. */
export interface UserChange {
  readonly removed: ReadonlySet<string>
  /** Those of whom anything is not what it was: passwords, groups, dates. */
  readonly changed: ReadonlySet<string>
}

/** Nobody can say who the users are. */
export class UserStoreError extends Data.TaggedError("UserStoreError")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** Where users are looked up at each login. */
export class UserStore extends Context.Service<UserStore, {
  readonly find: (name: string) => Effect.Effect<StoredUser | undefined, UserStoreError>
  /**
   * The user whose passwords are to be verified in the place of those of a name that nobody has, always the same one for
   * that name, so that unknown names cost what known ones do. `undefined` where there is none.
   */
  readonly decoy: (name: string) => Effect.Effect<StoredUser | undefined, UserStoreError>
  /** What changes from now on. */
  readonly changes: Stream.Stream<UserChange>
}>()("sluice/policy/UserStore") {}

/** Users in memory. */
export interface Memory {
  readonly store: UserStore["Service"]
  /** Of two with the same name, the last counts. Takes effect at once, and is announced. */
  readonly replace: (users: ReadonlyArray<StoredUser>) => Effect.Effect<UserChange>
  readonly size: Effect.Effect<number>
  /** Announces those of whom something has expired since the last time as changed. */
  readonly announceExpired: Effect.Effect<void>
}

/** Of a password in plain text. */
export const markOf = (password: Redacted.Redacted<string>): Redacted.Redacted<string> =>
  Redacted.make(Digest.of(Redacted.value(password)).toString("base64"))

/** Equal for users of whom all is the same. */
const fingerprint = (user: StoredUser): string =>
  JSON.stringify({
    ...user,
    passwords: user.passwords.map(({ hash, mark = hash, ...password }) => ({
      ...password,
      mark: Redacted.value(mark)
    })),
    egress: undefined
  })

const same = (a: StoredUser, b: StoredUser): boolean => a.egress === b.egress && fingerprint(a) === fingerprint(b)

const changeOf = (before: Iterable<StoredUser>, after: ReadonlyMap<string, StoredUser>): UserChange => {
  const removed = new Set<string>()
  const changed = new Set<string>()
  for (const user of before) {
    const now = after.get(user.name)
    if (now === undefined) removed.add(user.name)
    else if (now !== user && !same(user, now)) changed.add(user.name)
  }
  return { removed, changed }
}

/** Whose user or password expired from one time to another, and when the next one will. */
const expiriesOf = (users: ReadonlyArray<StoredUser>, from: number, to = from) => {
  const over = new Set<string>()
  let next = Infinity
  for (const { expires, name, passwords } of users) {
    for (const expiry of [expires, ...passwords.map((password) => password.expires)]) {
      if (expiry === undefined || expiry <= from) continue
      if (expiry <= to) over.add(name)
      else next = Math.min(next, expiry)
    }
  }
  return { over, next }
}

/** Makes a store in memory. */
export const memory = Effect.fnUntraced(function*(users: ReadonlyArray<StoredUser>) {
  const indexOf = (list: ReadonlyArray<StoredUser>) => new Map(list.map((user) => [user.name, user]))
  // Nobody outside knows this key, so that nobody can tell which names have which decoy.
  const key = randomBytes(32)
  let known = indexOf(users)
  let all = [...known.values()]
  let lookedAt = yield* Clock.currentTimeMillis
  let nextExpiry = expiriesOf(all, lookedAt).next
  // Nobody is waited for: who listens too slowly loses the oldest.
  const changes = yield* PubSub.sliding<UserChange>(64)

  const store = UserStore.of({
    find: (name) => Effect.sync(() => known.get(name)),
    decoy: (name) =>
      Effect.sync(() => all[createHmac("sha256", key).update(name).digest().readUInt32BE(0) % all.length]),
    changes: Stream.fromPubSub(changes)
  })
  return {
    store,
    replace: (users) =>
      Effect.suspend(() => {
        const before = all
        known = indexOf(users)
        all = [...known.values()]
        nextExpiry = expiriesOf(all, lookedAt).next
        const change = changeOf(before, known)
        return Effect.as(
          change.removed.size + change.changed.size === 0 ? Effect.void : PubSub.publish(changes, change),
          change
        )
      }),
    announceExpired: Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (now < nextExpiry) return Effect.void
      const { next, over } = expiriesOf(all, lookedAt, now)
      lookedAt = now
      nextExpiry = next
      return Effect.asVoid(PubSub.publish(changes, { removed: new Set<string>(), changed: over }))
    }),
    size: Effect.sync(() => all.length)
  } satisfies Memory as Memory
})
