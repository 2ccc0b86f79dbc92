/** Editing a file that others read, and may edit, at the same time: a lock beside it, and a new file in its place. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs/promises"
import * as os from "node:os"
import * as Path from "node:path"
import { codeOf } from "../transport/SocketError.ts"
import { type CommandError, failed, unusable } from "./CommandError.ts"

const attempt = <A>(what: string, work: () => Promise<A>): Effect.Effect<A, CommandError> =>
  Effect.tryPromise({ try: work, catch: (error) => failed(`${what} (${codeOf(error)})`) })

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
  return pid !== undefined && host === os.hostname() && !isAlive(Number(pid))
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

const acquire = Effect.fnUntraced(function*(path: string, lock: string) {
  const code = yield* Effect.repeat(tryLock(lock), {
    schedule: Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: patience })),
    while: (code) => code === "EEXIST"
  })
  if (code === undefined) return
  if (code !== "EEXIST") return yield* failed(`${path}: can't be locked (${code}); let this user write to its folder`)
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
      const [bytes, { gid, uid }] = await Promise.all([Fs.readFile(path), Fs.stat(path)])
      return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), owner: { uid, gid } }
    },
    catch: codeOf
  }).pipe(Effect.result)
  if (Result.isSuccess(found)) return found.success
  if (found.failure === "ENOENT") return { text: "", owner: undefined } satisfies Before
  return yield* found.failure === "ERR_ENCODING_INVALID_ENCODED_DATA"
    ? unusable(`${path}: not UTF-8 text; save it as UTF-8`)
    : failed(`${path}: can't be read (${found.failure})`)
})

/** All of the new text is on the disk before its name is; who reads the file sees the one or the other. */
const write = (path: string, text: string, owner: Before["owner"]) =>
  attempt(`${path}: can't be written`, async () => {
    const fresh = `${path}.${process.pid}.new`
    try {
      const file = await Fs.open(fresh, "wx", 0o600)
      try {
        await file.writeFile(text)
        // Whoever edits it may be root, and whoever serves by it is not.
        if (owner !== undefined && owner.uid !== process.getuid?.()) await file.chown(owner.uid, owner.gid)
        await file.sync()
      } finally {
        await file.close()
      }
      await Fs.rename(fresh, path)
    } catch (error) {
      await Fs.rm(fresh, { force: true })
      throw error
    }
    const folder = await Fs.open(Path.dirname(path), "r")
    await folder.sync().finally(() => folder.close())
  })

/** The file itself, where a link leads to it: else the link would be replaced. */
const target = (path: string): Effect.Effect<string> => Effect.promise(() => Fs.realpath(path).catch(() => path))

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
export const check = (path: string, change: Change): Effect.Effect<void, CommandError> =>
  Effect.flatMap(read(path), (before) => Effect.asVoid(changed(path, before, change)))

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
        const before = yield* read(file)
        yield* write(file, yield* changed(path, before, change), before.owner)
      }),
      () => Effect.promise(() => Fs.rm(lock, { force: true }))
    )
  })
