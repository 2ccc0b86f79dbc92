/** What a configuration makes of a request, line by line. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as ConfigFile from "../config/ConfigFile.ts"
import * as Judge from "../config/Judge.ts"
import * as LoginJudge from "../config/LoginJudge.ts"
import type { Settings } from "../config/Settings.ts"
import * as Visitor from "../config/Visitor.ts"
import type { AccessRequest } from "../policy/AccessPolicy.ts"
import * as ClientNetwork from "../policy/ClientNetwork.ts"
import * as Limit from "../policy/Limit.ts"
import type * as RuleEngine from "../policy/RuleEngine.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import { Resolver } from "../transport/Resolver.ts"
import { unusable } from "./CommandError.ts"
import * as ExplainedRoute from "./ExplainedRoute.ts"
import * as KnownUsers from "./KnownUsers.ts"

type Loaded = ConfigFile.Loaded
type Lines = ReadonlyArray<string>

/** What is asked. */
export interface Question {
  readonly command: string
  readonly destination: Host.HostPort
  /** With its options. */
  readonly username: string | undefined
  /** In the place of those that are known of the user. */
  readonly groups: ReadonlyArray<string> | undefined
  /** The class of limits, likewise. */
  readonly limits: string | undefined
  readonly client: NetAddress.IpAddress | undefined
  readonly listener: string | undefined
  readonly protocol: string | undefined
  /** The addresses of the host; looked up where it is `undefined`. */
  readonly resolvesTo: ReadonlyArray<NetAddress.IpAddress> | undefined
  /** Milliseconds since 1970. Default: now. */
  readonly at: number | undefined
}

const indent = (lines: Lines): Lines => lines.map((line) => `  ${line}`)

const stepLine = ({ outcome, rule, why }: RuleEngine.Step, { action }: RuleEngine.Decision): string => {
  const words = outcome === "decides"
    ? `decides: ${action}`
    : outcome === "watched"
    ? "matches, but is a shadow"
    : outcome
  return `${rule}: ${words}${why === "" ? "" : `: ${why}`}`
}

/**
 * Each rule, and what became of it; those that were not reached in one line. `refusal` is what refuses the address, if
 * anything does.
 */
const stepLines = (
  { address, decision, steps }: RuleEngine.Explanation,
  refusal: string | undefined
): Lines => {
  const reached = steps.filter(({ outcome }) => outcome !== "not reached")
  const rest = steps.length - reached.length
  return [
    address === undefined ? "as sent:" : `${NetAddress.formatIp(address)}:`,
    ...indent([
      ...reached.map((step) => stepLine(step, decision)),
      ...decision.index === -1 ? [`${decision.rule}: decides: ${decision.action}`] : [],
      ...rest === 0 ? [] : [`not reached: ${rest} more`],
      ...refusal === undefined || decision.action === "deny" ? [] : [`${refusal}: denies it all the same`]
    ])
  ]
}

const bytes = (count: number | undefined, words: string): Lines =>
  count === undefined ? [] : [`${Limit.formatBytes(count)} ${words}`]

const limitWords = (limits: Limit.Limits): string => {
  const { bytesPerDay, bytesPerMonth, connections, devices, down, newConnections, udpPackets, up } = limits
  return [
    ...connections === undefined ? [] : [`${connections} connection${connections === 1 ? "" : "s"}`],
    ...devices === undefined ? [] : [`${devices} device${devices === 1 ? "" : "s"}`],
    ...newConnections === undefined ? [] : [Limit.formatRate(newConnections, "new connections")],
    ...udpPackets === undefined ? [] : [Limit.formatRate(udpPackets, "UDP packets")],
    ...bytes(up, "a second up"),
    ...bytes(down, "a second down"),
    ...bytes(bytesPerDay, "a day"),
    ...bytes(bytesPerMonth, "a month")
  ].join(", ")
}

const limitLines = (
  { config: { limits } }: Loaded,
  name: string | undefined,
  groups: Lines,
  client: NetAddress.IpAddress | undefined,
  limitClass: string | undefined
): Lines => {
  const classed = limitClass === undefined ? undefined : limits.classes?.get(limitClass)
  const address = `client ${client === undefined ? "(no address)" : ClientNetwork.of(client)}`
  const subject = name === undefined ? address : `user ${name}`
  const holders: ReadonlyArray<readonly [who: string, limits: Limit.Limits | undefined]> = [
    ["all clients together", limits.global],
    ...groups.map((group) => [`group ${group}`, limits.groups?.get(group)] as const),
    ...classed !== undefined
      ? [[`${subject} (class ${limitClass})`, classed] as const]
      : name === undefined
      ? []
      : [[subject, limits.user] as const],
    [address, limits.client]
  ]
  const lines = holders.flatMap(([who, limits]) => Limit.isLimited(limits) ? [`${who}: ${limitWords(limits)}`] : [])
  return lines.length === 0 ? ["limits: none"] : ["limits:", ...indent(lines)]
}

/** What the rules say of somebody who doesn't get as far is worth knowing too. */
const resultLines = (judgement: Judge.Judgement, refusedLogin: string | undefined): Lines => {
  const words = `${Judge.format(judgement)}${judgement.action === "deny" ? `, reply ${judgement.reply}` : ""}`
  return refusedLogin === undefined
    ? [`result: ${words}`]
    : [`result: denied by ${LoginJudge.format(refusedLogin)}`, `the rules alone: ${words}`]
}

const lookUp = (host: Host.DomainName, { dns }: Settings) =>
  Effect.flatMap(Resolver, ({ resolve }) => resolve(host)).pipe(
    Effect.provide(DnsResolver.layer({ servers: dns })),
    Effect.result
  )

interface Answer {
  readonly judgement: Judge.Judgement
  /** What the host has been found to lead to. */
  readonly addresses: ReadonlyArray<NetAddress.IpAddress>
  /** Why it has not been found. */
  readonly trouble?: string
}

/** Judges a request. A name is looked up only where the proxy would do so. */
const answer = Effect.fnUntraced(function*(
  { judge }: Judge.Judge,
  settings: Settings,
  request: AccessRequest,
  resolvesTo: ReadonlyArray<NetAddress.IpAddress> | undefined,
  now: number
): Effect.fn.Return<Answer> {
  const asSent = yield* judge(request, undefined, now)
  if (asSent.action === "deny") return { judgement: asSent, addresses: [] }
  const unresolved = yield* judge(request, [], now)
  const { host } = request.destination
  if (unresolved.action !== "undecided" || typeof host !== "string") return { judgement: unresolved, addresses: [] }
  // A string is a name here.
  const found = resolvesTo === undefined ? yield* lookUp(host as Host.DomainName, settings) : Result.succeed(resolvesTo)
  if (Result.isFailure(found)) return { judgement: asSent, addresses: [], trouble: found.failure.message }
  return { judgement: yield* judge(request, found.success, now), addresses: found.success }
})

const unknownOfService =
  "what the login service says of the user is not known here: --groups and --limits stand for that, egress does not show"

/** Explains a request. Fails with what is wrong with the user's name, or with a users file. */
export const make = Effect.fn("Explanation.make")(function*(loaded: Loaded, question: Question) {
  const { at, client, command, destination, groups: given, listener, protocol, username } = question
  const settings = yield* ConfigFile.settingsOf(loaded)
  const users = yield* Effect.mapError(KnownUsers.read({ loaded, settings }), ({ message }) => unusable(message))
  const visitor = username === undefined
    ? Visitor.nobody
    : yield* Effect.mapError(
      Effect.fromResult(Visitor.fromName(loaded, settings, users, username)),
      (problem) => unusable(`--user: ${problem}`)
    )
  const request = Visitor.requestOf(visitor, settings, {
    client,
    groups: given,
    listener,
    protocol,
    command,
    destination
  })
  const groups = request.groups ?? []
  const now = at ?? (yield* Clock.currentTimeMillis)
  const judge = yield* Judge.make(loaded, settings)

  const { addresses, judgement, trouble } = yield* answer(judge, settings, request, question.resolvesTo, now)

  const explanations = yield* Effect.forEach(judge.engine.explain(request, addresses, now), (explanation) => {
    const { address } = explanation
    const refusal = address === undefined ? Effect.undefined : judge.refusalOf(request, address, now)
    return Effect.map(refusal, (refusal) => stepLines(explanation, refusal))
  })

  // An association has its limits before it goes anywhere.
  const limiting = command === "associate"
    ? judge.engine.decideCommand(request, now)?.verdict ?? {}
    : judgement.action === "allow"
    ? judgement.verdict
    : {}

  const who = visitor.name === undefined
    ? "somebody who has not logged in"
    : `user ${visitor.name}${groups.length === 0 ? "" : ` (${groups.join(", ")})`}`
  const refusedLogin = KnownUsers.areWanted({ loaded, settings })
    ? LoginJudge.objection(loaded, settings, visitor, { client, listener, protocol }, now)
    : undefined
  const from = client === undefined ? "" : ` from ${NetAddress.formatIp(client)}`
  const listeners = Visitor.listenersOf(settings)
  const isService = visitor.name !== undefined && visitor.user === undefined && loaded.config.auth !== undefined
  return [
    `${command} ${Host.formatHostPort(destination)} by ${who}${from}`,
    ...isService && given === undefined ? [unknownOfService] : [],
    ...listener === undefined || listeners === undefined || listeners.includes(listener)
      ? []
      : [`nobody comes in by ${listener}: it is none of ${listeners.join(", ")}`],
    ...trouble === undefined ? [] : [trouble],
    ...explanations.flat(),
    ...resultLines(judgement, refusedLogin),
    ...judgement.action === "allow"
      ? [
        ExplainedRoute.upstream(loaded, settings, visitor, judgement.verdict),
        ExplainedRoute.egress(settings, visitor, judgement.verdict),
        ...limitLines(loaded, visitor.name, groups, client, limiting.limits ?? question.limits ?? visitor.user?.limits)
      ]
      : []
  ]
}, Effect.scoped)
