/** Classes of limits that users have and the configuration does not: files and services may name any. */
import * as Effect from "effect/Effect"
import { quote } from "../config/Escape.ts"
import { hint } from "../config/Nearest.ts"
import type { Authenticator, Identity } from "../policy/Authenticator.ts"
import { Recent } from "../policy/Recent.ts"

/** What is wrong with a class of limits, and what holds in its place; `undefined` where it is known. */
export const problem = (name: string | undefined, known: ReadonlyMap<string, unknown>): string | undefined => {
  return name === undefined || known.has(name)
    ? undefined
    : `there is no class of limits ${quote(name)}, so the limits of users hold${hint(name, known.keys())}`
}

/** Tells the log, once for each class: what a service says is not to fill it. */
export const warn = (
  authenticator: Authenticator["Service"],
  known: ReadonlyMap<string, unknown>
): Authenticator["Service"] => {
  const told = new Recent<true>(256)
  const look = ({ limits, name }: Identity) =>
    Effect.suspend(() => {
      const why = problem(limits, known)
      if (limits === undefined || why === undefined || told.get(limits) !== undefined) return Effect.void
      told.set(limits, true)
      return Effect.annotateLogs(Effect.logWarning(why), { user: name })
    })
  const { identify, recheck } = authenticator
  return {
    ...authenticator,
    authenticate: (credentials) => Effect.tap(authenticator.authenticate(credentials), look),
    ...identify !== undefined && {
      identify: (username, client) => Effect.tap(identify(username, client), look)
    },
    ...recheck !== undefined && {
      recheck: (identity, client) =>
        Effect.tap(recheck(identity, client), (now) => now === undefined ? Effect.void : look(now))
    }
  }
}
