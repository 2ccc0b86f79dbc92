/** What a probe is asked to do. */
import type * as Duration from "effect/Duration"
import type * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import type { ProxyUrl } from "../client/ProxyUrl.ts"

export interface Plan {
  readonly proxy: ProxyUrl
  /** Limit for each check. */
  readonly timeout: Duration.Duration
  /** A TCP service to connect to, instead of to targets of our own. */
  readonly target?: Host.HostPort
  /** Where the proxy reaches this machine, and so our targets. Default: loopback, when the proxy is there. */
  readonly ownAddress?: NetAddress.IpAddress
}
