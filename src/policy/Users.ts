/**
 * The `Authenticator` that ships: users from flags, from the configuration and from a users file.
 *
 * How long a refusal takes tells nothing about which part was wrong, whether
 * the name exists, or where it is configured.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { memoize } from "effect/Function"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { timingSafeEqual } from "node:crypto"
import { AuthenticationFailed, Authenticator, type Credentials, type Identity } from "./Authenticator.ts"
import * as ClientNetwork from "./ClientNetwork.ts"
import * as Digest from "./Digest.ts"
import * as Expiry from "./Expiry.ts"
import * as PasswordHash from "./PasswordHash.ts"
import type * as UsersFile from "./UsersFile.ts"
import * as UserSources from "./UserSources.ts"
import { markOf as markOfPlain, type Password, type StoredUser, UserStore, type UserStoreError } from "./UserStore.ts"
import * as VerifiedLogins from "./VerifiedLogins.ts"

/** A user with a plain password, as `--user NAME:PASSWORD` gives it. */
export type User = UserSources.User

/** Parses `NAME:PASSWORD`, at the first colon. */
export const userFromString = UserSources.userFromString

/** How logins are judged, wherever the users are. */
export interface LoginOptions {
  /** Whether a client may add a tag for its session to its name: `name+tag`. No user's name has a plus then. */
  readonly sessions?: boolean
  /** How verified logins are remembered. */
  readonly remember?: VerifiedLogins.Options
  /** Who is asked about names that are no user's. */
  readonly otherwise?: Authenticator["Service"]
}

export interface Options extends UserSources.Options, LoginOptions {
  /** Of two with the same name, the last counts. */
  readonly users: ReadonlyArray<User>
}

/** What the work of a login consists of. Tests count it. */
export interface Checks {
  /** Compares two digests of the same length in constant time. */
  readonly equal: (a: Uint8Array, b: Uint8Array) => boolean
  readonly verify: typeof PasswordHash.verify
}

/** Whether a client is who it says it is; `username` is the name alone. */
type Login = (credentials: Credentials) => Effect.Effect<Identity, AuthenticationFailed>

/** Looks at every user, at both the name and the password, whatever it has found already. */
const loginPlain = (users: ReadonlyArray<User>, equal: Checks["equal"], otherwise: Login | undefined): Login => {
  const entries = [...new Map(users.map((user) => [user.name, user])).values()].map(({ name, password }) => ({
    name: Digest.of(name),
    password: Digest.of(Redacted.value(password)),
    identity: { name, password: markOfPlain(password) }
  }))
  return (credentials) =>
    Effect.suspend(() => {
      const { password, username } = credentials
      const givenName = Digest.of(username)
      const givenPassword = Digest.of(Redacted.value(password))
      let named = 0
      let identity: Identity | undefined
      for (const entry of entries) {
        const same = Number(equal(entry.name, givenName))
        named |= same
        if ((same & Number(equal(entry.password, givenPassword))) === 1) identity = entry.identity
      }
      if (identity !== undefined) return Effect.succeed(identity)
      return named === 0 && otherwise !== undefined
        ? otherwise(credentials)
        : Effect.fail(new AuthenticationFailed({ username }))
    })
}

/** Whose turn it is to have a password verified. */
const turnOf = (client: NetAddress.InetAddress | undefined): string =>
  client === undefined ? "" : ClientNetwork.of(client.address)

/** Why somebody who has given the right password may not log in all the same. */
export const objection = (
  user: StoredUser,
  password: Password,
  client: NetAddress.InetAddress | undefined,
  now: number
): string | undefined => {
  const over = (expiry: Expiry.Expiry | undefined): expiry is Expiry.Expiry => expiry !== undefined && now >= expiry
  if (over(user.expires)) return `the user expired at ${Expiry.format(user.expires)}`
  if (over(password.expires)) {
    const which = password.label === undefined ? "the password" : `the password ${JSON.stringify(password.label)}`
    return `${which} expired at ${Expiry.format(password.expires)}`
  }
  if (user.from === undefined) return undefined
  if (client === undefined) return "the user may log in from some networks only, and the client's address is unknown"
  return ClientNetwork.isAmong(user.from, client.address)
    ? undefined
    : `the user may not log in from ${NetAddress.formatIp(NetAddress.toCanonical(client.address))}`
}

const markOf = ({ hash, mark = hash }: Password): Redacted.Redacted<string> => mark

/** Who a user is, by the password that was given. */
const identityOf = memoize(({ egress, groups, limits, name }: StoredUser) =>
  memoize((password: Password): Identity => ({
    name,
    password: markOf(password),
    ...groups !== undefined && { groups },
    ...egress !== undefined && { egress },
    ...limits !== undefined && { limits }
  }))
)

/** Nobody could find out whether the login is right. */
const unable = ({ username }: Credentials) => (error: PasswordHash.TooManyLogins | UserStoreError) =>
  new AuthenticationFailed({ username, why: error.message, blameless: true })

/**
 * Verifies the hashes of one user for each login. For an unknown name they are those of some user, always the same one
 * for that name, and the outcome is void: so unknown names cost what known ones do, even where hashes differ in their
 * cost. Who may not log in for another reason than the password learns no sooner of it.
 */
const loginHashed = (
  store: UserStore["Service"],
  verify: Checks["verify"],
  verified: VerifiedLogins.VerifiedLogins<number>,
  otherwise: Login | undefined
): Login => {
  const verifyWith = (credentials: Credentials) => {
    const { client, password } = credentials
    const turn = turnOf(client)
    return ({ hash }: Password) => Effect.mapError(verify(Redacted.value(hash), password, turn), unable(credentials))
  }

  /** Which of some passwords a client's is. All are tried up to it, and so are those that have expired. */
  const matching = Effect.fnUntraced(function*(passwords: ReadonlyArray<Password>, credentials: Credentials) {
    const verifyHash = verifyWith(credentials)
    for (const [index, password] of passwords.entries()) {
      if (yield* verifyHash(password)) return { value: index }
    }
    return undefined
  })

  const unknown = Effect.fnUntraced(function*(credentials: Credentials) {
    const { username } = credentials
    if (otherwise !== undefined) return yield* otherwise(credentials)
    const decoy = yield* Effect.mapError(store.decoy(username), unable(credentials))
    // Shared as a user's is, and never remembered.
    yield* verified.find(keyOf(credentials, decoy), Effect.as(matching(decoy?.passwords ?? [], credentials), undefined))
    return yield* new AuthenticationFailed({ username })
  })

  /** All hashes of a user: a login is remembered for as long as they are the same. */
  const hashesOf = memoize((user: StoredUser) => user.passwords.map(({ hash }) => Redacted.value(hash)).join())

  const keyOf = ({ password, username }: Credentials, user: StoredUser | undefined) =>
    verified.keyOf([username, Redacted.value(password), user === undefined ? "" : hashesOf(user)])

  /** With the same work as for a wrong password: that of `tried` hashes has been done. */
  const refuse = Effect.fnUntraced(function*(user: StoredUser, credentials: Credentials, why: string, tried: number) {
    yield* Effect.forEach(user.passwords.slice(tried), verifyWith(credentials), { discard: true })
    return yield* new AuthenticationFailed({ username: credentials.username, why })
  })

  const unremembered = Effect.fnUntraced(function*(user: StoredUser, credentials: Credentials, key: string) {
    const index = yield* verified.find(key, matching(user.passwords, credentials))
    const password = index === undefined ? undefined : user.passwords[index]
    if (index === undefined || password === undefined) {
      return yield* new AuthenticationFailed({ username: credentials.username })
    }
    const why = objection(user, password, credentials.client, yield* Clock.currentTimeMillis)
    return why === undefined ? identityOf(user)(password) : yield* refuse(user, credentials, why, index + 1)
  })

  return (credentials) =>
    Effect.flatMap(Effect.mapError(store.find(credentials.username), unable(credentials)), (user) => {
      if (user === undefined) return unknown(credentials)
      const key = keyOf(credentials, user)
      // Most logins are remembered: these cost a few microseconds.
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const password = user.passwords[verified.recall(key, now) ?? -1]
        if (password === undefined) return unremembered(user, credentials, key)
        const why = objection(user, password, credentials.client, now)
        return why === undefined ? Effect.succeed(identityOf(user)(password)) : refuse(user, credentials, why, 0)
      })
    })
}

/** What has become of a user who was let in. */
type Recheck = NonNullable<Authenticator["Service"]["recheck"]>

const isMark = (a: Redacted.Redacted<string>, b: Redacted.Redacted<string> | undefined): boolean =>
  b !== undefined && Redacted.value(a) === Redacted.value(b)

/**
 * Who a user is by now; nobody once a login from there with the same password would be refused. Those whom others have let
 * in, and who so have no mark, are theirs to judge.
 */
const recheckStored = (store: UserStore["Service"], mayBeOther: boolean): Recheck => (identity, client) =>
  store.find(identity.name).pipe(
    Effect.zip(Clock.currentTimeMillis),
    Effect.map(([user, now]): Identity | undefined => {
      if (user === undefined) return mayBeOther && identity.password === undefined ? identity : undefined
      const password = user.passwords.find((known) => isMark(markOf(known), identity.password))
      if (password === undefined || objection(user, password, client, now) !== undefined) return undefined
      return { ...identityOf(user)(password), session: identity.session, pool: identity.pool }
    }),
    Effect.catchTag("UserStoreError", () => Effect.succeed(identity))
  )

/** `name+tag`; a tag of nothing is none. */
const withSession = (username: string): Identity => {
  const plus = username.indexOf("+")
  if (plus === -1) return { name: username }
  const [name, session] = [username.slice(0, plus), username.slice(plus + 1)]
  return session === "" ? { name } : { name, session }
}

const noPassword = Redacted.make("")

const fromLogin = (login: Login, sessions: boolean, recheck: Recheck): Authenticator["Service"] => {
  const authenticate = (credentials: Credentials) => {
    if (!sessions) return login(credentials)
    const { username } = credentials
    const { name, session } = withSession(username)
    return login({ ...credentials, username: name }).pipe(
      Effect.map((identity) => session === undefined ? identity : { ...identity, session }),
      Effect.mapError(({ blameless, why }) => new AuthenticationFailed({ username, why, blameless }))
    )
  }
  return Authenticator.of({
    required: true,
    authenticate,
    // A login with the empty password, so that it can do no more than one.
    identify: (username, client) => authenticate({ username, password: noPassword, client }),
    recheck
  })
}

/** The authenticator of users who are in a store. Logging in is always required: without any user nobody gets in. */
export const fromStore = (
  store: UserStore["Service"],
  options: LoginOptions = {},
  { verify = PasswordHash.verify }: Partial<Checks> = {}
): Authenticator["Service"] => {
  const { otherwise, remember, sessions = false } = options
  const login = loginHashed(store, verify, VerifiedLogins.make(remember), otherwise?.authenticate)
  return fromLogin(login, sessions, recheckStored(store, otherwise !== undefined))
}

/** The same as a layer. */
export const layerFromStore = (options?: LoginOptions): Layer.Layer<Authenticator, never, UserStore> =>
  Layer.effect(Authenticator, Effect.map(UserStore, (store) => fromStore(store, options)))

/** Makes the authenticator, and its store where there is more than plain passwords. */
export const make: (
  options: Options,
  checks?: Partial<Checks>
) => Effect.Effect<Authenticator["Service"], UsersFile.UsersFileError, Scope.Scope> = Effect.fnUntraced(
  function*(options: Options, checks: Partial<Checks> = {}) {
    const { file, list = [], otherwise, sessions = false, users } = options
    if (file === undefined && list.length === 0) {
      const { equal = timingSafeEqual } = checks
      // Of two with one name the last one counts.
      const known = new Map(users.map(({ name, password }) => [name, markOfPlain(password)]))
      const isKnown = ({ name, password }: Identity) => {
        const mark = known.get(name)
        return mark === undefined ? otherwise !== undefined && password === undefined : isMark(mark, password)
      }
      return fromLogin(
        loginPlain(users, equal, otherwise?.authenticate),
        sessions,
        (identity) => Effect.succeed(isKnown(identity) ? identity : undefined)
      )
    }
    return fromStore((yield* UserSources.make(options)).store, options, checks)
  }
)

/** Users from flags, the configuration, a users file, or all of them. The file is read again when it changes. */
export const layer = (options: Options): Layer.Layer<Authenticator, UsersFile.UsersFileError> =>
  Layer.effect(Authenticator, make(options))
