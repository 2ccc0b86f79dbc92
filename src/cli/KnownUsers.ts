/** All users that a configuration has, those of flags and of a users file too: for what is told and tested, not for logins. */
import * as Effect from "effect/Effect"
import * as ReservedPlus from "../policy/ReservedPlus.ts"
import type { UsersFileError } from "../policy/UsersFile.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import { type CommandError, unusable } from "./CommandError.ts"
import type { Effective } from "./Flags.ts"

/** Whether clients have to log in. */
export const areWanted = ({ loaded, settings: { user, users } }: Pick<Effective, "loaded" | "settings">): boolean =>
  user.length > 0 || users !== undefined || (loaded?.config.users?.length ?? 0) > 0 || loaded?.config.auth !== undefined

/** Whether what stands behind a plus in a user's name is no part of it. */
export const plusIsReserved = ({ loaded, settings }: Pick<Effective, "loaded" | "settings">): boolean =>
  ReservedPlus.isReserved(loaded?.config.userOptions, settings.egressBy)

export const read: (
  effective: Pick<Effective, "loaded" | "settings">
) => Effect.Effect<ReadonlyArray<StoredUser>, UsersFileError> = Effect.fnUntraced(function*({ loaded, settings }) {
  const { user: users, users: file } = settings
  const list = loaded?.config.users ?? []
  // argon2 and all that is loaded only for those who have users.
  if (users.length === 0 && file === undefined) return list
  const UserSources = yield* Effect.promise(() => import("../policy/UserSources.ts"))
  return yield* UserSources.read({
    users,
    list,
    plusIsReserved: plusIsReserved({ loaded, settings }),
    ...file !== undefined && { file }
  })
})

/** How a users file that can't be used is complained about. */
export const fault = ({ sourceOf }: Pick<Effective, "sourceOf">) => ({ message }: UsersFileError): CommandError =>
  unusable(`${sourceOf("users")}: ${message}`)
