/** Why an address can't be listened on, and what to do about it. */
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Interfaces from "../transport/Interfaces.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import type { ListenError } from "../transport/Transport.ts"
import { type CommandError, failed, unusable } from "./CommandError.ts"

/** Whether nobody but this machine, and those who have shown a certificate, gets in. */
const isGuarded = (listen: ListenAddress.ListenAddress): boolean => {
  if (ListenAddress.asksForCertificate(listen)) return true
  const inet = ListenAddress.inetOf(listen)
  return inet === undefined || NetAddress.isLoopback(NetAddress.toCanonical(inet.address))
}

/** What only one listener can have; `undefined` for any free port. */
const placeOf = (listen: ListenAddress.ListenAddress): string | undefined => {
  const inet = ListenAddress.inetOf(listen)
  if (inet === undefined) return ListenAddress.format(listen)
  return inet.port === 0 ? undefined : NetAddress.formatInet(NetAddress.toCanonical(inet))
}

/** Whether a listener on the first one has the place of the other, since it is on all addresses of that kind. */
const takesIn = (outer: NetAddress.InetAddress, inner: NetAddress.InetAddress): boolean =>
  outer.port === inner.port && outer.port !== 0 && NetAddress.isUnspecified(outer.address) &&
  !NetAddress.isUnspecified(inner.address) &&
  // One on [::] takes IPv4 too; beside 0.0.0.0 it leaves that to it, which is no less in the way.
  (NetAddress.isIpv6Address(outer.address) || NetAddress.isIpv4Address(inner.address))

/** The complaint about addresses that can't be listened on beside each other; `undefined` for none. */
export const collision = (
  listen: ReadonlyArray<ListenAddress.ListenAddress>,
  source: string
): CommandError | undefined => {
  const fixed = listen.flatMap((address) => placeOf(address) ?? [])
  const again = fixed.find((place, index) => fixed.indexOf(place) !== index)
  if (again !== undefined) return unusable(`${source}: ${again} is given twice; give it once`)
  const places = listen.flatMap((address) => {
    const inet = ListenAddress.inetOf(address)
    return inet === undefined ? [] : [NetAddress.toCanonical(inet)]
  })
  for (const outer of places) {
    const inner = places.find((place) => takesIn(outer, place))
    if (inner === undefined) continue
    const [all, one] = [NetAddress.formatInet(outer), NetAddress.formatInet(inner)]
    return unusable(`${source}: ${all} takes in ${one} too; leave one of them out`)
  }
  return undefined
}

/** The first address that others than those can reach. */
export const exposed = (listen: ReadonlyArray<ListenAddress.ListenAddress>): ListenAddress.ListenAddress | undefined =>
  listen.find((address) => !isGuarded(address))

/** The refusal to become a proxy for everybody by accident; `undefined` when there is no such danger. */
export const openProxy = (options: {
  readonly listen: ReadonlyArray<ListenAddress.ListenAddress>
  readonly hasUsers: boolean
  readonly meant: boolean
  readonly source: string
  /** Whether there is a configuration file, which can say the same in its words. */
  readonly hasFile?: boolean
}): CommandError | undefined => {
  if (options.hasUsers || options.meant) return undefined
  const danger = exposed(options.listen)
  return danger === undefined ? undefined : unusable(
    `${options.source}: ${ListenAddress.format(danger)} would be an open proxy; ` +
      (options.hasFile === true
        ? "add users: or auth:, or say openProxy: true if it is meant"
        : "add --user NAME:PASSWORD or --users FILE, or say --open-proxy if it is meant")
  )
}

/** The addresses that a host surely leads to, without asking anybody. */
const literal = (host: Host.Host): ReadonlyArray<NetAddress.IpAddress> => {
  if (NetAddress.isIpAddress(host)) return [NetAddress.toCanonical(host)]
  return host === "localhost" ? [NetAddress.ipFromStringUnsafe("127.0.0.1"), NetAddress.ipFromStringUnsafe("::1")] : []
}

/** Whether who dials that address, one of ours if it is local, gets to a listener on the other one. */
const leadsTo = (dialled: NetAddress.IpAddress, listened: NetAddress.IpAddress): boolean => {
  const canonical = NetAddress.toCanonical(listened)
  if (!NetAddress.isUnspecified(canonical)) return NetAddress.formatIp(canonical) === NetAddress.formatIp(dialled)
  // A listener on [::] takes IPv4 too.
  if (NetAddress.isIpv4Address(canonical) && !NetAddress.isIpv4Address(dialled)) return false
  if (NetAddress.isLoopback(dialled) || NetAddress.isUnspecified(dialled)) return true
  const own = Result.getOrElse(Result.try(() => Interfaces.addresses()), () => [])
  return own.some((address) => NetAddress.formatIp(address) === NetAddress.formatIp(dialled))
}

/** A proxy that is dialled from here, and what says so. */
export interface Dialled {
  readonly address: Host.HostPort
  readonly source: string
}

/** The refusal to go out through oneself, in a circle without an end; `undefined` where no address says so. */
export const loop = (
  listen: ReadonlyArray<ListenAddress.ListenAddress>,
  upstreams: ReadonlyArray<Dialled>
): CommandError | undefined => {
  const listened = listen.flatMap((address) => ListenAddress.inetOf(address) ?? [])
  const own = upstreams.find(({ address: { host, port } }) =>
    literal(host).some((ip) => listened.some((one) => one.port === port && leadsTo(ip, one.address)))
  )
  return own === undefined
    ? undefined
    : unusable(
      `${own.source}: ${Host.formatHostPort(own.address)} is where this proxy itself listens; give another one`
    )
}

const problemOfPath = (code: string): string => {
  switch (code) {
    case "EADDRINUSE":
      return "is in use; stop what holds it or choose another path"
    case "ENOTSOCK":
      return "is another kind of file; remove it or choose another path"
    default:
      return `can't be listened on (${code}); choose a path in a directory that exists and may be written to`
  }
}

const problemOfInet = ({ address, port }: NetAddress.InetAddress, code: string): string => {
  switch (code) {
    case "EADDRINUSE":
      return "is in use; stop what holds it or choose another port"
    case "EACCES":
    case "EPERM":
      return port < 1024
        ? "needs the privilege for ports below 1024; choose a higher port or grant CAP_NET_BIND_SERVICE"
        : `is not permitted (${code}); choose another address or port`
    case "EADDRNOTAVAIL":
      return "is not an address of this machine; choose one that is, or 0.0.0.0 or [::] for all"
    case "EAFNOSUPPORT":
      return `needs ${NetAddress.isIpv6Address(address) ? "IPv6" : "IPv4"}, which is off here; choose another address`
    default:
      return `can't be listened on (${code}); choose another address or port`
  }
}

/** The system's refusal, in words. */
export const refused = ({ address, code, problem }: ListenError, source: string): CommandError => {
  const place = `${source}: ${ListenAddress.format(address)}`
  if (problem !== undefined) return unusable(`${place}: ${problem}`)
  const inet = ListenAddress.inetOf(address)
  return failed(`${place} ${inet === undefined ? problemOfPath(code) : problemOfInet(inet, code)}`)
}
