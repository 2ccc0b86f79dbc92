import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import * as UsersFile from "../../src/policy/UsersFile.ts"

const canary = "S3cr3t-canary"
const hash = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"

const failure = (text: string): UsersFile.UsersFileError => {
  const result = UsersFile.parse("users.txt", text)
  if (Result.isSuccess(result)) throw new Error("the file was accepted")
  return result.failure
}

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "sluice-users-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
)

/** Root may read everything: until the scope closes, the process is somebody else. */
const unprivileged = Effect.acquireRelease(
  Effect.sync(() => {
    const uid = process.geteuid?.()
    if (uid === 0) process.seteuid?.(65_534)
    return uid
  }),
  (uid) => Effect.sync(() => uid === 0 && process.seteuid?.(0))
)

describe("UsersFile", () => {
  it("reads names and hashes, past comments, blank lines and all line ends", () => {
    const text = `# users\n\nann:${hash}\r\n  # more\n   \nbob:${hash}  \n"Zoë" ü:${hash}`
    const entries = Result.getOrThrow(UsersFile.parse("users.txt", text))
    assert.deepStrictEqual(entries.map(({ line, name }) => [name, line]), [["ann", 3], ["bob", 6], ["\"Zoë\" ü", 7]])
    assert.deepStrictEqual(entries.map((entry) => Redacted.value(entry.hash)), [hash, hash, hash])
  })

  it("reads an empty file as no users", () => {
    assert.deepStrictEqual(Result.getOrThrow(UsersFile.parse("users.txt", "# nobody yet\n")), [])
  })

  const argon2i = hash.replace("argon2id", "argon2i")
  const tooCostly = hash.replace("m=64", "m=4194304")

  it.each([
    [`\n\nann:${canary}`, "users.txt:3: password of \"ann\" is not hashed; run: sluice hash"],
    [`ann:$${canary}`, "users.txt:1: password of \"ann\" is not hashed; run: sluice hash"],
    ["ann:", "users.txt:1: password of \"ann\" is missing; run: sluice hash"],
    [
      `ann:$apr1$${canary}`,
      "users.txt:1: password of \"ann\" is hashed with Apache MD5, and only argon2id is supported; run: sluice hash"
    ],
    [
      `ann:$2y$05$${canary}`,
      "users.txt:1: password of \"ann\" is hashed with bcrypt, and only argon2id is supported; run: sluice hash"
    ],
    [
      `ann:{SHA}${canary}`,
      "users.txt:1: password of \"ann\" is hashed with SHA, and only argon2id is supported; run: sluice hash"
    ],
    [
      `ann:${argon2i}`,
      "users.txt:1: password of \"ann\" is hashed with argon2i, and only argon2id is supported; run: sluice hash"
    ],
    [`ann:$argon2id$${canary}`, "users.txt:1: password hash of \"ann\" is malformed; run: sluice hash"],
    [`ann:${hash}:${canary}`, "users.txt:1: password hash of \"ann\" is malformed; run: sluice hash"],
    [
      `ann:${tooCostly}`,
      "users.txt:1: password hash of \"ann\" is too costly (at most m=1048576,t=64); run: sluice hash"
    ],
    [canary, "users.txt:1: no colon after the name; write NAME:HASH, and for the hash run: sluice hash"],
    [hash, "users.txt:1: no colon after the name; write NAME:HASH, and for the hash run: sluice hash"],
    [`ann:${hash}\n:${canary}`, "users.txt:2: name is empty; write NAME:HASH"],
    [`${"é".repeat(128)}:${canary}`, "users.txt:1: name is longer than 255 bytes; write NAME:HASH"],
    [`a\u001b[2Kb:${canary}`, "users.txt:1: name has control characters; write NAME:HASH"],
    [`a\u202eb:${canary}`, "users.txt:1: name has control characters; write NAME:HASH"],
    [` ann:${canary}`, "users.txt:1: name starts or ends with a space; write NAME:HASH"],
    [`ann:${hash}\n\nann:${hash}`, "users.txt:3: name \"ann\" is taken by line 1; remove one of them"]
  ])("refuses %j", (text, message) => {
    const error = failure(text)
    assert.strictEqual(error.message, message)
    for (const shown of [String(error), inspect(error, { depth: null, showHidden: true }), JSON.stringify(error)]) {
      for (const encoding of ["utf8", "hex", "base64"] as const) {
        assert.notInclude(shown, Buffer.from(canary).toString(encoding))
      }
    }
  })

  it("accepts a name of exactly 255 bytes", () => {
    const name = "n".repeat(255)
    assert.strictEqual(Result.getOrThrow(UsersFile.parse("users.txt", `${name}:${hash}`))[0]?.name, name)
  })

  it("refuses a colon in a name that did not come from a line", () => {
    assert.strictEqual(UsersFile.problemOfName("a:b"), "has a colon")
  })

  it("refuses a name that would make its line a comment", () => {
    assert.deepStrictEqual(Result.getOrThrow(UsersFile.parse("users.txt", `#ann:${hash}`)), [])
    assert.strictEqual(UsersFile.problemOfName("#ann"), "starts with #, as comments do")
  })

  it("says which field is at fault, and where", () => {
    const { field, fix, line, path, problem } = failure(`\nann:${canary}`)
    assert.deepStrictEqual({ field, fix, line, path, problem }, {
      field: "password",
      fix: "run: sluice hash",
      line: 2,
      path: "users.txt",
      problem: "password of \"ann\" is not hashed"
    })
  })

  it("keeps a line break in the path out of the message", () => {
    const result = UsersFile.parse("a\nb", "x")
    assert.match(Result.isFailure(result) ? result.failure.message : "", /^a\?b:1: /)
  })

  it("shows no hash when an entry is printed", () => {
    const entries = Result.getOrThrow(UsersFile.parse("users.txt", `ann:${hash}`))
    for (const shown of [inspect(entries, { depth: null, showHidden: true }), JSON.stringify(entries)]) {
      assert.include(shown, "ann")
      assert.notInclude(shown, "argon2id")
    }
  })

  it.live("reads a file from disk, with a byte order mark or without", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users.txt")
      yield* Effect.promise(() => writeFile(path, `\uFEFFann:${hash}\n`))
      const entries = yield* UsersFile.read(path)
      assert.deepStrictEqual(entries.map(({ name }) => name), ["ann"])
    }))

  it.live("says in one line why a file can't be read", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const missing = yield* Effect.flip(UsersFile.read(join(path, "none")))
      assert.strictEqual(
        missing.message,
        `${join(path, "none")}: no such file; create it with a NAME:HASH on each line, or correct the path`
      )
      const directory = yield* Effect.flip(UsersFile.read(path))
      assert.strictEqual(directory.message, `${path}: is a directory; name a file`)
      const binary = join(path, "binary")
      yield* Effect.promise(() => writeFile(binary, Uint8Array.from([0x61, 0x3a, 0xff, 0xfe])))
      const notText = yield* Effect.flip(UsersFile.read(binary))
      assert.strictEqual(notText.message, `${binary}: not UTF-8 text; save it as UTF-8`)
      const colons = join(path, "a:b")
      const user = yield* Effect.flip(UsersFile.read(`${colons}:${canary}`))
      assert.strictEqual(
        user.message,
        `${join(path, "a")}:***: no such file; correct the path, or give NAME:PASSWORD to --user`
      )
      yield* Effect.promise(() => mkdir(colons))
      assert.strictEqual(
        (yield* Effect.flip(UsersFile.read(colons))).message,
        `${colons}: is a directory; name a file`
      )
      const inFile = yield* Effect.flip(UsersFile.read(join(binary, "none")))
      assert.strictEqual(
        inFile.message,
        `${join(binary, "none")}: can't be read (ENOTDIR); correct the path or the file`
      )
    }))

  // Root reads everything.
  it.live("says so when the file is not ours to read", () =>
    Effect.gen(function*() {
      const directory = yield* folder
      const path = join(directory, "users.txt")
      yield* Effect.promise(() => chmod(directory, 0o755))
      yield* Effect.promise(() => writeFile(path, "", { mode: 0 }))
      yield* unprivileged
      const error = yield* Effect.flip(UsersFile.read(path))
      assert.strictEqual(error.message, `${path}: can't be read (EACCES); let the user that runs sluice read it`)
    }))
})
