/** What there is to connect to: targets of our own, or the one that was given, or nothing. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import type { Plan } from "./Plan.ts"
import type { Proxy } from "./Proxy.ts"
import * as Targets from "./Targets.ts"

export const kinds = ["IPv4", "IPv6", "name"] as const

/** How a destination is sent. */
export type Kind = typeof kinds[number]

/** Why there is nothing to connect to. */
export interface Missing {
  readonly _tag: "Missing"
  readonly why: string
}

export interface Ground {
  readonly targets: Targets.Targets | undefined
  readonly hosts: Readonly<Record<Kind, Host.Host | Missing>>
  /** Of the first thing to connect to. */
  readonly port: number
}

export const isMissing = (host: Host.Host | Missing): host is Missing =>
  typeof host !== "string" && host._tag === "Missing"

const missing = (why: string): Missing => ({ _tag: "Missing", why })

const nobody = (why: string): Ground["hosts"] => ({ IPv4: missing(why), IPv6: missing(why), name: missing(why) })

/** RFC 6761 §6.4: it never exists. */
export const nowhere = Host.hostPortUnsafe(Host.domainNameFromStringUnsafe("sluice-probe.invalid"), 80)

export const localhost = Host.domainNameFromStringUnsafe("localhost")

/** RFC 6761 §6.3: it is nobody's business to look it up. */
export const isLocal = (host: Host.Host): boolean => /(?:^|\.)localhost\.?$/i.test(Host.formatHost(host))

const kindOf = (host: Host.Host): Kind =>
  NetAddress.isIpv4Address(host) ? "IPv4" : NetAddress.isIpv6Address(host) ? "IPv6" : "name"

const given = (target: Host.HostPort): Ground => ({
  targets: undefined,
  hosts: { ...nobody(`only ${Host.formatHostPort(target)} is given`), [kindOf(target.host)]: target.host },
  port: target.port
})

const own = (targets: Targets.Targets, local: boolean): Ground => {
  const { addresses } = targets
  const hosts = nobody("this machine has no such address that the proxy could reach")
  const name = local
    ? localhost
    : missing("no name of this machine is known; give one with --target")
  return {
    targets,
    hosts: { ...hosts, ...Object.fromEntries(addresses.map((address) => [kindOf(address), address])), name },
    port: targets.echo.port
  }
}

/** What could not be served, in one line, is for the checks to say. */
export const make = Effect.fnUntraced(function*({ ownAddress, target }: Plan, proxy: Proxy) {
  if (target !== undefined) return given(target)
  const { loopbackAddresses } = NetAddress
  if (ownAddress === undefined && !NetAddress.isLoopback(proxy.address.address)) {
    return {
      targets: undefined,
      hosts: nobody("the proxy is not on loopback; give --own-address or --target"),
      port: 0
    }
  }
  const listening = ownAddress === undefined
    ? Targets.make(proxy, loopbackAddresses)
    : Targets.make(proxy, [ownAddress]).pipe(
      // Behind NAT, it is seen from an address that is not its own.
      Effect.catchIf(({ code }) => code === "EADDRNOTAVAIL", () => Targets.makeAt(proxy, ownAddress))
    )
  const targets = yield* Effect.result(listening)
  return targets._tag === "Success"
    ? own(targets.success, ownAddress === undefined)
    : { targets: undefined, hosts: nobody(targets.failure.message), port: 0 }
})

/** A destination to ask for where it does not matter whether one gets there. */
export const somewhere = ({ hosts, port }: Ground): Host.HostPort => {
  for (const kind of kinds) {
    const host = hosts[kind]
    if (!isMissing(host)) return Host.hostPortUnsafe(host, port)
  }
  return nowhere
}
