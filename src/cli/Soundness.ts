/** Whether settings and a configuration file make sense together: what `serve` is refused for before it opens anything. */
import * as ReservedPlus from "../policy/ReservedPlus.ts"
import { type CommandError, unusable } from "./CommandError.ts"
import type { Effective } from "./Flags.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as ListenFailure from "./ListenFailure.ts"

export interface Subject extends Pick<Effective, "loaded" | "settings" | "sourceOf"> {
  /** What says where to listen. */
  readonly listenSource: string
}

/** The upstreams that are dialled from here: of each chain, the first one. */
export const dialled = ({ loaded, settings, sourceOf }: Subject): ReadonlyArray<ListenFailure.Dialled> => [
  ...settings.upstream.slice(0, 1).map(({ address }) => ({ address, source: sourceOf("upstream") })),
  ...Object.entries(loaded?.config.upstreams ?? {}).flatMap(([name, { chains }]) =>
    chains.map(([{ address }], at) => ({
      address,
      source: loaded?.sourceOf(["upstreams", name, "proxies", at]) ?? `upstreams.${name}`
    }))
  )
]

/** Users of flags, the environment or `user:`; those of the file are looked at where it is read. */
const reservedPlus = (subject: Subject): CommandError | undefined => {
  if (!KnownUsers.plusIsReserved(subject)) return undefined
  for (const { name } of subject.settings.user) {
    const problem = ReservedPlus.problem(name)
    if (problem !== undefined) return unusable(`${subject.sourceOf("user")}: name ${problem}; choose another name`)
  }
  return undefined
}

/** All that is wrong, what is to be told first in the first place. */
export const problems = (subject: Subject): ReadonlyArray<CommandError> => {
  const { listenSource: source, loaded, settings: { listen, openProxy: meant } } = subject
  const hasUsers = KnownUsers.areWanted(subject)
  return [
    ListenFailure.collision(listen, source),
    reservedPlus(subject),
    ListenFailure.openProxy({ listen, hasUsers, meant, source, hasFile: loaded !== undefined }),
    ListenFailure.loop(listen, dialled(subject))
  ].filter((problem) => problem !== undefined)
}
