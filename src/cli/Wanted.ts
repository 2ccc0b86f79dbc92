/** What is to be served: settings and configuration file, and whether that is sound. Read at the start and at each reload. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { ListenAddress } from "../transport/ListenAddress.ts"
import { CommandError, unusable } from "./CommandError.ts"
import * as Deciders from "./Deciders.ts"
import * as Flags from "./Flags.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as ListenFailure from "./ListenFailure.ts"

export interface Wanted extends Flags.Effective {
  /** What says where to listen. */
  readonly listenSource: string
}

/** The upstreams that are dialled from here: of each chain, the first one. */
const dialled = ({ loaded, settings, sourceOf }: Wanted): ReadonlyArray<ListenFailure.Dialled> => [
  ...settings.upstream.slice(0, 1).map(({ address }) => ({ address, source: sourceOf("upstream") })),
  ...Object.entries(loaded?.config.upstreams ?? {}).flatMap(([name, { chains }]) =>
    chains.map(([{ address }], at) => ({
      address,
      source: loaded?.sourceOf(["upstreams", name, "proxies", at]) ?? `upstreams.${name}`
    }))
  )
]

/** Runs the tests that the file has: who has none doesn't pay for what runs them. */
const test = Effect.fnUntraced(function*({ loaded, settings, sourceOf }: Wanted) {
  if (loaded === undefined || loaded.config.tests.length === 0) return
  const ConfigTests = yield* Effect.promise(() => import("../config/ConfigTests.ts"))
  const known = yield* Effect.mapError(
    KnownUsers.read({ loaded, settings }),
    ({ message }) => unusable(`${sourceOf("users")}: ${message}`)
  )
  const now = yield* Clock.currentTimeMillis
  const [message, ...more] = yield* ConfigTests.failures(loaded, settings, known, now)
  if (message !== undefined) return yield* new CommandError({ exitCode: 2, message, more })
})

/** Reads it. Sockets that somebody else has opened are taken where nothing else says where to listen. */
export const read = Effect.fnUntraced(function*(
  input: Flags.Input,
  inherited: ReadonlyArray<ListenAddress> | undefined
) {
  const effective = yield* Flags.effective(input)
  const usesInherited = inherited !== undefined && !effective.isGiven("listen")
  const settings = usesInherited ? { ...effective.settings, listen: inherited } : effective.settings
  const wanted: Wanted = {
    ...effective,
    settings,
    listenSource: usesInherited ? "LISTEN_FDS" : effective.sourceOf("listen")
  }
  const twice = ListenFailure.twice(settings.listen, wanted.listenSource)
  if (twice !== undefined) return yield* twice
  const danger = ListenFailure.openProxy({
    listen: settings.listen,
    hasUsers: Deciders.hasUsers(wanted),
    meant: settings.openProxy,
    source: wanted.listenSource
  })
  if (danger !== undefined) return yield* danger
  const loop = ListenFailure.loop(settings.listen, dialled(wanted))
  if (loop !== undefined) return yield* loop
  yield* test(wanted)
  return wanted
})
