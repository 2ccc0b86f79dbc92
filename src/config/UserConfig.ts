/** `users:`, `auth:` and `userOptions:` of a configuration file. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Expiry from "../policy/Expiry.ts"
import * as UserFields from "../policy/UserFields.ts"
import type { Declarations, UserOption } from "../policy/UserOptions.ts"
import type { Password, StoredUser } from "../policy/UserStore.ts"
import * as DurationField from "./DurationField.ts"
import { egress } from "./EgressConfig.ts"
import { quote } from "./Escape.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"
import type * as Shape from "./Shape.ts"

const optional = Schema.optionalKey

// argon2 and all that is loaded only for those who have users.
const importUsersFile = Effect.promise(() => import("../policy/UsersFile.ts"))
const importPasswordHash = Effect.promise(() => import("../policy/PasswordHash.ts"))

/** Of hashes nothing is repeated. */
const hashOf = (from: FileValue.FromFile<Redacted.Redacted<string>>): FileValue.FromFile<Redacted.Redacted<string>> =>
  FileValue.refine(from, (secret) =>
    Effect.flatMap(importPasswordHash, (PasswordHash) => {
      const text = Redacted.value(secret)
      if (text === "") return Effect.fail("is empty; write what `sluice hash` prints")
      if (!PasswordHash.isHash(text)) return Effect.fail("is not an argon2id hash; write what `sluice hash` prints")
      const problem = PasswordHash.problemOf(text)
      return problem === undefined
        ? Effect.succeed(secret)
        : Effect.fail(
          `is an argon2id hash that is ${problem}; write what \`sluice hash\` prints, in quotes within braces`
        )
    }))

/** As in a users file, where it would be written without quotes. */
const word = (what: string, docs?: FileValue.Docs): FileValue.FromFile<string> =>
  FileValue.parsed(
    FileValue.text(docs),
    (text) => Result.mapError(UserFields.word(what)(text), ({ fix, problem }) => `${problem}; ${fix}`)
  )

const hashes: Shape.Shape = { text: /^\$argon2id\$/ }

const hash = hashOf(FileValue.secret({ description: "What `sluice hash` prints", shape: hashes }))

const expires = optional(FileValue.parsed(
  FileValue.text({
    description: "Good until then: 2027-06-30, or 2027-06-30T12:00:00Z",
    shape: { text: Expiry.pattern }
  }),
  (text) => Result.mapError(Expiry.fromString(text), (problem) => `${quote(text)} is ${problem}`)
))

const userName = FileValue.refine(
  FileValue.text({ description: "What the user logs in with" }),
  (name) =>
    Effect.flatMap(importUsersFile, ({ problemOfName }) => {
      const problem = problemOfName(name)
      return problem === undefined ? Effect.succeed(name) : Effect.fail(`${problem}; choose another name`)
    })
)

const elsewhere = {
  passwordFile: optional(hashOf(FileValue.secretFile({ description: "File whose one line is the hash" }))),
  passwordEnv: optional(hashOf(FileValue.secretVariable({ description: "Environment variable that holds the hash" })))
}

/** The one of several ways to write a hash that was taken, if any was. */
const oneOf = (
  ways: Readonly<Record<string, Redacted.Redacted<string> | undefined>>
): Result.Result<Redacted.Redacted<string> | undefined, string> => {
  const given = Object.entries(ways).filter(([, hash]) => hash !== undefined)
  return given.length > 1
    ? Result.fail(`has ${given.map(([key]) => key).join(" and ")}; keep one`)
    : Result.succeed(given[0]?.[1])
}

const PasswordConfig: FileValue.FromFile<Password> = FileValue.parsed(
  Schema.Struct({
    hash: optional(hash),
    ...elsewhere,
    label: optional(word("a label", { description: "Tells it apart from the user's others" })),
    expires
  }).annotate({ description: "One of several passwords", expected: "a map with hash" }),
  ({ hash, passwordEnv, passwordFile, ...others }) =>
    Result.flatMap(oneOf({ hash, passwordFile, passwordEnv }), (hash) =>
      hash === undefined
        ? Result.fail("has no hash; add hash: with what `sluice hash` prints, or passwordFile: PATH")
        : Result.succeed({ hash, ...others }))
)

const Entry = Schema.Struct({
  name: userName,
  password: optional(hash),
  ...elsewhere,
  passwords: optional(FileValue.listOf(PasswordConfig, { description: "Several passwords, each with a label" })),
  groups: optional(FileValue.listOf(word("a group"), { description: "The groups that the user is in" })),
  expires,
  from: optional(FileValue.nonEmpty(
    FileValue.listOf(FileValue.as(Fields.Network), { description: "Networks that the user may log in from" }),
    "is empty; write a network, or leave it out for all of them"
  )),
  egress: optional(egress("What the user goes out from")),
  limits: optional(FileValue.text({ description: "The class of limits that holds in the place of `limits.user`" }))
}).annotate({ expected: "a map with name and password" })

/** What is wrong with several passwords of a user: what would be so in a users file too. */
const problemOf = (passwords: ReadonlyArray<Password>, most: number): string | undefined => {
  const labels = passwords.map(({ label }) => label)
  const twice = labels.findIndex((label, index) => labels.indexOf(label) < index)
  if (twice !== -1) {
    const label = labels[twice]
    return label === undefined
      ? "has several passwords without a label; give each a label of its own"
      : `has two passwords with the label ${quote(label)}; choose another one`
  }
  return passwords.length > most ? `has more than ${most} passwords; remove some` : undefined
}

const stored = Effect.fnUntraced(function*(entry: typeof Entry.Type): Effect.fn.Return<StoredUser, string> {
  const { password, passwordEnv, passwordFile, passwords = [], ...user } = entry
  const alone = yield* Effect.fromResult(oneOf({ password, passwordFile, passwordEnv }))
  const all = [...alone === undefined ? [] : [{ hash: alone }], ...passwords]
  if (all.length === 0) {
    return yield* Effect.fail(
      "has no password; add password: with what `sluice hash` prints, or passwordFile: PATH"
    )
  }
  const { mostPasswords } = yield* importUsersFile
  const problem = problemOf(all, mostPasswords)
  return problem === undefined ? { ...user, passwords: all } : yield* Effect.fail(problem)
})

/** The path of a users file, or the users. */
export const UserConfig: FileValue.FromFile<string | ReadonlyArray<StoredUser>> = Schema.Union([
  FileValue.path(),
  FileValue.nonEmpty(
    Schema.Array(FileValue.refine(Entry, stored)),
    "is empty; name a user, or leave it out to ask for no login"
  )
]).annotate({
  description: "Who may log in: a list, or the path of a users file as `sluice hash NAME` prints its lines",
  expected: "a list of users, or the path of a users file"
})

/** A service that decides logins. */
export interface AuthConfig {
  readonly http: string
  readonly timeout?: Duration.Duration
  readonly cacheFor?: Duration.Duration
  readonly tokenFile?: Redacted.Redacted<string>
}

// A password may be in it.
const httpUrl = (text: string): Result.Result<string, string> => {
  const url = Result.getOrUndefined(Result.try(() => new URL(text)))
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    return Result.fail("is not the URL of a service, such as https://auth.internal/login")
  }
  return url.username === "" && url.password === ""
    ? Result.succeed(text)
    : Result.fail("has a user or a password, which would not be sent; write what the service asks for into a tokenFile")
}

export const AuthConfig: FileValue.FromFile<AuthConfig> = Schema.Struct({
  http: FileValue.parsed(
    FileValue.text({ description: "Asked by POST of {user, password, client} as JSON; 200 or 401" }),
    httpUrl
  ),
  timeout: optional(FileValue.as(DurationField.Timeout, {
    description: "How long the service may take; then nobody is let in",
    default: "2s"
  })),
  cacheFor: optional(FileValue.as(DurationField.TimeoutOrZero, {
    description: "How long a login that it allowed needs not be asked about again; 0 = it is asked each time",
    default: "1m"
  })),
  tokenFile: optional(
    FileValue.secretFile({ description: "File whose one line is sent as Authorization: Bearer" })
  )
}).annotate({ description: "A service that decides logins", expected: "a map with http" })

const OptionConfig: FileValue.FromFile<UserOption> = Schema.Union([
  Schema.Struct({
    kind: Schema.tag("session").annotate({
      description: "Any word; the same one is given the same address and upstream"
    }),
    stickFor: optional(
      FileValue.as(DurationField.Timeout, { description: "How long after the last login; default: for ever" })
    )
  }),
  Schema.Struct({
    kind: Schema.tag("pool").annotate({ description: "A word that picks upstreams" }),
    values: FileValue.mapOf(FileValue.text(), { description: "The names of pools in `upstreams`, by the words" })
  })
]).annotate({ expected: "a map with kind: session or pool" })

const optionName = /^[A-Za-z\d]+(?:[_.][A-Za-z\d]+)*$/

export const OptionsConfig: FileValue.FromFile<Declarations> = FileValue.parsed(
  FileValue.mapOf(OptionConfig, {
    description: "Options in user names, by their names: NAME+session-7f3+country-de",
    expected: "a map of options"
  }),
  (options) => {
    const bad = Object.keys(options).find((name) => !optionName.test(name))
    return bad === undefined
      ? Result.succeed(options)
      : Result.fail(`${quote(bad)} is no name for an option; take letters and digits`)
  }
)
