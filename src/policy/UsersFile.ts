/**
 * The users file: one `NAME:HASH` on each line, as htpasswd writes them, with
 * argon2id hashes only. Blank lines, and lines that start with `#`, are skipped.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { readFile } from "node:fs/promises"
import * as PasswordHash from "./PasswordHash.ts"

export interface Entry {
  readonly name: string
  /** Not the password, and still nothing to print. */
  readonly hash: Redacted.Redacted<string>
  /** Counts from 1. */
  readonly line: number
}

/** A users file can't be used. Nothing in it quotes what may be a password. */
export class UsersFileError extends Data.TaggedError("UsersFileError")<{
  readonly path: string
  /** Counts from 1; `undefined` when the file as a whole is at fault. */
  readonly line: number | undefined
  readonly field: "file" | "name" | "password"
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

/** Reads the text of a users file; `path` is for the error. */
export const parse = (path: string, text: string): Result.Result<ReadonlyArray<Entry>, UsersFileError> => {
  const entries = new Map<string, Entry>()
  for (const [index, raw] of text.split(/\r\n|\n|\r/).entries()) {
    const line = index + 1
    const content = raw.trimEnd()
    if (content === "" || content.trimStart().startsWith("#")) continue
    const fail = (field: "name" | "password", problem: string, fix: string) =>
      Result.fail(new UsersFileError({ path, line, field, problem, fix }))

    const colon = content.indexOf(":")
    // A line without a colon may well be a bare password.
    if (colon === -1) return fail("name", "no colon after the name", `write NAME:HASH, and for the hash ${hashIt}`)
    const name = content.slice(0, colon)
    const problemWithName = problemOfName(name)
    if (problemWithName !== undefined) return fail("name", `name ${problemWithName}`, "write NAME:HASH")
    const earlier = entries.get(name)
    if (earlier !== undefined) {
      return fail("name", `name ${JSON.stringify(name)} is taken by line ${earlier.line}`, "remove one of them")
    }
    const hash = content.slice(colon + 1)
    const problemWithHash = problemOfHash(name, hash)
    if (problemWithHash !== undefined) return fail("password", problemWithHash, hashIt)
    entries.set(name, { name, hash: Redacted.make(hash), line })
  }
  return Result.succeed([...entries.values()])
}

const unreadable = (path: string, code: string): UsersFileError => {
  // A user that was meant for --user has a password behind the colon. What is there as a directory is no such user.
  const shown = code === "EISDIR" ? path : path.replace(/:.*/s, ":***")
  const fail = (problem: string, fix: string) =>
    new UsersFileError({
      path: shown,
      line: undefined,
      field: "file",
      problem,
      fix: shown === path ? fix : "correct the path, or give NAME:PASSWORD to --user"
    })
  switch (code) {
    case "ENOENT":
      return fail("no such file", "create it with a NAME:HASH on each line, or correct the path")
    case "EACCES":
    case "EPERM":
      return fail(`can't be read (${code})`, "let the user that runs sluice read it")
    case "EISDIR":
      return fail("is a directory", "name a file")
    default:
      return fail(`can't be read (${code})`, "correct the path or the file")
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown error"

/** Reads a users file from disk. */
export const read = Effect.fn("UsersFile.read")(function*(path: string) {
  const bytes = yield* Effect.tryPromise({
    try: (signal) => readFile(path, { signal }),
    catch: (error) => unreadable(path, codeOf(error))
  })
  const text = yield* Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () =>
      new UsersFileError({ path, line: undefined, field: "file", problem: "not UTF-8 text", fix: "save it as UTF-8" })
  })
  return yield* Effect.fromResult(parse(path, text))
})
