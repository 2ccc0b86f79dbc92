import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as UsersFile from "../../src/policy/UsersFile.ts"
import * as Cli from "../support/Cli.ts"
import * as Program from "../support/Program.ts"

const hash = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "sluice-user-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
)

const run = (args: ReadonlyArray<string>, password?: string) =>
  Cli.run(["user", ...args], password === undefined ? {} : { stdin: Stream.make(new TextEncoder().encode(password)) })

const done = { code: 0, stdout: "", stderr: "" }

const refused = (complaint: string) => ({ code: 2, stdout: "", stderr: `sluice: ${complaint}\n` })

const read = (path: string) => Effect.promise(() => readFile(path, "utf8"))

const write = (path: string, text: string) => Effect.promise(() => writeFile(path, text, { mode: 0o644 }))

const verifies = Effect.fnUntraced(function*(path: string, name: string, label: string | undefined, password: string) {
  const entries = yield* UsersFile.read(path)
  const entry = entries.find((entry) => entry.name === name && entry.label === label)
  return yield* PasswordHash.verify(Redacted.value(entry?.hash ?? Redacted.make(hash)), Redacted.make(password))
})

describe("sluice user", () => {
  it.live("adds, changes, lists and removes, and leaves all else in place", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      assert.deepStrictEqual(
        yield* run(["add", path, "ann", "--groups", "staff,crawlers", "--from", "192.0.2.0/24"], "one\n"),
        done
      )
      yield* write(path, `# staff\n${yield* read(path)}# others\n`)
      assert.deepStrictEqual(
        yield* run(["add", path, "ann", "--label", "phone", "--expires", "2027-06-30", "--limits", "heavy"], "two\n"),
        done
      )
      assert.deepStrictEqual(yield* run(["add", path, "bob", "--without-password"]), done)
      const egress = ["--egress", "192.0.2.7,2001:db8::/64", "--egress-by", "user"]
      assert.deepStrictEqual(yield* run(["passwd", path, "bob", ...egress, "--without-password"]), done)
      assert.deepStrictEqual(yield* run(["passwd", path, "ann", "--label", "phone"], "three\n"), done)
      assert.isTrue(yield* verifies(path, "ann", undefined, "one"))
      assert.isTrue(yield* verifies(path, "ann", "phone", "three"))
      assert.isTrue(yield* verifies(path, "bob", undefined, ""))
      assert.deepStrictEqual(yield* run(["list", path]), {
        ...done,
        stdout: [
          "name  label  groups          expires     from          limits  egress                   egress-by",
          "ann   -      staff,crawlers  -           192.0.2.0/24  -       -                        -",
          "ann   phone  -               2027-06-30  -             heavy   -                        -",
          "bob   -      -               -           -             -       192.0.2.7,2001:db8::/64  user",
          ""
        ].join("\n")
      })
      assert.deepStrictEqual(yield* run(["remove", path, "ann"]), done)
      const text = yield* read(path)
      assert.match(
        text,
        /^# staff\n# others\nbob:\$argon2id\$[^:\s]+:egress=192\.0\.2\.7,2001:db8::\/64 egress-by=user\n$/
      )
      assert.deepStrictEqual((yield* run(["list", path, "bob"])).stdout.split("\n").length, 3)
    }))

  it.live("leaves a file that only its owner can read, and nothing beside it", () =>
    Effect.gen(function*() {
      const directory = yield* folder
      const path = join(directory, "users")
      yield* write(path, `ann:${hash}\n`)
      yield* Effect.promise(() => chmod(path, 0o644))
      const link = join(directory, "link")
      yield* Effect.promise(() => symlink(path, link))
      assert.deepStrictEqual(yield* run(["add", link, "bob"], "two"), done)
      const { mode } = yield* Effect.promise(() => stat(path))
      assert.strictEqual(mode & 0o777, 0o600)
      assert.match(yield* read(path), /^ann:.*\nbob:.*\n$/)
      assert.deepStrictEqual((yield* Effect.promise(() => readdir(directory))).toSorted(), ["link", "users"])
    }))

  it.live("leaves the file to whom it belonged, in user and group", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      yield* write(path, `ann:${hash}\n`)
      // Only root can give files away.
      const isRoot = process.getuid?.() === 0
      const mine = yield* Effect.promise(() => stat(path))
      for (const [uid, gid] of isRoot ? [[65534, 65533], [0, 65533]] as const : [[mine.uid, mine.gid]] as const) {
        yield* Effect.promise(() => chown(path, uid, gid))
        assert.deepStrictEqual(yield* run(["passwd", path, "ann"], "one"), done)
        const after = yield* Effect.promise(() => stat(path))
        assert.deepStrictEqual([after.uid, after.gid, after.mode & 0o777], [uid, gid, 0o600])
      }
    }))

  it.live("makes the file that a link is to lead to, and leaves the link", () =>
    Effect.gen(function*() {
      const directory = yield* folder
      yield* Effect.promise(() => mkdir(join(directory, "data")))
      yield* Effect.promise(() => symlink("data/users", join(directory, "second")))
      yield* Effect.promise(() => symlink("second", join(directory, "link")))
      assert.deepStrictEqual(yield* run(["add", join(directory, "link"), "ann"], "one"), done)
      assert.match(yield* read(join(directory, "data", "users")), /^ann:/)
      assert.isTrue((yield* Effect.promise(() => lstat(join(directory, "link")))).isSymbolicLink())
      assert.deepStrictEqual((yield* Effect.promise(() => readdir(directory))).toSorted(), ["data", "link", "second"])
      assert.deepStrictEqual(yield* Effect.promise(() => readdir(join(directory, "data"))), ["users"])
    }))

  it.live("says what is wrong with a path", () =>
    Effect.gen(function*() {
      const directory = yield* folder
      const at = (name: string) => join(directory, name)
      yield* write(at("users"), `ann:${hash}\n`)
      yield* Effect.promise(() => symlink("loop", at("loop")))
      assert.strictEqual((yield* Program.run("/usr/bin/mkfifo", [at("pipe")])).code, 0)
      const cases = [
        [directory, "is a directory; name a file"],
        [at("none/users"), "there is no such folder; create it, or correct the path"],
        [at("users/users"), "can't be read (ENOTDIR); correct the path or the file"],
        [at("loop"), "can't be read (ELOOP); correct the path or the file"],
        [at("pipe"), "is a pipe or a device; name a file"]
      ] as const
      // No password is read before that is known.
      for (const [path, problem] of cases) {
        assert.deepStrictEqual(yield* run(["add", path, "eve"]), refused(`${path}: ${problem}`))
      }
      const empty = refused("FILE: is empty; give the path of a file")
      for (const args of [["add", "", "eve"], ["passwd", "", "eve"], ["remove", "", "eve"], ["list", ""]]) {
        assert.deepStrictEqual(yield* run(args), empty)
      }
    }))

  it.live("takes a password of any text, and of nothing else", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      const add = (name: string, bytes: Uint8Array) =>
        Cli.run(["user", "add", path, name], { stdin: Stream.make(bytes) })
      const text = "pâss wörd: #\u0000$=\t"
      assert.deepStrictEqual(yield* add("ann", Buffer.from(`${text}\r\n`)), done)
      assert.isTrue(yield* verifies(path, "ann", undefined, text))
      assert.deepStrictEqual(
        yield* add("bob", Uint8Array.of(0x70, 0xff, 0xfe)),
        refused("standard input: is not UTF-8 text; write the password as UTF-8")
      )
      assert.match(yield* read(path), /^ann:[^\n]*\n$/)
    }))

  it.live("refuses what can't be, before it reads a password, and changes nothing", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      const text = `ann:${hash}:label=a\nann:${hash}:label=b\n`
      yield* write(path, text)
      assert.deepStrictEqual(
        yield* run(["add", path, "ann", "--label", "a"]),
        refused("\"ann\" has a password \"a\" already; choose another --label")
      )
      assert.deepStrictEqual(
        yield* run(["passwd", path, "ann"]),
        refused("\"ann\" has several passwords (a, b); say which one by --label")
      )
      assert.deepStrictEqual(
        yield* run(["remove", path, "eve"]),
        refused("there is no user \"eve\"; sluice user list shows who there is")
      )
      assert.deepStrictEqual(
        yield* run(["passwd", `${path}.none`, "ann"]),
        refused(`${path}.none: no such file; correct the path`)
      )
      assert.deepStrictEqual(yield* run(["list", path, "eve"]), refused(`${path}: there is no such user`))
      assert.deepStrictEqual(
        yield* run(["add", path, "a:b"]),
        refused("NAME: has a colon; give the name that the user logs in with")
      )
      assert.deepStrictEqual(
        yield* run(["add", path, "eve", "--expires", "soon"]),
        refused("--expires: \"soon\" is not a date; write 2027-06-30 or 2027-06-30T12:00:00Z")
      )
      assert.deepStrictEqual(
        yield* run(["add", path, "eve", "--from", "home"]),
        refused("--from: \"home\" is not a network; write an address, or 192.0.2.0/24")
      )
      assert.deepStrictEqual(
        yield* run(["add", path, "eve", "--egress", "192.0.2.1", "--egress-by", "name"]),
        refused("--egress-by: \"name\" is not one of rotate, user, session; write one of these")
      )
      assert.deepStrictEqual(
        yield* run(["add", path, "eve", "--egress-by", "user"]),
        refused(
          `${path}:3: egress-by= says which of several, and there is no egress=, for "eve"; ` +
            "add egress= with what to go out from"
        )
      )
      assert.deepStrictEqual(
        yield* run(["add", path, "eve"], ""),
        refused("password: is empty; write one to standard input")
      )
      assert.strictEqual(yield* read(path), text)
    }))

  it.live("loses no edit of several at once", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      const names = Array.from({ length: 5 }, (_, index) => `user${index}`)
      const ended = yield* Effect.all(names.map((name) => run(["add", path, name], name)), { concurrency: "unbounded" })
      assert.deepStrictEqual(ended, names.map(() => done))
      const entries = yield* UsersFile.read(path)
      assert.deepStrictEqual(entries.map(({ name }) => name).toSorted(), names)
    }))

  it.live("takes over the lock of a process that is gone, and waits for one that is there", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      const lock = `${path}.lock`
      const { stdout: gone } = yield* Program.run(process.execPath, ["-p", "process.pid"])
      yield* write(lock, `${gone.trim()} ${hostname()}\n`)
      assert.deepStrictEqual(yield* run(["add", path, "ann"], "one"), done)
      yield* write(lock, `${process.pid} ${hostname()}\n`)
      const [ended] = yield* Effect.all([
        run(["add", path, "bob"], "two"),
        Effect.delay(Effect.promise(() => rm(lock)), "700 millis")
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(ended, done)
      const entries = yield* UsersFile.read(path)
      assert.deepStrictEqual(entries.map(({ name }) => name), ["ann", "bob"])
    }))

  it.live("gives up a lock that is held, and says by whom", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      const lock = `${path}.lock`
      // On another machine, as far as can be told.
      yield* write(lock, "1 elsewhere\n")
      const { code, stderr } = yield* run(["add", path, "ann"], "one")
      assert.strictEqual(code, 1)
      assert.strictEqual(
        stderr,
        `sluice: ${path}: is being edited by process 1 of elsewhere; try again, or remove ${lock} if that is not so\n`
      )
      assert.strictEqual(yield* read(lock), "1 elsewhere\n")
    }))

  // What a person sees and types, through a pseudo-terminal.
  const typed = `
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:-2])
seen = b""
def until(text):
    global seen
    start = len(seen)
    while text not in seen[start:]:
        seen += os.read(fd, 1024)
until(b"Password")
os.write(fd, sys.argv[-2].encode() + b"\\r")
until(b"Once more")
os.write(fd, sys.argv[-1].encode() + b"\\r")
try:
    while True:
        part = os.read(fd, 1024)
        if not part: break
        seen += part
except OSError:
    pass
sys.stdout.write(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`

  const type = (args: ReadonlyArray<string>, first: string, second: string) =>
    Program.run("/usr/bin/python3", ["-c", typed, process.execPath, Cli.path, "user", ...args, first, second])

  it.live("asks for the password twice on a terminal, and does not show it", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "users")
      const { code, stdout } = yield* type(["add", path, "ann"], "S3cr3t-canary", "S3cr3t-canary")
      assert.strictEqual(code, 0)
      assert.notInclude(stdout, "canary")
      assert.isTrue(yield* verifies(path, "ann", undefined, "S3cr3t-canary"))
      const different = yield* type(["passwd", path, "ann"], "S3cr3t-canary", "S3cr3t-canarx")
      assert.strictEqual(different.code, 2)
      assert.include(different.stdout, "sluice: password: the two differ; start again")
      assert.notInclude(different.stdout, "canar")
      assert.isTrue(yield* verifies(path, "ann", undefined, "S3cr3t-canary"))
    }))
})
