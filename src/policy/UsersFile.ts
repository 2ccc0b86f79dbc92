/**
 * The users file: one `NAME:HASH` on each line, as htpasswd writes them, with
 * argon2id hashes only. Blank lines, and lines that start with `#`, are skipped.
 *
 * Behind a second colon may stand what else is known, separated by spaces:
 * `NAME:HASH:label=laptop expires=2027-06-30 groups=staff,crawlers from=192.0.2.0/24,2001:db8::/32 limits=heavy`.
 * `egress=192.0.2.7,2001:db8::/64 egress-by=user` is where the user goes out from.
 * Several lines with one name are several passwords of one user, each with a
 * label of its own. `label` and `expires` are the password's; all else is the
 * user's, and stands on one of the lines.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as FileFault from "../transport/FileFault.ts"
import { Files } from "../transport/Files.ts"
import * as PasswordHash from "./PasswordHash.ts"
import * as UserFields from "./UserFields.ts"

/** One line. */
export interface Entry extends UserFields.UserFields {
  readonly name: string
  /** Not the password, and still nothing to print. */
  readonly hash: Redacted.Redacted<string>
  /** Counts from 1. */
  readonly line: number
}

/** Passwords of one user: a wrong one is compared with all of them. */
export const mostPasswords = 16

/** A users file can't be used. Nothing in it quotes what may be a password. */
export class UsersFileError extends Data.TaggedError("UsersFileError")<{
  readonly path: string
  /** Counts from 1; `undefined` when the file as a whole is at fault. */
  readonly line: number | undefined
  readonly field: "file" | "name" | "password" | "fields" | UserFields.Key
  readonly problem: string
  /** What to do about it. */
  readonly fix: string
}> {
  override get message(): string {
    const path = this.path.replaceAll(/\p{Cc}/gu, "?")
    return `${path}${this.line === undefined ? "" : `:${this.line}`}: ${this.problem}; ${this.fix}`
  }
}

const hashIt = "run: sluice hash"

/** What else people have in such files, by its first characters: crypt(3), htpasswd, LDAP. */
const otherHashes: ReadonlyArray<readonly [pattern: RegExp, kind: string]> = [
  [/^\$2[abxy]?\$/, "bcrypt"],
  [/^\$apr1\$/, "Apache MD5"],
  [/^\$1\$/, "MD5"],
  [/^\$5\$/, "SHA-256"],
  [/^\$6\$/, "SHA-512"],
  [/^\$g?y\$/, "yescrypt"],
  [/^\$(?:7|scrypt)\$/, "scrypt"],
  [/^\$pbkdf2/, "PBKDF2"],
  [/^\$argon2i\$/, "argon2i"],
  [/^\$argon2d\$/, "argon2d"],
  [/^\{S?SHA\d*\}/, "SHA"]
]

/** Why a user name can't be used, in words that follow "name"; `undefined` when it can. */
export const problemOfName = (name: string): string | undefined => {
  if (name === "") return "is empty"
  // RFC 1929 §2 gives the name one byte of length.
  if (Buffer.byteLength(name) > 255) return "is longer than 255 bytes"
  if (name.includes(":")) return "has a colon"
  if (name.startsWith("#")) return "starts with #, as comments do"
  // Line separators and changes of direction forge log lines as well as control characters do.
  if (/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Surrogate}]/u.test(name)) return "has control characters"
  return name.trim() === name ? undefined : "starts or ends with a space"
}

const problemOfHash = (name: string, hash: string): string | undefined => {
  const owner = JSON.stringify(name)
  if (hash === "") return `password of ${owner} is missing`
  if (PasswordHash.isHash(hash)) {
    const problem = PasswordHash.problemOf(hash)
    return problem === undefined ? undefined : `password hash of ${owner} is ${problem}`
  }
  const other = otherHashes.find(([pattern]) => pattern.test(hash))
  return other === undefined
    ? `password of ${owner} is not hashed`
    : `password of ${owner} is hashed with ${other[1]}, and only argon2id is supported`
}

/** Whether a line holds no user. */
export const isBlank = (line: string): boolean => line.trim() === "" || line.trimStart().startsWith("#")

const userFields = ["groups", "from", "limits", "egress", "egress-by"] as const

/** What is wrong with a line beside those of the same name above it. */
const conflict = (
  entry: Entry,
  above: ReadonlyArray<Entry>
): readonly [field: UsersFileError["field"], problem: string, fix: string] | undefined => {
  const owner = JSON.stringify(entry.name)
  const same = above.find(({ label }) => label === entry.label)
  if (same !== undefined) {
    return entry.label === undefined
      ? ["name", `name ${owner} is taken by line ${same.line}`, "remove one of them"]
      : ["label", `label "${entry.label}" of ${owner} is taken by line ${same.line}`, "choose another one"]
  }
  for (const field of userFields) {
    const first = entry[field] === undefined ? undefined : above.find((other) => other[field] !== undefined)
    if (first !== undefined) {
      return [field, `${field}= of ${owner} stands on line ${first.line} already`, "remove one of them"]
    }
  }
  return above.length < mostPasswords
    ? undefined
    : ["name", `${owner} has more than ${mostPasswords} passwords`, "remove some"]
}

/** Reads one line that is not blank. */
const parseLine = (path: string, line: number, content: string): Result.Result<Entry, UsersFileError> => {
  const fail = (field: UsersFileError["field"], problem: string, fix: string) =>
    Result.fail(new UsersFileError({ path, line, field, problem, fix }))

  const colon = content.indexOf(":")
  // A line without a colon may well be a bare password.
  if (colon === -1) return fail("name", "no colon after the name", `write NAME:HASH, and for the hash ${hashIt}`)
  const name = content.slice(0, colon)
  const problemWithName = problemOfName(name)
  if (problemWithName !== undefined) return fail("name", `name ${problemWithName}`, "write NAME:HASH")
  const rest = content.slice(colon + 1)
  const end = rest.indexOf(":")
  // What can't be fields belongs to the hash, and is wrong there.
  const fields = end === -1 ? "" : rest.slice(end + 1)
  const hash = end !== -1 && UserFields.looksLike(fields) ? rest.slice(0, end) : rest
  const problemWithHash = problemOfHash(name, hash)
  if (problemWithHash !== undefined) return fail("password", problemWithHash, hashIt)
  if (hash === rest) return Result.succeed({ name, hash: Redacted.make(hash), line })
  const parsed = UserFields.parse(fields)
  return Result.isSuccess(parsed)
    ? Result.succeed({ name, hash: Redacted.make(hash), line, ...parsed.success })
    : fail(parsed.failure.field, `${parsed.failure.problem}, for ${JSON.stringify(name)}`, parsed.failure.fix)
}

/** Reads the text of a users file; `path` is for the error. */
export const parse = (path: string, text: string): Result.Result<ReadonlyArray<Entry>, UsersFileError> => {
  const entries: Array<Entry> = []
  const byName = new Map<string, Array<Entry>>()
  for (const [index, raw] of text.split(/\r\n|\n|\r/).entries()) {
    if (isBlank(raw)) continue
    const line = index + 1
    const parsed = parseLine(path, line, raw.trimEnd())
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
    const entry = parsed.success
    const above = byName.get(entry.name) ?? []
    const problem = conflict(entry, above)
    if (problem !== undefined) {
      const [field, what, fix] = problem
      return Result.fail(new UsersFileError({ path, line, field, problem: what, fix }))
    }
    entries.push(entry)
    byName.set(entry.name, [...above, entry])
  }
  return Result.succeed(entries)
}

const unreadable = (path: string, code: string): UsersFileError => {
  // A user that was meant for --user has a password behind the colon. What is there as a directory is no such user.
  const shown = code === "EISDIR" ? path : path.replace(/:.*/s, ":***")
  const { fix, problem } = FileFault.words(code)
  return new UsersFileError({
    path: shown,
    line: undefined,
    field: "file",
    problem,
    fix: shown !== path
      ? "correct the path, or give NAME:PASSWORD to --user"
      : code === "ENOENT"
      ? "create it with a NAME:HASH on each line, or correct the path"
      : fix
  })
}

/** Reads a users file. */
export const read = Effect.fn("UsersFile.read")(function*(path: string) {
  const files = yield* Files
  const bytes = yield* Effect.mapError(files.read(path), (code) => unreadable(path, code))
  const text = yield* Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () =>
      new UsersFileError({ path, line: undefined, field: "file", problem: "not UTF-8 text", fix: "save it as UTF-8" })
  })
  return yield* Effect.fromResult(parse(path, text))
})
