/** The file in which usage survives a restart. It is an aid: whatever is wrong with it, the proxy runs. */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { open, readFile, realpath, rename, rm, stat } from "node:fs/promises"
import { kinds } from "./Limit.ts"
import type { UsageBook, Used } from "./Usage.ts"

/** How often it is written at most; a crash forgets what was used since. */
const interval = "5 seconds"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const Entry = Schema.Struct({
  kind: Schema.Literals(kinds),
  name: Schema.String,
  class: Schema.optionalKey(Schema.String),
  until: Count.check(Schema.isLessThanOrEqualTo(8.64e15)),
  day: Count,
  month: Count
})

const Content = Schema.fromJsonString(Schema.Struct({ version: Schema.Literal(1), used: Schema.Array(Entry) }))

const usedOf = ({ day, month, until, ...holder }: typeof Entry.Type): Used => ({ holder, until, day, month })

const entryOf = ({ day, holder, month, until }: Used): typeof Entry.Type => {
  const { class: limits, kind, name } = holder
  const entry = { kind, name, until, day, month }
  return limits === undefined ? entry : { ...entry, class: limits }
}

const decode = Schema.decodeUnknownOption(Content)

const encode = Schema.encodeSync(Content)

/** The system refused. */
class FileFailed extends Data.TaggedError("FileFailed")<{ readonly code: string }> {}

const attempt = <A>(work: () => Promise<A>): Effect.Effect<A, FileFailed> =>
  Effect.tryPromise({
    try: work,
    catch: (error) => new FileFailed({ code: (error as NodeJS.ErrnoException).code ?? "unknown" })
  })

const warn = (message: string, path: string, code?: string) =>
  Effect.annotateLogs(Effect.logWarning(message), { path, ...code !== undefined && { code } })

/** How every usage file begins. */
const head = "{\"version\":"

/** Whether a text may be that of a usage file, if only of what is left of one. */
export const isOurs = (text: string): boolean => text.startsWith(head) || head.startsWith(text.trim())

/**
 * What is written there. One that makes no sense is put aside, so that nothing that it may hold is lost; `undefined` for
 * somebody else's file.
 */
const read = Effect.fnUntraced(
  function*(path: string) {
    const text = yield* attempt(() => readFile(path, "utf8")).pipe(
      Effect.catchIf(({ code }) => code === "ENOENT", () => Effect.succeed(undefined))
    )
    if (text === undefined) return []
    const content = Option.getOrUndefined(decode(text))
    if (content !== undefined) {
      return content.used.map(usedOf)
    }
    if (!isOurs(text)) {
      return yield* warn("there is another file where usage was to be kept; a restart will forget what was used", path)
    }
    const aside = `${path}.damaged`
    yield* attempt(() => rename(path, aside))
    yield* warn(`the usage file is damaged and was renamed to ${aside}; usage is counted from 0`, path)
    return []
  },
  (effect, path) =>
    Effect.catchTag(
      effect,
      "FileFailed",
      ({ code }) => Effect.as(warn("can't read the usage file; usage is counted from 0", path, code), [])
    )
)

/** Whoever reads it while it is written, or after a crash, finds the old one or the new one whole. */
const write = (path: string, text: string) =>
  attempt(async () => {
    const temporary = `${path}.tmp`
    await rm(temporary, { force: true })
    const file = await open(temporary, "wx", 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  })

/** Where a link leads; `undefined` for what is there and no file: it would be replaced by one. */
const targetOf = (path: string) =>
  attempt(async () => {
    const target = await realpath(path)
    return (await stat(target)).isFile() ? target : undefined
  }).pipe(Effect.orElseSucceed(() => path))

/** Takes into the book what the file holds, and keeps the file up to date until the scope has closed. */
export const keep = Effect.fnUntraced(function*(
  given: string,
  book: UsageBook
): Effect.fn.Return<void, never, Scope.Scope> {
  const path = yield* targetOf(given)
  if (path === undefined) {
    return yield* warn("the usage file is no regular file; a restart will forget what was used", given)
  }
  const before = yield* read(path)
  if (before === undefined) return
  book.restore(before)
  // What can't be written is noticed now.
  book.changed = true
  let failing = false
  const save = Effect.suspend(() => {
    if (!book.changed) return Effect.void
    book.changed = false
    const used = book.list().map(entryOf)
    return Effect.matchEffect(write(path, encode({ version: 1, used })), {
      onSuccess: () => Effect.sync(() => failing = false),
      onFailure: ({ code }) => {
        book.changed = true
        if (failing) return Effect.void
        failing = true
        return warn("can't write the usage file; a restart will forget what was used", path, code)
      }
    })
  }).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause) : Effect.logError("the usage file died", cause)
    ),
    Effect.asVoid,
    // Half a file would be left.
    Effect.uninterruptible
  )
  yield* Effect.addFinalizer(() => save)
  yield* Effect.forkScoped(Effect.repeat(save, Schedule.spaced(interval)))
})
