/** The address that a reply names (BND.ADDR), for UDP ASSOCIATE and BIND: whether a client can use it. */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { Address } from "../protocol/Address.ts"
import type { Proxy } from "./Proxy.ts"

export interface Bound {
  readonly address: NetAddress.InetAddress
  /** What a client has to guess. */
  readonly remark?: string
}

/** 0.0.0.0 is taken for the proxy's own address, as most clients do. */
export const usable = (told: Address, proxy: Proxy): Result.Result<Bound, string> => {
  if (told._tag === "Domain") return Result.fail(`BND.ADDR is a name (${told.name}:${told.port})`)
  const at = proxy.address.address
  const inet = NetAddress.inetAddressUnsafe(told.ip, told.port)
  if (told.port === 0) return Result.fail(`BND.PORT is 0 (${NetAddress.formatInet(inet)})`)
  if (NetAddress.isUnspecified(told.ip)) {
    return Result.succeed({
      address: NetAddress.inetAddressUnsafe(at, told.port),
      remark: `BND.ADDR is ${NetAddress.formatIp(told.ip)}: clients have to guess that the proxy's address is meant`
    })
  }
  return NetAddress.isLoopback(told.ip) && !NetAddress.isLoopback(at)
    ? Result.fail(`BND.ADDR is the proxy's own loopback (${NetAddress.formatInet(inet)})`)
    : Result.succeed({ address: inet })
}
