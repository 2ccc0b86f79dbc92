/** Who may go where: the service. `InternalNetworks` is the layer that ships. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as LogLevel from "effect/LogLevel"
import type * as Host from "effect/net/Host"
import type * as NetAddress from "effect/net/NetAddress"
import type { Egress } from "../transport/Egress.ts"

/** What is known of a request when it is judged. */
export interface AccessRequest {
  readonly client: NetAddress.InetAddress | undefined
  /** The name that the client logged in as. */
  readonly user: string | undefined
  /** The groups that the user is in. */
  readonly groups?: ReadonlyArray<string> | undefined
  /** The tag that it gave its session, in the name (`name+tag`). */
  readonly session?: string | undefined
  /** What the user goes out from, in the place of what the `Dialer` would choose. */
  readonly egress?: Egress | undefined
  /** The upstreams that the client has picked, by their name. */
  readonly pool?: string | undefined
  /** Where it came in: `HOST:PORT`, `tls://HOST:PORT` or `unix:PATH`, with the port that was given for 0. */
  readonly listener?: string | undefined
  /** What it speaks: `socks5`, `socks4` or `http`. */
  readonly protocol?: string | undefined
  /** What it asks for: `connect`, `bind`, `associate`, `resolve`, `resolve-ptr` or `forward`. */
  readonly command?: string | undefined
  /** As the client sent it, a literal inside a domain already taken as the address that it is. */
  readonly destination: Host.HostPort
}

/** How a request that is allowed is to be served. */
export interface Verdict {
  /** What decided, in the words that the log has for it. */
  readonly rule?: string | undefined
  /** Whether only the addresses can tell: then a name must not be passed on as it is, but looked up and judged here. */
  readonly undecided?: boolean | undefined
  /** The upstreams to go through, by their name; `direct` for none. Default: those that there are for all. */
  readonly via?: string | undefined
  /** The class of limits that holds, in the place of the user's. */
  readonly limits?: string | undefined
  /** The level of the connection's line in the log; `None` for no line. */
  readonly log?: LogLevel.LogLevel | undefined
  /** Where to go out from, in the place of what the `Dialer` would choose. Upstreams go out from where they are. */
  readonly egress?: Egress | undefined
  /** Whether the target is to be told who the client is, by a PROXY protocol header (version 2) before all else. */
  readonly proxyHeader?: boolean | undefined
}

/** The request was refused; `rule` is for the log, never for the client. */
export class AccessDenied extends Data.TaggedError("AccessDenied")<{
  readonly rule: string
  /** The reply of RFC 1928 §6. Default: 02. */
  readonly reply?: number | undefined
  /** The level of the connection's line in the log; `None` for no line. */
  readonly log?: LogLevel.LogLevel | undefined
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
  /**
   * Judges the request as it was sent, before any name is looked up. How a name is served that goes to an upstream as it
   * is, is said here.
   */
  readonly authorize: (request: AccessRequest) => Effect.Effect<Verdict, AccessDenied>
  /**
   * Judges each address that would be dialled for it, so that no name can lead where no literal may. Of several, those
   * are dialled that are served like the first one that may be.
   */
  readonly authorizeAddress: (
    request: AccessRequest,
    address: NetAddress.IpAddress
  ) => Effect.Effect<Verdict, AccessDenied>
  /**
   * Judges UDP ASSOCIATE and BIND before a port is opened for them, whatever the destination in the request says. What goes
   * there, or comes from there, is judged by itself. Of the verdict, `limits` and `log` count. Without this, all may open
   * one.
   */
  readonly authorizeCommand?: (request: AccessRequest) => Effect.Effect<Verdict, AccessDenied>
}>()("sluice/policy/AccessPolicy") {
  /** Allowed, and served as usual. */
  static readonly permit: Effect.Effect<Verdict> = Effect.succeed({})
}
