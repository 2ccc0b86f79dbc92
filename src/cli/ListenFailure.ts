/** Why an address can't be listened on, and what to do about it. */
import * as NetAddress from "effect/net/NetAddress"
import type { ListenError } from "../transport/Transport.ts"
import { type CommandError, failed, unusable } from "./CommandError.ts"

/** Whether only this machine can connect to an address. */
const isLocal = ({ address }: NetAddress.InetAddress): boolean => NetAddress.isLoopback(NetAddress.toCanonical(address))

/** The complaint about an address that was given twice; `undefined` when none was. */
export const twice = (listen: ReadonlyArray<NetAddress.InetAddress>, source: string): CommandError | undefined => {
  const fixed = listen.filter(({ port }) => port !== 0).map((address) =>
    NetAddress.formatInet(NetAddress.toCanonical(address))
  )
  const again = fixed.find((address, index) => fixed.indexOf(address) !== index)
  return again === undefined ? undefined : unusable(`${source}: ${again} is given twice; give it once`)
}

/** The refusal to become a proxy for everybody by accident; `undefined` when there is no such danger. */
export const openProxy = (options: {
  readonly listen: ReadonlyArray<NetAddress.InetAddress>
  readonly hasUsers: boolean
  readonly meant: boolean
  readonly source: string
}): CommandError | undefined => {
  if (options.hasUsers || options.meant) return undefined
  const exposed = options.listen.find((address) => !isLocal(address))
  return exposed === undefined ? undefined : unusable(
    `${options.source}: ${NetAddress.formatInet(exposed)} would be an open proxy; ` +
      "add --user NAME:PASSWORD or --users FILE, or say --open-proxy if it is meant"
  )
}

const problemOf = ({ address, code }: ListenError): string => {
  switch (code) {
    case "EADDRINUSE":
      return "is in use; stop what holds it or choose another port"
    case "EACCES":
    case "EPERM":
      return address.port < 1024
        ? "needs the privilege for ports below 1024; choose a higher port or grant CAP_NET_BIND_SERVICE"
        : `is not permitted (${code}); choose another address or port`
    case "EADDRNOTAVAIL":
      return "is not an address of this machine; choose one that is, or 0.0.0.0 or [::] for all"
    case "EAFNOSUPPORT":
      return `needs ${
        NetAddress.isIpv6Address(address.address) ? "IPv6" : "IPv4"
      }, which is off here; choose another address`
    default:
      return `can't be listened on (${code}); choose another address or port`
  }
}

/** The system's refusal, in words. */
export const refused = (error: ListenError, source: string): CommandError =>
  failed(`${source}: ${NetAddress.formatInet(error.address)} ${problemOf(error)}`)
