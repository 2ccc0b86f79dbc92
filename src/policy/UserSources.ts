/** Where users come from: flags, the configuration, and a users file that is read again when it changes. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Egress from "../transport/Egress.ts"
import * as Files from "../transport/Files.ts"
import * as WatchedFile from "../transport/WatchedFile.ts"
import * as PasswordHash from "./PasswordHash.ts"
import * as ReservedPlus from "./ReservedPlus.ts"
import * as UserFields from "./UserFields.ts"
import * as UsersFile from "./UsersFile.ts"
import * as UserStore from "./UserStore.ts"

/** A user with a plain password, as `--user NAME:PASSWORD` gives it. */
export interface User {
  readonly name: string
  readonly password: Redacted.Redacted<string>
}

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

export interface Options {
  /** Of two with the same name, the last counts. */
  readonly users?: ReadonlyArray<User>
  /** Those of the configuration. */
  readonly list?: ReadonlyArray<UserStore.StoredUser>
  /** The path of a users file. */
  readonly file?: string
  /** Whether names in the file can have no plus: what stands behind it is no part of a name then. */
  readonly plusIsReserved?: boolean
  /**
   * How often the file is looked at, and the dates of all. A change is taken once it was seen twice, so that none is read half written.
   * Default: a quarter of a second.
   */
  readonly checkEvery?: Duration.Input
}

type Egresses = ReadonlyMap<string, Egress.Egress>

/** Users of a file: the lines of each name together, and what they go out from, which goes on as it was `before`. */
const fromEntries = (entries: ReadonlyArray<UsersFile.Entry>, before: Egresses) => {
  const users = new Map<string, UserStore.StoredUser>()
  const egresses = new Map<string, Egress.Egress>()
  const egressOf = ({ egress, "egress-by": by, name }: UsersFile.Entry): Egress.Egress | undefined => {
    if (egress === undefined) return undefined
    const key = `${name}:${UserFields.format({ egress, ...by !== undefined && { "egress-by": by } })}`
    const found = before.get(key) ?? Egress.make(egress, by)
    egresses.set(key, found)
    return found
  }
  for (const entry of entries) {
    const { expires, from, groups, hash, label, limits, name } = entry
    const known = users.get(name)
    const egress = egressOf(entry)
    users.set(name, {
      ...known,
      name,
      passwords: [...known?.passwords ?? [], { hash, label, expires }],
      ...groups !== undefined && { groups },
      ...from !== undefined && { from },
      ...limits !== undefined && { limits },
      ...egress !== undefined && { egress }
    })
  }
  return { users: [...users.values()], egresses }
}

/** Plain passwords are hashed too, so that all logins go one way. */
const hashUser = ({ name, password }: User) =>
  Effect.map(
    PasswordHash.hash(password),
    (hash): UserStore.StoredUser => ({
      name,
      passwords: [{ hash: Redacted.make(hash), mark: UserStore.markOf(password) }]
    })
  )

const readFile = Effect.fnUntraced(function*(
  path: string,
  taken: ReadonlyMap<string, string>,
  plusIsReserved: boolean
) {
  const entries = yield* UsersFile.read(path)
  for (const { line, name } of plusIsReserved ? entries : []) {
    const problem = ReservedPlus.problem(name)
    if (problem === undefined) continue
    const fix = "choose another name"
    return yield* new UsersFile.UsersFileError({ path, line, field: "name", problem: `name ${problem}`, fix })
  }
  const twice = entries.find(({ name }) => taken.has(name))
  if (twice !== undefined) {
    return yield* new UsersFile.UsersFileError({
      path,
      line: twice.line,
      field: "name",
      problem: `name ${JSON.stringify(twice.name)} is taken by ${taken.get(twice.name)}`,
      fix: "remove one of them"
    })
  }
  return entries
})

/** What stays the same while the file changes, and how to read all of them together with the file. */
const prepare = Effect.fnUntraced(function*({ file, list = [], plusIsReserved = false, users = [] }: Options) {
  const plain = new Map(users.map((user) => [user.name, user]))
  const taken = new Map<string, string>([
    ...list.map(({ name }) => [name, "the configuration"] as const),
    ...users.map(({ name }) => [name, "--user"] as const)
  ])
  // Flags win over the configuration.
  const fixed = [
    ...list.filter(({ name }) => !plain.has(name)),
    ...yield* Effect.forEach(plain.values(), hashUser, { concurrency: "unbounded" })
  ]
  // Who has not changed in the file takes the next turn, and is not taken for another.
  let egresses: Egresses = new Map()
  const read = file === undefined
    ? Effect.succeed<ReadonlyArray<UserStore.StoredUser>>(fixed)
    : Effect.map(readFile(file, taken, plusIsReserved), (entries) => {
      const those = fromEntries(entries, egresses)
      egresses = those.egresses
      return [...those.users, ...fixed]
    })
  return read
})

const warnOfNobody = (users: ReadonlyArray<UserStore.StoredUser>, path: string) =>
  users.length > 0
    ? Effect.void
    : Effect.logWarning("no user can log in: the users file has none").pipe(Effect.annotateLogs({ path }))

/** All users at this moment. */
export const read = (
  options: Options
): Effect.Effect<ReadonlyArray<UserStore.StoredUser>, UsersFile.UsersFileError> => Effect.flatten(prepare(options))

/** What the log has of a file that can't be used. */
export const notLoaded = "users file not loaded, the users stay as they were"

/** Looks at the file until the scope closes. A bad one changes nothing, and is logged once. */
const watch = Effect.fnUntraced(function*(
  path: string,
  loaded: string,
  reread: Effect.Effect<ReadonlyArray<UserStore.StoredUser>, UsersFile.UsersFileError>,
  replace: UserStore.Memory["replace"],
  checkEvery: Duration.Input
) {
  let taken = loaded
  let seen = loaded
  const look = Effect.gen(function*() {
    const version = WatchedFile.versionOf(path)
    const settled = version === seen
    seen = version
    if (version === taken || !settled) return
    // Whatever the first one was read from.
    const users = yield* Effect.result(Effect.provideService(reread, Files.Files, Files.disk))
    // Changed meanwhile: the next look finds it so.
    if (WatchedFile.versionOf(path) !== version) return
    taken = version
    if (Result.isFailure(users)) {
      const level = (yield* WatchedFile.IsTold) ? "Debug" : "Error"
      return yield* Effect.logWithLevel(level)(notLoaded).pipe(Effect.annotateLogs({ reason: users.failure.message }))
    }
    const { changed, removed } = yield* replace(users.success)
    yield* Effect.logInfo("users file loaded").pipe(
      Effect.annotateLogs({ path, users: users.success.length, changed: changed.size, removed: removed.size })
    )
    yield* warnOfNobody(users.success, path)
  })
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(checkEvery)))
})

/**
 * Reads all users, keeps the file's up to date and tells who has expired while the scope is open. `replace` puts others in their place until the
 * file changes again.
 */
export const make: (
  options: Options
) => Effect.Effect<UserStore.Memory, UsersFile.UsersFileError, Scope.Scope> = Effect.fnUntraced(
  function*(options: Options) {
    const { checkEvery = "250 millis", file } = options
    const reread = yield* prepare(options)
    // Before it is read, so that no change is missed.
    const version = file === undefined ? "" : WatchedFile.versionOf(file)
    const users = yield* reread
    const memory = yield* UserStore.memory(users)
    yield* Effect.forkScoped(Effect.repeat(memory.announceExpired, Schedule.spaced(checkEvery)))
    if (file !== undefined) {
      yield* warnOfNobody(users, file)
      yield* watch(file, version, reread, memory.replace, checkEvery)
    }
    return memory
  }
)

export const layer = (options: Options): Layer.Layer<UserStore.UserStore, UsersFile.UsersFileError> =>
  Layer.effect(UserStore.UserStore, Effect.map(make(options), ({ store }) => store))
