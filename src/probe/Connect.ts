/** Whether one gets through, by each kind of destination. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import type { ProxyError } from "../client/ProxyError.ts"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Check from "./Check.ts"
import { fail, type Finding, type Found, named, ok, skipped, warn } from "./Finding.ts"
import { isLocal, isMissing, type Kind, kinds, type Missing } from "./Ground.ts"
import { loginAdvice } from "./Login.ts"
import { familyNames, type Proxy } from "./Proxy.ts"
import { describe, isAnswer } from "./Trouble.ts"

export const names = [...kinds.map((kind) => `CONNECT ${kind}`), "remote DNS"]

const ping = new TextEncoder().encode("ping")

const wrongPort = ({ family }: Proxy): string => `does it speak ${familyNames[family]} on this port?`

const wantsLogin = (error: ProxyError): boolean => error._tag === "StatusError" && error.status === 407

const unreached =
  "it does not reach this machine there: has it a network of its own, as in a container? see --own-address"

const noNames = "can its machine look names up?"

/** HTTP knows no more than this; what 502 means differs from proxy to proxy. */
const adviceForStatus = (status: number, kind: Kind, own: boolean): string | undefined => {
  switch (status) {
    case 403:
      return "its rules forbid it"
    case 405:
    case 501:
      return "it serves no CONNECT: is it a web server?"
    case 404:
    case 502:
    case 503:
      return own ? kind === "name" ? noNames : unreached : "is the target running, and can the proxy reach it?"
    case 504:
      return "the target does not answer the proxy in time: does a firewall drop it?"
    default:
      return undefined
  }
}

const adviceFor = (proxy: Proxy, kind: Kind, error: ProxyError, own: boolean): string | undefined => {
  if (error._tag === "BadAnswer" || error._tag === "ProxyUnreachable") return wrongPort(proxy)
  if (wantsLogin(error)) return loginAdvice
  if (error._tag === "StatusError") return adviceForStatus(error.status, kind, own)
  if (error._tag !== "ReplyError") return undefined
  if (error.protocol === "socks4") return "SOCKS4 can't say why: its rules, or does it want a login?"
  switch (error.code) {
    case Reply.notAllowed:
      return "its rules forbid it"
    case Reply.connectionRefused:
      return own ? unreached : "is the target running?"
    case Reply.addressTypeNotSupported:
      return `it takes no destination of type ${kind}`
    default:
      return kind === "name"
        ? noNames
        : kind === "IPv6"
        ? "has its machine IPv6?"
        : undefined
  }
}

const unsendable = (kind: Kind): Found =>
  skipped(kind === "IPv6" ? "SOCKS4 has no IPv6" : "with socks4: names are looked up here; socks4a: sends them")

export interface Through {
  readonly findings: ReadonlyArray<Finding>
  /** The hosts that are reached, addresses first. */
  readonly reached: ReadonlyArray<Host.Host>
  /** Whether the proxy has judged at all what it was asked, in its protocol. */
  readonly answers: boolean
}

export const check = Effect.fnUntraced(function*({ ground, proxy, timeout }: Check.Probing): Effect.fn.Return<Through> {
  const findings: Array<Finding> = []
  const own = ground.targets !== undefined
  const reached: Array<Host.Host> = []
  // Else it would not have come so far.
  let answers = proxy.family === "socks5"

  const one = Effect.fnUntraced(function*(kind: Kind, host: Host.Host) {
    const destination = Host.hostPortUnsafe(host, ground.port)
    const talk = yield* proxy.through(destination)
    answers = true
    if (own) {
      yield* talk.say(ping)
      const back = yield* talk.readBytes(ping.length)
      if (!ping.every((byte, at) => byte === back[at])) return fail("other bytes came back than were sent")
    }
    reached.push(host)
    const found = ok(Host.formatHostPort(destination))
    if (kind !== "name" || ProxyUrl.resolvesNames(proxy.url)) return found
    const { protocol } = proxy.url
    return { ...found, advice: `with ${protocol}:// clients look names up themselves; ${protocol}h:// sends them` }
  }, (effect, kind: Kind) =>
    Effect.catch(effect, (error) => {
      if (isAnswer(error) && !wantsLogin(error)) answers = true
      if (error._tag === "Unsendable") return Effect.succeed(unsendable(kind))
      // Many networks have no IPv6, and no fault.
      const judge = kind === "IPv6" && isAnswer(error) ? warn : fail
      return Effect.succeed(judge(describe(error), adviceFor(proxy, kind, error, own)))
    }))

  for (const kind of kinds) {
    const host = ground.hosts[kind]
    const name = `CONNECT ${kind}`
    if (isMissing(host)) {
      findings.push(named(name, skipped(host.why)))
      continue
    }
    const silence = fail("no answer in time", answers ? "does a firewall drop what it sends?" : wrongPort(proxy))
    const finding = yield* Check.run(name, timeout, one(kind, host), silence)
    findings.push(finding)
    // It is told once that something else listens there, and not again after each time limit.
    if (finding.verdict === "fail" && !answers) return { findings, reached, answers }
  }
  findings.push(named("remote DNS", remoteDns(ground.hosts.name, findings.at(-1))))
  return { findings, reached, answers }
})

const remoteDns = (host: Host.Host | Missing, byName: Finding | undefined): Found => {
  if (byName === undefined || byName.verdict === "skipped") return skipped(byName?.detail ?? "")
  if (!isMissing(host) && isLocal(host)) {
    return skipped("only localhost was tried, which takes no DNS; --target NAME:PORT tells more")
  }
  return byName.verdict === "fail" ? fail("no connection by a name") : ok("the proxy looks names up itself")
}

/** The addresses that a target has seen: one of each family by which it is reached. */
export const sourceAddress = ({ ground: { targets }, proxy, timeout }: Check.Probing, reached: Through["reached"]) =>
  Check.run(
    "source address",
    timeout,
    Effect.gen(function*() {
      if (targets === undefined) return skipped("only a target of our own can tell")
      const { port, seen } = targets.echo
      const sources = new Set<string>()
      for (const host of reached) {
        const talk = yield* proxy.through(Host.hostPortUnsafe(host, port))
        yield* talk.say(ping)
        yield* talk.readBytes(ping.length)
        const source = seen.at(-1)
        if (source !== undefined) sources.add(NetAddress.formatIp(NetAddress.toCanonical(source.address)))
      }
      return sources.size === 0 ? skipped("the target could not tell") : ok([...sources].join(", "))
    })
  )
