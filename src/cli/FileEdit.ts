/** Editing a file that others read, and may edit, at the same time: a lock beside it, and a new file in its place. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs/promises"
import * as os from "node:os"
import * as Path from "node:path"
import * as FileFault from "../transport/FileFault.ts"
import { Irregular } from "../transport/Files.ts"
import { codeOf } from "../transport/SocketError.ts"
import { type CommandError, failed, unusable } from "./CommandError.ts"

const attempt = <A>(path: string, work: () => Promise<A>): Effect.Effect<A, CommandError> =>
  Effect.tryPromise({
    try: work,
    catch: (error) => {
      const code = codeOf(error)
      const fix = code === "EPERM" ? "; run this as its owner, whose it has to stay" : ""
      return failed(`${path}: can't be written (${code})${fix}`)
    }
  })

/** How long another edit may take. */
const patience = Duration.seconds(3)

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) !== "ESRCH"
  }
}

/** The process that a lock names, where it can be known to have ended: it was on this machine, and is not there. */
const isStale = (content: string): boolean => {
  const [, pid, host] = /^(\d+) (\S+)\n$/.exec(content) ?? []
  // One of this process's number is not this process's: in a container each may be given the same.
  return pid !== undefined && host === os.hostname() && (Number(pid) === process.pid || !isAlive(Number(pid)))
}

/** Takes away the lock of a process that has ended. Two that find it do not take each other's away. */
const breakStale = async (lock: string): Promise<void> => {
  const content = await Fs.readFile(lock, "utf8").catch(() => "")
  if (!isStale(content)) return
  const aside = `${lock}.${process.pid}`
  try {
    await Fs.rename(lock, aside)
  } catch {
    return
  }
  // Somebody was faster, and what was taken away is a lock that holds: back with it, unless there is a newer one.
  if (await Fs.readFile(aside, "utf8") !== content) await Fs.link(aside, lock).catch(() => undefined)
  await Fs.unlink(aside)
}

const tryLock = (lock: string) =>
  Effect.promise(async () => {
    try {
      await Fs.writeFile(lock, `${process.pid} ${os.hostname()}\n`, { flag: "wx", mode: 0o600 })
      return undefined
    } catch (error) {
      if (codeOf(error) === "EEXIST") await breakStale(lock)
      return codeOf(error)
    }
  })

/** Why nothing can be written beside a file. */
const folderFault = (path: string, code: string): CommandError =>
  code === "ENOENT" || code === "ENOTDIR"
    ? unusable(`${path}: there is no such folder; create it, or correct the path`)
    : failed(`${path}: can't be locked (${code}); let this user write to its folder`)

const acquire = Effect.fnUntraced(function*(path: string, lock: string) {
  const code = yield* Effect.repeat(tryLock(lock), {
    schedule: Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: patience })),
    while: (code) => code === "EEXIST"
  })
  if (code === undefined) return
  if (code !== "EEXIST") return yield* folderFault(path, code)
  const content = yield* Effect.promise(() => Fs.readFile(lock, "utf8").catch(() => ""))
  const [, pid, host] = /^(\d+) (\S+)\n$/.exec(content) ?? []
  const who = pid === undefined ? "somebody" : `process ${pid}${host === os.hostname() ? "" : ` of ${host}`}`
  return yield* failed(`${path}: is being edited by ${who}; try again, or remove ${lock} if that is not so`)
})

interface Before {
  readonly text: string
  /** Who owned the file; `undefined` where there was none. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined
}

const read = Effect.fnUntraced(function*(path: string) {
  const found = yield* Effect.tryPromise({
    try: async (): Promise<Before> => {
      const stats = await Fs.stat(path)
      // A pipe would be waited for, and what takes its place would not be one.
      if (!stats.isFile() && !stats.isDirectory()) throw new Irregular()
      const bytes = await Fs.readFile(path)
      const { gid, uid } = stats
      return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), owner: { uid, gid } }
    },
    catch: codeOf
  }).pipe(Effect.result)
  if (Result.isSuccess(found)) return found.success
  if (found.failure === "ENOENT") return { text: "", owner: undefined } satisfies Before
  if (found.failure === "ERR_ENCODING_INVALID_ENCODED_DATA") {
    return yield* unusable(`${path}: not UTF-8 text; save it as UTF-8`)
  }
  const { fix, problem } = FileFault.words(found.failure)
  return yield* unusable(`${path}: ${problem}; ${fix}`)
})

/** All of the new text is on the disk before its name is; who reads the file sees the one or the other. */
const write = (path: string, file: string, text: string, owner: Before["owner"]) =>
  attempt(path, async () => {
    const fresh = `${file}.${process.pid}.new`
    // Of a process of this number that was killed: the lock is ours.
    await Fs.rm(fresh, { force: true })
    try {
      const made = await Fs.open(fresh, "wx", 0o600)
      try {
        await made.writeFile(text)
        const { gid, uid } = await made.stat()
        // Whoever edits it may be root, and whoever serves by it is not.
        if (owner !== undefined && (owner.uid !== uid || owner.gid !== gid)) await made.chown(owner.uid, owner.gid)
        await made.sync()
      } finally {
        await made.close()
      }
      await Fs.rename(fresh, file)
    } catch (error) {
      await Fs.rm(fresh, { force: true })
      throw error
    }
    const folder = await Fs.open(Path.dirname(file), "r")
    await folder.sync().finally(() => folder.close())
  })

/** The file itself, where links lead to it, even if it is not there yet: else the link would be replaced. */
const target = (path: string): Effect.Effect<string> => Effect.promise(() => follow(path, mostLinks))

/** As Linux has it. */
const mostLinks = 40

const follow = async (path: string, links: number): Promise<string> => {
  try {
    return await Fs.realpath(path)
  } catch {
    const next = links > 0 ? await Fs.readlink(path).catch(() => undefined) : undefined
    return next === undefined ? path : follow(Path.resolve(Path.dirname(path), next), links - 1)
  }
}

export interface Change {
  /** What becomes of the text, or why nothing can. */
  readonly change: (text: string) => Result.Result<string, string>
  /** Whether a file that is not there is the empty text. */
  readonly create: boolean
}

const changed = Effect.fnUntraced(function*(path: string, { owner, text }: Before, { change, create }: Change) {
  if (owner === undefined && !create) return yield* unusable(`${path}: no such file; correct the path`)
  return yield* Effect.mapError(Effect.fromResult(change(text)), unusable)
})

/** Fails as `edit` would, and changes nothing. */
export const check = Effect.fnUntraced(function*(
  path: string,
  change: Change
): Effect.fn.Return<void, CommandError> {
  yield* changed(path, yield* read(path), change)
  const folder = Path.dirname(yield* target(path))
  yield* Effect.tryPromise({
    try: () => Fs.access(folder, Fs.constants.W_OK | Fs.constants.X_OK),
    catch: (error) => folderFault(path, codeOf(error))
  })
})

/**
 * Puts what a change makes of a file's text in its place. It belongs to whom it belonged to, and nobody else may read it
 * (mode 0600).
 */
export const edit = (path: string, change: Change): Effect.Effect<void, CommandError> =>
  Effect.gen(function*() {
    const file = yield* target(path)
    const lock = `${file}.lock`
    yield* Effect.acquireUseRelease(
      acquire(path, lock),
      Effect.fnUntraced(function*() {
        const before = yield* read(path)
        yield* write(path, file, yield* changed(path, before, change), before.owner)
      }),
      () => Effect.promise(() => Fs.rm(lock, { force: true }))
    )
  })
