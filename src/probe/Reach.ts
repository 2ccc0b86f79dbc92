/** Whether the proxy is there: TCP, and TLS where the URL says so. */
import * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import { ProxyUnreachable } from "../client/ProxyError.ts"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import type { Dialer } from "../transport/Dialer.ts"
import type { Resolver } from "../transport/Resolver.ts"
import * as Check from "./Check.ts"
import { fail, type Finding, took } from "./Finding.ts"
import type { Plan } from "./Plan.ts"
import type { Proxy } from "./Proxy.ts"
import { describe } from "./Trouble.ts"

export interface Ways {
  readonly dialer: Dialer["Service"]
  readonly resolver: Resolver["Service"]
}

/** With the address that has answered. */
export type Reached = readonly [finding: Finding, address: NetAddress.InetAddress | undefined]

export const reachable = Effect.fnUntraced(function*({ dialer, resolver }: Ways, { proxy, timeout }: Plan) {
  const { host, port } = proxy.address
  const unreachable = ({ code }: { readonly code: string }) =>
    new ProxyUnreachable({ proxy: ProxyUrl.format(proxy), code })
  let reached: NetAddress.InetAddress | undefined

  const dial = Effect.gen(function*() {
    if (NetAddress.isScopedIpv6Literal(host)) return yield* unreachable({ code: "EADDRNOTAVAIL" })
    const addresses = typeof host === "string"
      ? yield* Effect.mapError(resolver.resolve(host), unreachable)
      : Arr.of(host)
    const [duration, { address }] = yield* Effect.timed(Effect.mapError(dialer.dial(addresses, port), unreachable))
    reached = address
    return took(duration, NetAddress.formatInet(address))
  }).pipe(
    Effect.catch((error) => Effect.succeed(fail(describe(error), "is it running, and is this its host and port?")))
  )

  const finding = yield* Check.run("reachable", timeout, dial)
  const result: Reached = [finding, reached]
  return result
})

/** OpenSSL's word for a server that speaks something else. */
const noTls = new Set([
  "EPROTO",
  "ERR_SSL_WRONG_VERSION_NUMBER",
  "ERR_SSL_PACKET_LENGTH_TOO_LONG",
  "ECONNRESET",
  "EEND"
])

const adviceFor = (code: string): string => {
  if (noTls.has(code)) return "does it speak TLS on this port? else write http://"
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "its certificate is for another name than the URL's"
    case "CERT_HAS_EXPIRED":
      return "its certificate is out of date"
    default:
      return "NODE_EXTRA_CA_CERTS=FILE trusts its issuer, if it is a certificate of your own"
  }
}

export const tls = (proxy: Proxy, timeout: Duration.Duration): Effect.Effect<Finding> =>
  Effect.timed(proxy.open).pipe(
    Effect.map(([duration]) => took(duration, "TCP and TLS, its certificate is trusted")),
    Effect.catch((error) => {
      const code = error._tag === "ProxyUnreachable" ? error.code : ""
      return Effect.succeed(fail(describe(error), adviceFor(code)))
    }),
    (check) => Check.run("TLS", timeout, check)
  )
