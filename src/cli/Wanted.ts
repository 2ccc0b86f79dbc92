/** What is to be served: settings and configuration file, and whether that is sound. Read at the start and at each reload. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { UsersFileError } from "../policy/UsersFile.ts"
import * as Files from "../transport/Files.ts"
import type { ListenAddress } from "../transport/ListenAddress.ts"
import type { ListenError } from "../transport/Transport.ts"
import { CommandError } from "./CommandError.ts"
import * as Flags from "./Flags.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as Soundness from "./Soundness.ts"

export interface Wanted extends Flags.Effective, Soundness.Subject {
  /** The files that were read for it, and which version of each. */
  readonly versions: ReadonlyMap<string, string>
}

/** Who can't serve it complains in the terms of who wants it. */
export const complaints = (wanted: Wanted) => ({
  ListenError: (error: ListenError) => Effect.fail(ListenFailure.refused(error, wanted.listenSource)),
  UsersFileError: (error: UsersFileError) => Effect.fail(KnownUsers.fault(wanted)(error))
})

/** Runs the tests that the file has: who has none doesn't pay for what runs them. */
const test = Effect.fnUntraced(function*({ loaded, settings, sourceOf }: Wanted) {
  if (loaded === undefined || loaded.config.tests.length === 0) return
  const ConfigTests = yield* Effect.promise(() => import("../config/ConfigTests.ts"))
  const known = yield* Effect.mapError(KnownUsers.read({ loaded, settings }), KnownUsers.fault({ sourceOf }))
  const now = yield* Clock.currentTimeMillis
  const [message, ...more] = yield* ConfigTests.failures(loaded, settings, known, now)
  if (message !== undefined) return yield* new CommandError({ exitCode: 2, message, more })
})

/**
 * Reads it. Sockets that somebody else has opened are taken where nothing else says where to listen. A worker leaves the
 * file's tests to its supervisor: what was right when the file was taken is not wrong because it is later.
 */
export const read = Effect.fnUntraced(function*(
  input: Flags.Input,
  { inherited, isWorker = false }: {
    readonly inherited?: ReadonlyArray<ListenAddress> | undefined
    readonly isWorker?: boolean
  }
) {
  const versions = new Map<string, string>()
  const files = yield* Files.Files
  const effective = yield* Effect.provideService(Flags.effective(input), Files.Files, Files.noting(files, versions))
  const usesInherited = inherited !== undefined && !effective.isGiven("listen")
  const settings = usesInherited ? { ...effective.settings, listen: inherited } : effective.settings
  const wanted: Wanted = {
    ...effective,
    settings,
    listenSource: usesInherited ? "LISTEN_FDS" : effective.sourceOf("listen"),
    versions
  }
  const [problem] = Soundness.problems(wanted)
  if (problem !== undefined) return yield* problem
  if (!isWorker) yield* test(wanted)
  return wanted
})
