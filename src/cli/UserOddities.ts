/** What is odd about the users of a configuration: who can't log in, and what is said of nobody. */
import * as Arr from "effect/Array"
import type { Loaded } from "../config/ConfigFile.ts"
import { quote } from "../config/Escape.ts"
import type { Settings } from "../config/Settings.ts"
import * as Expiry from "../policy/Expiry.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import type * as Egress from "../transport/Egress.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import * as UnknownClasses from "./UnknownClasses.ts"

type Lines = ReadonlyArray<string>

/** Whether a certificate can say who a client is: then nobody knows here who there is. */
export const trustsCertificates = ({ listen }: Settings): boolean => listen.some(ListenAddress.asksForCertificate)

/**
 * Users and groups that nobody can be, where there are users; who else may log in is not known where a service decides, or
 * a certificate.
 */
const strangers = (
  { config, rules, sourceOf }: Loaded,
  settings: Settings,
  users: ReadonlyArray<StoredUser>
): Lines => {
  if (config.auth !== undefined || users.length === 0) return []
  const names = new Set(users.map(({ name }) => name))
  const groups = new Set(users.flatMap(({ groups = [] }) => groups))
  const unknown = (
    known: ReadonlySet<string>,
    what: string,
    given: Lines | undefined,
    path: ReadonlyArray<PropertyKey>
  ) =>
    (given ?? []).flatMap((name, at) =>
      known.has(name) ? [] : [`${sourceOf([...path, at])}: ${what} ${quote(name)}, as far as is known here`]
    )
  const limited = [...config.limits.groups?.keys() ?? []]
  const inRules = rules.flatMap(({ conditions }, index) => [
    ...trustsCertificates(settings)
      ? []
      : unknown(names, "there is no user", conditions.users, ["rules", index, "users"]),
    ...unknown(groups, "no user is in the group", conditions.groups, ["rules", index, "groups"])
  ])
  return [
    ...inRules,
    ...limited.flatMap((group) => unknown(groups, "no user is in the group", [group], ["limits", "groups", group]))
  ]
}

/** Of a users file; what stands in the configuration itself is a mistake there. One user stands for all of a class. */
const unknownClasses = ({ config: { limits }, sourceOf }: Loaded, users: ReadonlyArray<StoredUser>): Lines =>
  Arr.dedupeWith(users, (a, b) => a.limits === b.limits).flatMap(({ limits: name, name: user }) => {
    const problem = UnknownClasses.problem(name, limits.classes ?? new Map())
    return problem === undefined ? [] : [`${sourceOf(["users"])}: user ${quote(user)}: ${problem}`]
  })

const expired = ({ config: { users = [] }, sourceOf }: Loaded, now: number): Lines =>
  users.flatMap(({ expires, name, passwords }, index) => {
    const last = Math.min(expires ?? Infinity, Math.max(...passwords.map(({ expires = Infinity }) => expires)))
    return last > now
      ? []
      : [`${sourceOf(["users", index])}: ${quote(name)} can't log in any more: expired ${Expiry.format(last)}`]
  })

/** A users file that lets nobody in. */
const nobody = (
  { config, sourceOf }: Loaded,
  { user, users: file }: Settings,
  users: ReadonlyArray<StoredUser>
): Lines =>
  file === undefined || user.length > 0 || users.length > 0 || config.auth !== undefined
    ? []
    : [`${sourceOf(["users"])}: no user can log in: ${quote(file)} has none`]

/** Nothing for who says nothing. */
const placed = (egress: Egress.Egress | undefined, path: ReadonlyArray<PropertyKey>, whose = "") =>
  egress === undefined ? [] : [{ egress, path, whose }]

/** What users and rules say of where to go out from, and where it stands; `whose` tells the users of a file apart. */
export const egresses = (
  { config: { users: inline }, rules }: Loaded,
  users: ReadonlyArray<StoredUser>
) => [
  ...inline === undefined
    ? users.flatMap(({ egress, name }) => placed(egress, ["users"], `user ${quote(name)}: `))
    : inline.flatMap(({ egress }, index) => placed(egress, ["users", index, "egress"])),
  ...rules.flatMap(({ egress }, index) => placed(egress, ["rules", index, "egress"]))
]

/** Addresses that go by a session, where no client can have one. */
const sessionless = (loaded: Loaded, { egressBy }: Settings, users: ReadonlyArray<StoredUser>): Lines => {
  const { config: { userOptions }, sourceOf } = loaded
  if (egressBy === "session" || Object.values(userOptions).some(({ kind }) => kind === "session")) return []
  const why = "egress by session takes turns, since no client can name a session; add one to userOptions"
  return egresses(loaded, users).flatMap(({ egress: { by }, path, whose }) =>
    by === "session" ? [`${sourceOf(path)}: ${whose}${why}`] : []
  )
}

/** `users` are all that are known. */
export const find = (loaded: Loaded, settings: Settings, users: ReadonlyArray<StoredUser>, now: number): Lines => [
  ...nobody(loaded, settings, users),
  ...strangers(loaded, settings, users),
  ...unknownClasses(loaded, users),
  ...sessionless(loaded, settings, users),
  ...expired(loaded, now)
]
