/** Who may go where: the service. `InternalNetworks` is the layer that ships. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"

/** What is known of a request when it is judged. */
export interface AccessRequest {
  readonly client: NetAddress.InetAddress | undefined
  /** The name that the client logged in as. */
  readonly user: string | undefined
  /** As the client sent it, a literal inside a domain already taken as the address that it is. */
  readonly destination: Host.HostPort
}

/** The request was refused; `rule` is for the log, never for the client. */
export class AccessDenied extends Data.TaggedError("AccessDenied")<{
  readonly rule: string
}> {
  override get message(): string {
    return `denied: ${this.rule}`
  }
}

/**
 * Decides where a client may go. A denial is answered with reply 02 (RFC 1928 §6). One of your own takes the place of the
 * one that keeps other machines out of internal networks.
 */
export class AccessPolicy extends Context.Service<AccessPolicy, {
  /** Judges the request as it was sent, before any name is looked up. */
  readonly authorize: (request: AccessRequest) => Effect.Effect<void, AccessDenied>
  /** Judges each address that would be dialled for it, so that no name can lead where no literal may. */
  readonly authorizeAddress: (
    request: AccessRequest,
    address: NetAddress.IpAddress
  ) => Effect.Effect<void, AccessDenied>
  /**
   * Whether the target of a request is to be told who the client is, by a header of the PROXY protocol (version 2) before
   * all else. Asked once there is a connection to it. Without this, no target is told.
   */
  readonly sendsProxyHeader?: (request: AccessRequest) => boolean
}>()("sluice/policy/AccessPolicy") {}
