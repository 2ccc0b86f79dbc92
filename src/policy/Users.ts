/**
 * The `Authenticator` that ships: users from flags and from a users file.
 *
 * How long a refusal takes tells nothing about which part was wrong, whether
 * the name exists, or where it is configured.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { AuthenticationFailed, Authenticator, type Credentials, type Identity } from "./Authenticator.ts"
import * as PasswordHash from "./PasswordHash.ts"
import * as UsersFile from "./UsersFile.ts"

/** A user with a plain password, as `--user NAME:PASSWORD` gives it. */
export interface User {
  readonly name: string
  readonly password: Redacted.Redacted<string>
}

export interface Options {
  /** Of two with the same name, the last counts. */
  readonly users: ReadonlyArray<User>
  /** The path of a users file. */
  readonly file?: string
  /** Whether a client may add a tag for its session to its name: `name+tag`. No user's name has a plus then. */
  readonly sessions?: boolean
}

/** What the work of a login consists of. Tests count it. */
export interface Checks {
  /** Compares two digests of the same length in constant time. */
  readonly equal: (a: Uint8Array, b: Uint8Array) => boolean
  readonly verify: typeof PasswordHash.verify
}

type Check = (credentials: Credentials) => Effect.Effect<boolean>

/** Gives texts of all lengths the same size, under a key that nobody outside this process can know. */
const makeDigest = (): (text: string) => Buffer => {
  const key = randomBytes(32)
  return (text) => createHmac("sha256", key).update(text).digest()
}

/** Looks at every user, at both the name and the password, whatever it has found already. */
const checkPlain = (users: ReadonlyArray<User>, equal: Checks["equal"]): Check => {
  const digest = makeDigest()
  const entries = users.map(({ name, password }) => ({
    name: digest(name),
    password: digest(Redacted.value(password))
  }))
  return ({ password, username }) =>
    Effect.sync(() => {
      const givenName = digest(username)
      const givenPassword = digest(Redacted.value(password))
      let matches = 0
      for (const entry of entries) {
        matches |= Number(equal(entry.name, givenName)) & Number(equal(entry.password, givenPassword))
      }
      return matches === 1
    })
}

/**
 * Verifies one hash for each login. For an unknown name it is the hash of some user, always the same one for that
 * name, and the outcome is void: so unknown names cost what known ones do, even where hashes differ in their cost.
 */
const checkHashed = (
  users: ReadonlyArray<{ readonly name: string; readonly hash: Redacted.Redacted<string> }>,
  verify: Checks["verify"]
): Check => {
  const digest = makeDigest()
  const known = new Map(users.map((user) => [digest(user.name).toString("hex"), user]))
  return ({ password, username }) =>
    Effect.suspend(() => {
      const name = digest(username)
      const user = known.get(name.toString("hex"))
      const checked = user ?? users[name.readUInt32BE(0) % users.length]
      return checked === undefined
        ? Effect.succeed(false)
        : Effect.map(verify(Redacted.value(checked.hash), password), (verified) => verified && user !== undefined)
    })
}

const hashUser = ({ name, password }: User) =>
  Effect.map(PasswordHash.hash(password), (hash) => ({ name, hash: Redacted.make(hash) }))

/** Both kinds of users together: the plain passwords are hashed too, so that all logins go one way. */
const readAll = Effect.fnUntraced(function*(users: ReadonlyArray<User>, path: string) {
  const entries = yield* UsersFile.read(path)
  const twice = entries.find(({ name }) => users.some((user) => user.name === name))
  if (twice !== undefined) {
    return yield* new UsersFile.UsersFileError({
      path,
      line: twice.line,
      field: "name",
      problem: `name ${JSON.stringify(twice.name)} is taken by --user`,
      fix: "remove one of them"
    })
  }
  if (entries.length === 0 && users.length === 0) {
    yield* Effect.logWarning("no user can log in: the users file has none").pipe(Effect.annotateLogs({ path }))
  }
  return [...entries, ...yield* Effect.forEach(users, hashUser, { concurrency: "unbounded" })]
})

/** `name+tag`; a tag of nothing is none. */
const withSession = (username: string): Identity => {
  const plus = username.indexOf("+")
  if (plus === -1) return { name: username }
  const [name, session] = [username.slice(0, plus), username.slice(plus + 1)]
  return session === "" ? { name } : { name, session }
}

const noPassword = Redacted.make("")

/** Makes the authenticator. Logging in is always required: without any user nobody gets in. */
export const make = Effect.fnUntraced(function*(options: Options, checks: Partial<Checks> = {}) {
  const { equal = timingSafeEqual, verify = PasswordHash.verify } = checks
  const { sessions = false } = options
  const users = [...new Map(options.users.map((user) => [user.name, user])).values()]
  const check = options.file === undefined
    ? checkPlain(users, equal)
    : checkHashed(yield* readAll(users, options.file), verify)
  const authenticate = (credentials: Credentials) => {
    const identity = sessions ? withSession(credentials.username) : { name: credentials.username }
    return Effect.flatMap(
      check({ ...credentials, username: identity.name }),
      (passed) =>
        passed ? Effect.succeed(identity) : Effect.fail(new AuthenticationFailed({ username: credentials.username }))
    )
  }
  return Authenticator.of({
    required: true,
    authenticate,
    // A login with the empty password, so that it can do no more than one.
    identify: (username, client) => authenticate({ username, password: noPassword, client })
  })
})

/** Users from flags, a users file, or both. The file is read once, when the layer is built. */
export const layer = (options: Options): Layer.Layer<Authenticator, UsersFile.UsersFileError> =>
  Layer.effect(Authenticator, make(options))

/** Parses `NAME:PASSWORD`, at the first colon. The failure is a message of one line, without the password. */
export const userFromString = (text: string): Result.Result<User, string> => {
  const colon = text.indexOf(":")
  // What has no colon may well be a bare password.
  if (colon === -1) return Result.fail("no colon after the user name; write NAME:PASSWORD")
  const name = text.slice(0, colon)
  const problem = UsersFile.problemOfName(name)
  if (problem !== undefined) return Result.fail(`user name ${problem}; write NAME:PASSWORD`)
  const password = text.slice(colon + 1)
  // Most often a variable that was not set.
  if (password === "") return Result.fail(`password of ${JSON.stringify(name)} is empty; write NAME:PASSWORD`)
  // RFC 1929 §2 gives the password one byte of length.
  if (Buffer.byteLength(password) > 255) {
    return Result.fail(`password of ${JSON.stringify(name)} is longer than 255 bytes; choose a shorter one`)
  }
  return Result.succeed({ name, password: Redacted.make(password) })
}
