/** RESOLVE of Tor (socks-extensions.txt): a name's address, and no connection. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { toAddress } from "../client/Negotiation.ts"
import * as Address from "../protocol/Address.ts"
import * as Request from "../protocol/Request.ts"
import * as Check from "./Check.ts"
import * as Command from "./Command.ts"
import { ok, skipped, warn } from "./Finding.ts"
import { isLocal, isMissing, localhost } from "./Ground.ts"

export const name = "Tor RESOLVE"

/** Whoever has no extension is not to blame for that. */
export const check = ({ ground, proxy, timeout }: Check.Probing) =>
  Check.run(
    name,
    timeout,
    Effect.gen(function*() {
      const host = isMissing(ground.hosts.name) ? localhost : ground.hosts.name
      const talk = yield* proxy.greeted
      const answer = yield* Command.ask5(talk, timeout, Request.resolve, toAddress(Host.hostPortUnsafe(host, 0)))
      if (Result.isFailure(answer)) return skipped(answer.failure)
      const told = Result.getOrUndefined(Address.toHostPort(answer.success))?.host
      const asked = Host.formatHost(host)
      // With a port, it is where something listens.
      const isAddress = answer.success.port === 0 && NetAddress.isIpAddress(told) && !NetAddress.isUnspecified(told) &&
        (!isLocal(host) || NetAddress.isLoopback(told))
      return isAddress
        ? ok(`${asked} is ${NetAddress.formatIp(told)}`)
        : warn(`granted, but with no address of ${asked}`, "it takes it for another command")
    })
  )
