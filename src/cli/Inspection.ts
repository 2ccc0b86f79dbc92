/** What is wrong with a configuration, and what is odd about it: what `sluice check` prints. */
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
import type { Settings } from "../config/Settings.ts"
import * as Visitor from "../config/Visitor.ts"
import * as Expiry from "../policy/Expiry.ts"
import type { Rule } from "../policy/Rule.ts"
import * as UsageFile from "../policy/UsageFile.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import * as Certificates from "../transport/Certificates.ts"
import * as Egress from "../transport/Egress.ts"
import * as Interfaces from "../transport/Interfaces.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import * as KnownUsers from "./KnownUsers.ts"
import * as ListenFailure from "./ListenFailure.ts"
import * as ListenTrial from "./ListenTrial.ts"
import * as MistakenDomains from "./MistakenDomains.ts"
import * as Soundness from "./Soundness.ts"
import * as UpstreamReach from "./UpstreamReach.ts"
import * as UserOddities from "./UserOddities.ts"

type Loaded = ConfigFile.Loaded
type Lines = ReadonlyArray<string>

export interface Inspection {
  /** With these it can't be served. */
  readonly problems: Lines
  readonly warnings: Lines
}

const listenProblems = Effect.fnUntraced(function*({ sourceOf }: Loaded, { listen }: Settings) {
  const refused = yield* ListenTrial.refused(listen)
  return refused.map(({ error, index }) => escape(ListenFailure.refused(error, sourceOf(["listen", index])).message))
})

const readUsers = (loaded: Loaded, settings: Settings) =>
  Effect.mapError(
    KnownUsers.read({ loaded, settings }),
    ({ message }) => `${loaded.sourceOf(["users"])}: ${escape(message)}`
  )

/** Why a file can't be kept there, if it can't. */
const fileProblem = (path: string): string | undefined => {
  const stat = Fs.statSync(path, { throwIfNoEntry: false })
  if (stat?.isFile() === false) return "is no regular file; give another path"
  try {
    Fs.accessSync(dirname(path), Fs.constants.W_OK)
  } catch {
    return "is in no folder that can be written to; create it, or correct the path"
  }
  if (stat === undefined) return undefined
  try {
    return UsageFile.isOurs(Fs.readFileSync(path, "utf8")) ? undefined : "is another kind of file; give another path"
  } catch {
    return "can't be read; let the user that runs sluice read it"
  }
}

/** The proxy runs without it. */
const stateless = ({ config, sourceOf }: Loaded): Lines => {
  const { stateFile } = config.limits
  const problem = stateFile === undefined ? undefined : fileProblem(stateFile)
  return problem === undefined
    ? []
    : [
      `${sourceOf(["limits", "stateFile"])}: a restart will forget what was used: ${quote(stateFile ?? "")} ${problem}`
    ]
}

/** A certificate says nothing of groups. */
const deadRules = ({ rules, sourceOf }: Loaded, settings: Settings, hasUsers: boolean): Lines =>
  DeadRules.find(rules, {
    protocols: settings.protocols,
    listeners: Visitor.listenersOf(settings),
    haveNames: hasUsers || UserOddities.trustsCertificates(settings),
    haveGroups: hasUsers
  }).map(({ index, key, why }) =>
    `${sourceOf(["rules", index, ...key === undefined ? [] : [key]])}: can never match: ${escape(why)}`
  )

/** Listeners of rules and tests that clients can't come in by. */
const unknownListeners = ({ config: { tests }, rules, sourceOf }: Loaded, settings: Settings): Lines => {
  const known = Visitor.listenersOf(settings)
  if (known === undefined) return []
  const complain = (listener: string | undefined, path: ReadonlyArray<PropertyKey>) =>
    listener === undefined || known.includes(listener)
      ? []
      : [`${sourceOf(path)}: ${quote(listener)} is none of ${known.join(", ")}`]
  return [
    ...rules.flatMap(({ conditions: { listeners = [] } }, index) =>
      listeners.flatMap((listener, at) => complain(listener, ["rules", index, "listeners", at]))
    ),
    ...tests.flatMap(({ listener }, index) => complain(listener, ["tests", index, "listener"]))
  ]
}

/** Addresses to go out from that this machine does not have, as far as its interfaces tell. */
const foreignEgress = (loaded: Loaded, { egress }: Settings, users: ReadonlyArray<StoredUser>): Lines => {
  const { sourceOf } = loaded
  const own = new Set(Interfaces.addresses().map(NetAddress.formatIp))
  const foreign = (sources: ReadonlyArray<Egress.Source> = [], path: ReadonlyArray<PropertyKey>, who = "") =>
    sources.flatMap((source) =>
      !NetAddress.isIpAddress(source) || NetAddress.isLoopback(source) || own.has(NetAddress.formatIp(source))
        ? []
        : [
          `${sourceOf(path)}: ${who}this machine has no address ${Egress.format(source)}, as far as its interfaces tell`
        ]
    )
  const placed = UserOddities.egresses(loaded, users).flatMap(({ egress: { sources }, path, whose }) =>
    sources.map((source) => ({ source, path, whose }))
  )
  // Of a users file: one user stands for all who go out from the same.
  const distinct = new Map(placed.map((one) => [`${one.path.join()} ${Egress.format(one.source)}`, one]))
  return [
    ...foreign(egress, ["egress"]),
    ...[...distinct.values()].flatMap(({ path, source, whose }) => foreign([source], path, whose))
  ]
}

/** Certificates that clients may refuse by now. */
const aged = Effect.fnUntraced(function*({ sourceOf }: Loaded, { listen }: Settings, now: number) {
  const lines = yield* Effect.forEach(listen, (address, index) =>
    address._tag !== "Tls"
      ? Effect.succeed([])
      : Effect.match(Certificates.validity(address), {
        // What can't be read has been complained about.
        onFailure: () => [],
        onSuccess: ({ from, until }) => {
          const place = `${sourceOf(["listen", index])}: cert ${escape(address.cert)}`
          if (now >= until) return [`${place} expired at ${Expiry.format(until)}`]
          return now < from ? [`${place} is good from ${Expiry.format(from)} only`] : []
        }
      }))
  return lines.flat()
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
  const subject: Soundness.Subject = {
    loaded,
    settings,
    sourceOf: (key) => loaded.sourceOf([key]),
    listenSource: loaded.sourceOf(["listen"])
  }
  const problems = [
    ...Soundness.problems(subject).map(({ message }) => message),
    ...yield* listenProblems(loaded, settings),
    ...Result.isFailure(users) ? [users.failure] : [],
    // Without the users, those that tests name have no groups.
    ...Result.isFailure(users) ? [] : yield* ConfigTests.failures(loaded, settings, known, now)
  ]
  const warnings = [
    ...openProxy(loaded, settings, hasUsers),
    ...stateless(loaded),
    ...deadRules(loaded, settings, hasUsers),
    ...Result.isFailure(users) ? [] : UserOddities.find(loaded, settings, known, now),
    ...MistakenDomains.find(loaded),
    ...unknownListeners(loaded, settings),
    ...foreignEgress(loaded, settings, known),
    ...yield* aged(loaded, settings, now),
    ...yield* UpstreamReach.unreached(subject)
  ]
  const inspection: Inspection = { problems, warnings }
  return inspection
})
