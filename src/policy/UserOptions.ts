/**
 * Options in user names, typed and declared: `name+session-7f3+country-de`.
 *
 * A name is taken apart before anything is verified. What was not declared is refused, and is never a part of the name
 * that a password is compared for.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { AuthenticationFailed, type Authenticator, type Credentials, type Identity } from "./Authenticator.ts"
import * as SessionEpochs from "./SessionEpochs.ts"

/** A tag of the client's choice: what is chosen for a user, such as an address to go out from, is chosen for a tag. */
export interface SessionOption {
  readonly kind: "session"
  /** How long the choice stays the same after the last login with the tag. Default: for ever. */
  readonly stickFor?: Duration.Input | undefined
}

/** A word that stands for upstreams. */
export interface PoolOption {
  readonly kind: "pool"
  /** The names of the upstreams, by the words for them. */
  readonly values: Readonly<Record<string, string>>
}

export type UserOption = SessionOption | PoolOption

/** By their names. */
export type Declarations = Readonly<Record<string, UserOption>>

/** What options say. */
interface Said {
  readonly session?: { readonly tag: string; readonly stickFor: Duration.Input | undefined }
  readonly pool?: string
}

/** A user name without its options, and what those say. */
export interface Parsed extends Said {
  readonly name: string
}

const valueOf = (
  declarations: Declarations,
  token: string
): readonly [option: string, value: string, declared: UserOption] | undefined => {
  // The longest one, since a name may go on where another has ended.
  const [found] = Object.entries(declarations)
    .filter(([option]) => token.startsWith(`${option}-`))
    .sort(([a], [b]) => b.length - a.length)
  return found === undefined ? undefined : [found[0], token.slice(found[0].length + 1), found[1]]
}

const list = (words: ReadonlyArray<string>): string => words.length === 0 ? "none" : words.join(", ")

/** What one option says; the failure is for the log. */
const read = (
  declarations: Declarations,
  token: string
): Result.Result<readonly [option: string, says: Said], string> => {
  const shown = JSON.stringify(token)
  const found = valueOf(declarations, token)
  if (found === undefined && Object.hasOwn(declarations, token)) {
    return Result.fail(`option ${shown} in the user name has no value; write ${token}-VALUE`)
  }
  if (found === undefined) {
    return Result.fail(`unknown option ${shown} in the user name; known: ${list(Object.keys(declarations))}`)
  }
  const [option, value, declared] = found
  if (declared.kind === "session") {
    return /^[\w.-]{1,64}$/.test(value)
      ? Result.succeed([option, { session: { tag: value, stickFor: declared.stickFor } }])
      : Result.fail(`option ${shown} in the user name is no session; write a word of letters, digits, _, . and -`)
  }
  const pool = Object.hasOwn(declared.values, value) ? declared.values[value] : undefined
  return pool === undefined
    ? Result.fail(`unknown value of option ${shown} in the user name; known: ${list(Object.keys(declared.values))}`)
    : Result.succeed([option, { pool }])
}

/** Takes a user name apart. The failure is for the log. */
export const parse = (declarations: Declarations, username: string): Result.Result<Parsed, string> => {
  const [name = "", ...tokens] = username.split("+")
  const parsed: { name: string } & Said = { name }
  for (const token of tokens) {
    const result = read(declarations, token)
    if (Result.isFailure(result)) return Result.fail(result.failure)
    const [option, says] = result.success
    // Two of a kind would leave open which one is meant.
    if (Object.keys(says).some((kind) => kind in parsed)) {
      return Result.fail(`option ${JSON.stringify(option)} in the user name says what another one has said`)
    }
    Object.assign(parsed, says)
  }
  return Result.succeed(parsed)
}

const hasPool = (declarations: Declarations, pool: string): boolean =>
  Object.values(declarations).some((option) => option.kind === "pool" && Object.values(option.values).includes(pool))

/** The same authenticator; whoever has picked a pool that can't be picked any more can't go on. */
export const judging = (
  declarations: Declarations,
  inner: Authenticator["Service"]
): Authenticator["Service"] => ({
  ...inner,
  recheck: (identity, client) =>
    identity.pool !== undefined && !hasPool(declarations, identity.pool)
      ? Effect.undefined
      : inner.recheck?.(identity, client) ?? Effect.succeed(identity)
})

/** An authenticator that takes options, in front of one that knows nothing of them. */
export const wrap = (
  declarations: Declarations,
  inner: Authenticator["Service"],
  epochs: SessionEpochs.SessionEpochs = SessionEpochs.make()
): Authenticator["Service"] => {
  const through = (
    username: string,
    login: (name: string) => Effect.Effect<Identity, AuthenticationFailed>
  ): Effect.Effect<Identity, AuthenticationFailed> => {
    const parsed = parse(declarations, username)
    if (Result.isFailure(parsed)) return Effect.fail(new AuthenticationFailed({ username, why: parsed.failure }))
    const { name, pool, session } = parsed.success
    return login(name).pipe(
      Effect.mapError(({ blameless, why }) => new AuthenticationFailed({ username, why, blameless })),
      Effect.flatMap((identity) => {
        const known = pool === undefined ? identity : { ...identity, pool }
        if (session === undefined) return Effect.succeed(known)
        return session.stickFor === undefined
          ? Effect.succeed({ ...known, session: session.tag })
          // Only now: nobody else's session is kept alive by a wrong password.
          : Effect.map(epochs.tag(identity.name, session.tag, session.stickFor), (tag) => ({ ...known, session: tag }))
      })
    )
  }
  const { identify } = inner
  return {
    ...inner,
    authenticate: (credentials: Credentials) =>
      through(credentials.username, (username) => inner.authenticate({ ...credentials, username })),
    ...identify !== undefined && {
      identify: (username, client) => through(username, (name) => identify(name, client))
    }
  }
}
