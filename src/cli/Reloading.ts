/** A configuration file that is read again: on SIGHUP, and when it, or a file that it names, has changed. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import { escape } from "../config/Escape.ts"
import * as WatchedFile from "../transport/WatchedFile.ts"
import { type CommandError, unusable } from "./CommandError.ts"
import type * as ServiceManager from "./ServiceManager.ts"
import type { Wanted } from "./Wanted.ts"

/** How often it is tried again where files change faster than they are read, and after how long. */
const retries = 20
const retryAfter = "200 millis"

/** How often the files are looked at. A change is taken once it was seen twice, so that none is read half written. */
const checkEvery = "250 millis"

export interface Options {
  /** What is in force. */
  readonly first: Wanted
  /** Waits for somebody to ask for it. */
  readonly asked: Effect.Effect<void>
  readonly read: Effect.Effect<Wanted, CommandError>
  /** Puts it in force, or leaves all as it is. Tells what became of it, for the log. */
  readonly apply: (wanted: Wanted) => Effect.Effect<object, CommandError>
  readonly manager: ServiceManager.ServiceManager
}

/** As they were when the configuration was read from them. */
const versionsRead = ({ loaded, versions }: Wanted): string =>
  (loaded?.files ?? []).map((path) => versions.get(path) ?? "").join()

const versionsOf = (files: ReadonlyArray<string>): string => files.map(WatchedFile.versionOf).join()

/** What a process that serves can't change any more. */
const lasting = ["workers", "logFormat", "logLevel"] as const

/** Says which settings are others by now, and will be taken at the next start only. */
const warnOfLasting = (first: Wanted, { settings, sourceOf }: Wanted) =>
  Effect.forEach(
    lasting.filter((key) => settings[key] !== first.settings[key]),
    (key) =>
      Effect.annotateLogs(Effect.logWarning("setting not changed, that takes a restart"), {
        setting: sourceOf(key),
        stays: String(first.settings[key] ?? "automatic").toLowerCase()
      }),
    { discard: true }
  )

const usersFile = ({ settings: { users } }: Wanted): ReadonlyArray<string> => users === undefined ? [] : [users]

/** What a shell's `<(…)` gave at the start is at its end by now. */
const regular = (first: Wanted): Effect.Effect<void, CommandError> =>
  Effect.suspend(() => {
    const files = [first.settings.config ?? "", ...usersFile(first)]
    const pipe = files.find((path) => Fs.statSync(path, { throwIfNoEntry: false })?.isFIFO())
    return pipe === undefined
      ? Effect.void
      : Effect.fail(unusable(`${escape(pipe)}: is a pipe, which is not read again; put a file there`))
  })

const complain = ({ message, more = [] }: CommandError) =>
  Effect.annotateLogs(Effect.logError("configuration not loaded, the one before stays"), {
    reason: message,
    ...more.length > 0 && { more: more.length }
  })

/** Goes on until it is interrupted. */
export const run = Effect.fnUntraced(function*({ apply, asked, first, manager, read }: Options) {
  // Users in a file of their own are looked after by those who read it.
  let files = first.loaded?.files ?? []
  let users = usersFile(first)
  let taken = versionsRead(first)
  let seen = taken
  const wishes = yield* Queue.dropping<"asked" | "changed">(1)
  const look = Effect.sync(() => {
    const versions = versionsOf(files)
    const settled = versions === seen
    seen = versions
    if (versions !== taken && settled) Queue.offerUnsafe(wishes, "changed")
  })
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(checkEvery)))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(asked, Effect.sync(() => Queue.offerUnsafe(wishes, "asked")))))

  let failures = 0
  /** Also those that are looked after by others. */
  const versionsOfAll = () => versionsOf([...files, ...users])
  const reload: Effect.Effect<void> = Effect.suspend(() => {
    const before = versionsOfAll()
    return Effect.catch(Effect.andThen(regular(first), load), (error) => {
      if (versionsOfAll() === before || ++failures > retries) return complain(error)
      // They have changed meanwhile: perhaps that is all that was wrong.
      return Effect.andThen(Effect.sleep(retryAfter), reload)
    })
  })
  const load: Effect.Effect<void, CommandError> = Effect.gen(function*() {
    taken = versionsOf(files)
    const wanted = yield* read
    files = wanted.loaded?.files ?? files
    users = usersFile(wanted)
    taken = versionsRead(wanted)
    const fields = yield* apply(wanted)
    yield* Effect.annotateLogs(Effect.logInfo("configuration loaded"), { path: first.loaded?.path, ...fields })
    yield* warnOfLasting(first, wanted)
  })
  return yield* Effect.forever(
    Queue.take(wishes).pipe(
      Effect.andThen(manager.reloading),
      Effect.andThen(Effect.sync(() => void (failures = 0))),
      Effect.andThen(reload),
      Effect.andThen(manager.ready)
    )
  )
})
