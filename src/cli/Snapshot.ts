/**
 * The files that workers serve by, as they were when they were put in force. Who takes a worker's place reads the same,
 * even where the disk has something else by now, or something that can't be used.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Certificates from "../transport/Certificates.ts"
import * as Files from "../transport/Files.ts"
import { versionOf } from "../transport/WatchedFile.ts"
import { type CommandError, unusable } from "./CommandError.ts"
import * as KnownUsers from "./KnownUsers.ts"
import type { Wanted } from "./Wanted.ts"
import type * as WorkerMessage from "./WorkerMessage.ts"

/** How often files that workers look after themselves are looked at here. */
const checkEvery = "1 second"

/** Files that workers look after themselves. */
interface Group {
  readonly paths: ReadonlyArray<string>
  /** Fails when what they hold can't be used. */
  readonly check: Effect.Effect<unknown, CommandError>
  /** Whether a reload goes on by what they held before, where that is so. */
  readonly mayStay: boolean
  /** Tells the log of it, once for all workers. */
  readonly complain: Effect.Effect<void>
}

const complainOfUsers = Effect.flatMap(
  Effect.promise(() => import("../policy/UserSources.ts")),
  ({ notLoaded }) => Effect.logError(notLoaded)
)

/** Users of flags are in no file, and take long to hash. */
const usersOf = (wanted: Wanted): ReadonlyArray<Group> => {
  const { loaded, settings } = wanted
  const read = KnownUsers.read({ loaded, settings: { ...settings, user: [] } })
  return settings.users === undefined
    ? []
    : [{
      paths: [settings.users],
      check: Effect.mapError(read, KnownUsers.fault(wanted)),
      mayStay: false,
      complain: complainOfUsers
    }]
}

const certificatesOf = ({ settings }: Wanted): ReadonlyArray<Group> =>
  settings.listen.flatMap((address) =>
    address._tag !== "Tls" ? [] : [{
      paths: [address.cert, address.key, ...address.clientCa === undefined ? [] : [address.clientCa]],
      check: Effect.mapError(Certificates.make(address), unusable),
      mayStay: true,
      complain: Effect.logWarning(Certificates.notReadAnew)
    }]
  )

/** Reads a file that has to be of one version. */
const readAs = (path: string, version: string): Effect.Effect<Files.Content, CommandError> =>
  Files.readWhole(path).pipe(
    Effect.filterOrFail((content) => content.version === version),
    Effect.mapError(() => unusable(`${path}: has changed while it was read; try again`))
  )

/** What a group's files hold, by their paths, where it can be used. */
const readGroup = Effect.fnUntraced(function*({ check, paths }: Group) {
  const versions = paths.map((path) => [path, versionOf(path)] as const)
  yield* check
  return yield* Effect.forEach(
    versions,
    ([path, version]) => Effect.map(readAs(path, version), (content) => [path, content] as const)
  )
})

export class Snapshot {
  private readonly contents: Map<string, Files.Content>
  private readonly groups: ReadonlyArray<Group>

  constructor(contents: Map<string, Files.Content>, groups: ReadonlyArray<Group>) {
    this.contents = contents
    this.groups = groups
  }

  /** What it has of these files, if it has all of them. */
  contentsOf(paths: ReadonlyArray<string>): ReadonlyArray<readonly [string, Files.Content]> | undefined {
    const known = paths.flatMap((path) => {
      const content = this.contents.get(path)
      return content === undefined ? [] : [[path, content] as const]
    })
    return known.length === paths.length ? known : undefined
  }

  /** For a worker: of what the disk still has, nothing is sent but the version. */
  get message(): ReadonlyArray<WorkerMessage.PinnedFile> {
    return Array.from(this.contents, ([path, { bytes, version }]) => ({
      path,
      ...versionOf(path) === version ? { version } : { bytes }
    }))
  }

  /** Follows the files that workers look after themselves: what of them can be used takes the place of what was there. */
  readonly watch: Effect.Effect<void> = Effect.suspend(() => {
    const tried = new Map<Group, string>()
    const wrong = new Map<Group, string>()
    const look = Effect.fnUntraced({ self: this }, function*(this: Snapshot, group: Group) {
      const { paths } = group
      const versions = paths.map(versionOf).join()
      const known = this.contentsOf(paths)?.map(([, { version }]) => version).join()
      if (versions === known) return
      if (versions === tried.get(group)) {
        // It has stayed so: nobody was writing.
        const reason = wrong.get(group)
        wrong.delete(group)
        return yield* reason === undefined ? Effect.void : Effect.annotateLogs(group.complain, { reason })
      }
      tried.set(group, versions)
      wrong.delete(group)
      const found = yield* Effect.result(readGroup(group))
      if (Result.isFailure(found)) return void wrong.set(group, found.failure.message)
      for (const [path, content] of found.success) this.contents.set(path, content)
    })
    const lookAtAll = Effect.forEach(this.groups, look, { discard: true })
    return Effect.asVoid(Effect.repeat(lookAtAll, Schedule.spaced(checkEvery)))
  })
}

/** What was read of a configuration, and what workers will read besides. */
export const take = Effect.fnUntraced(function*(
  wanted: Wanted,
  before?: Snapshot
): Effect.fn.Return<Snapshot, CommandError> {
  const contents = new Map<string, Files.Content>()
  for (const [path, version] of wanted.versions) contents.set(path, yield* readAs(path, version))
  const groups = [...usersOf(wanted), ...certificatesOf(wanted)]
  for (const group of groups) {
    const found = yield* Effect.result(readGroup(group))
    const known = Result.isFailure(found) && group.mayStay ? before?.contentsOf(group.paths) : undefined
    for (const [path, content] of known ?? (yield* Effect.fromResult(found))) contents.set(path, content)
  }
  return new Snapshot(contents, groups)
})
