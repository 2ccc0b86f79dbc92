/** What is wrong with a configuration, and what is odd about it: what `sluice check` prints. */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Fs from "node:fs"
import { dirname } from "node:path"
import * as ConfigFile from "../config/ConfigFile.ts"
import * as ConfigTests from "../config/ConfigTests.ts"
import * as DeadRules from "../config/DeadRules.ts"
import { escape, quote } from "../config/Escape.ts"
import { nearest } from "../config/Nearest.ts"
import type { Settings } from "../config/Settings.ts"
import * as Expiry from "../policy/Expiry.ts"
import type { Rule } from "../policy/Rule.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import * as Certificates from "../transport/Certificates.ts"
import * as Egress from "../transport/Egress.ts"
import * as Interfaces from "../transport/Interfaces.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as UnknownClasses from "./UnknownClasses.ts"
import * as UpstreamReach from "./UpstreamReach.ts"

type Loaded = ConfigFile.Loaded
type Lines = ReadonlyArray<string>

export interface Inspection {
  /** With these it can't be served. */
  readonly problems: Lines
  readonly warnings: Lines
}

/** What keeps a file from being made. */
const folderProblem = (path: string): string | undefined => {
  const folder = dirname(path)
  try {
    Fs.accessSync(folder, Fs.constants.W_OK)
    return undefined
  } catch {
    return `${escape(folder)} is no folder that can be written to; create it, or correct the path`
  }
}

/** It would be replaced by a file. */
const isOther = (path: string): boolean => Fs.statSync(path, { throwIfNoEntry: false })?.isFile() === false

const listenProblems = Effect.fnUntraced(function*(loaded: Loaded, { listen }: Settings) {
  const problems: Array<string> = []
  for (const [index, address] of listen.entries()) {
    if (address._tag === "Unix") {
      const problem = folderProblem(address.path)
      if (problem !== undefined) problems.push(`${loaded.sourceOf(["listen", index])}: ${problem}`)
    }
    if (address._tag !== "Tls") continue
    const context = yield* Effect.result(Certificates.make(address))
    if (Result.isFailure(context)) problems.push(`${loaded.sourceOf(["listen", index])}: ${escape(context.failure)}`)
  }
  const twice = ListenFailure.twice(listen, loaded.sourceOf(["listen"]))
  return twice === undefined ? problems : [...problems, twice.message]
})

const readUsers = (loaded: Loaded, settings: Settings) =>
  Effect.mapError(
    KnownUsers.read({ loaded, settings }),
    ({ message }) => `${loaded.sourceOf(["users"])}: ${escape(message)}`
  )

const stateProblems = ({ config, sourceOf }: Loaded): Lines => {
  const { stateFile } = config.limits
  if (stateFile === undefined) return []
  const problem = isOther(stateFile)
    ? `${escape(stateFile)} is no regular file; give another path`
    : folderProblem(stateFile)
  return problem === undefined ? [] : [`${sourceOf(["limits", "stateFile"])}: ${problem}`]
}

/** Whether a certificate can say who a client is: then nobody knows here who there is. */
const trustsCertificates = ({ listen }: Settings): boolean =>
  listen.some((address) => address._tag === "Tls" && address.clientCa !== undefined)

/** How rules name the listeners; `undefined` where a port is only known once it is open. */
const knownListeners = ({ listen }: Settings): Lines | undefined =>
  listen.some((address) => ListenAddress.inetOf(address)?.port === 0) ? undefined : listen.map(ListenAddress.format)

/** A certificate says nothing of groups. */
const deadRules = ({ rules, sourceOf }: Loaded, settings: Settings, hasUsers: boolean): Lines =>
  DeadRules.find(rules, {
    protocols: settings.protocols,
    listeners: knownListeners(settings),
    haveNames: hasUsers || trustsCertificates(settings),
    haveGroups: hasUsers
  }).map(({ index, key, why }) =>
    `${sourceOf(["rules", index, ...key === undefined ? [] : [key]])}: can never match: ${escape(why)}`
  )

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
  return rules.flatMap(({ conditions }, index) => [
    ...trustsCertificates(settings)
      ? []
      : unknown(names, "there is no user", conditions.users, ["rules", index, "users"]),
    ...unknown(groups, "no user is in the group", conditions.groups, ["rules", index, "groups"])
  ])
}

/** Of a users file; what stands in the configuration itself is a mistake there. One user stands for all of a class. */
const unknownClasses = ({ config: { limits }, sourceOf }: Loaded, users: ReadonlyArray<StoredUser>): Lines =>
  Arr.dedupeWith(users, (a, b) => a.limits === b.limits).flatMap(({ limits: name, name: user }) => {
    const problem = UnknownClasses.problem(name, limits.classes ?? new Map())
    return problem === undefined ? [] : [`${sourceOf(["users"])}: user ${quote(user)}: ${problem}`]
  })

/** Domains that look like the name of a list with a mistake in it. */
const misspelt = ({ config, lists, sourceOf }: Loaded): Lines =>
  config.rules.flatMap(({ conditions }, index) =>
    (conditions.to ?? []).flatMap(({ entry, text }, at) => {
      const isLone = entry._tag === "Domain" && entry.kind === "exact" && !text.includes(".") && !lists.has(text)
      const meant = isLone ? nearest(text, lists.keys()) : undefined
      return meant === undefined
        ? []
        : [
          `${sourceOf(["rules", index, "to", at])}: ${
            quote(text)
          } is taken for a domain; did you mean the list ${meant}?`
        ]
    })
  )

const unusedListeners = ({ rules, sourceOf }: Loaded, settings: Settings): Lines => {
  const known = knownListeners(settings)
  return known === undefined ?
    [] :
    rules.flatMap(({ conditions: { listeners = [] } }, index) =>
      listeners.flatMap((listener, at) =>
        known.includes(listener)
          ? []
          : [`${sourceOf(["rules", index, "listeners", at])}: ${quote(listener)} is none of ${known.join(", ")}`]
      )
    )
}

/** Addresses to go out from that this machine does not have, as far as its interfaces tell. */
const foreignEgress = ({ config, rules, sourceOf }: Loaded, { egress }: Settings): Lines => {
  const own = new Set(Interfaces.addresses().map(NetAddress.formatIp))
  const foreign = (sources: ReadonlyArray<Egress.Source> = [], path: ReadonlyArray<PropertyKey>) =>
    sources.flatMap((source) =>
      !NetAddress.isIpAddress(source) || NetAddress.isLoopback(source) || own.has(NetAddress.formatIp(source))
        ? []
        : [`${sourceOf(path)}: this machine has no address ${Egress.format(source)}, as far as its interfaces tell`]
    )
  return [
    ...foreign(egress, ["egress"]),
    ...(config.users ?? []).flatMap((user, index) => foreign(user.egress?.sources, ["users", index, "egress"])),
    ...rules.flatMap((rule, index) => foreign(rule.egress?.sources, ["rules", index, "egress"]))
  ]
}

const expired = ({ config: { users = [] }, sourceOf }: Loaded, now: number): Lines =>
  users.flatMap(({ expires, name, passwords }, index) => {
    const last = Math.min(expires ?? Infinity, Math.max(...passwords.map(({ expires = Infinity }) => expires)))
    return last > now
      ? []
      : [`${sourceOf(["users", index])}: ${quote(name)} can't log in any more: expired ${Expiry.format(last)}`]
  })

/** Whether it asks for nobody in particular. */
const isForAll = ({ action, conditions: { clients, groups, users }, shadow }: Rule): boolean =>
  action === "allow" && shadow !== true && clients === undefined && groups === undefined && users === undefined

/** Whether anybody may use it, if only in part, where that is meant: by the default, or by a rule that asks for nobody. */
const openProxy = ({ config, rules, sourceOf }: Loaded, { listen, openProxy }: Settings, hasUsers: boolean): Lines => {
  const exposed = ListenFailure.exposed(listen)
  if (exposed === undefined || hasUsers || !openProxy) return []
  return config.default === "allow" || rules.some(isForAll)
    ? [`${sourceOf(["listen"])}: ${ListenAddress.format(exposed)} is an open proxy: whoever reaches it may use it`]
    : []
}

/** Looks at all that a file names: certificates, users, folders; runs its tests; and looks for oddities. */
export const inspect = Effect.fn("Inspection.inspect")(function*(loaded: Loaded) {
  const settings = yield* ConfigFile.settingsOf(loaded)
  const now = yield* Clock.currentTimeMillis
  const users = yield* Effect.result(readUsers(loaded, settings))
  const known = Result.getOrElse(users, (): ReadonlyArray<StoredUser> => [])
  const hasUsers = KnownUsers.areWanted({ loaded, settings })
  const danger = ListenFailure.openProxy({
    listen: settings.listen,
    hasUsers,
    meant: settings.openProxy,
    source: loaded.sourceOf(["listen"])
  })
  const problems = [
    ...yield* listenProblems(loaded, settings),
    ...Result.isFailure(users) ? [users.failure] : [],
    ...stateProblems(loaded),
    ...danger === undefined ? [] : [danger.message],
    // Without the users, those that tests name have no groups.
    ...Result.isFailure(users) ? [] : yield* ConfigTests.failures(loaded, settings, known, now)
  ]
  const warnings = [
    ...openProxy(loaded, settings, hasUsers),
    ...deadRules(loaded, settings, hasUsers),
    ...strangers(loaded, settings, known),
    ...unknownClasses(loaded, known),
    ...misspelt(loaded),
    ...unusedListeners(loaded, settings),
    ...foreignEgress(loaded, settings),
    ...expired(loaded, now),
    ...yield* UpstreamReach.unreached(loaded, settings)
  ]
  const inspection: Inspection = { problems, warnings }
  return inspection
})
