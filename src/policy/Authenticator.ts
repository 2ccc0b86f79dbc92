/** Who a client is: the service. `Users` is the layer that ships. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Redacted from "effect/Redacted"
import type { Egress } from "../transport/Egress.ts"

/** What a client presented (RFC 1929), and from where. */
export interface Credentials {
  readonly username: string
  readonly password: Redacted.Redacted<string>
  readonly client: NetAddress.InetAddress | undefined
}

/** Who a client is. */
export interface Identity {
  /** The name under which the connection is judged and logged. */
  readonly name: string
  /** The tag that it gave its session: what is to stay the same for a user stays so for a tag alone. */
  readonly session?: string | undefined
  /** The groups that the user is in. */
  readonly groups?: ReadonlyArray<string> | undefined
  /** The upstreams that the client has picked, by an option in its name. */
  readonly pool?: string | undefined
  /** What the user goes out from, in the place of what the `Dialer` would choose. */
  readonly egress?: Egress | undefined
  /** The class of limits that holds for the user. */
  readonly limits?: string | undefined
  /** What the authenticator knows the password by that was given: for `recheck`. */
  readonly password?: Redacted.Redacted<string> | undefined
}

/** The login was refused. Deliberately silent about whether the name or the password was wrong. */
export class AuthenticationFailed extends Data.TaggedError("AuthenticationFailed")<{
  readonly username: string
  /** For the log, never for the client: what was wrong besides the name or the password. */
  readonly why?: string | undefined
  /** Whether it says nothing of who the client is: this proxy could not find out. Nobody is to be banned for it. */
  readonly blameless?: boolean | undefined
}> {
  override get message(): string {
    return this.why === undefined ? "authentication failed" : `authentication failed: ${this.why}`
  }
}

/**
 * Decides who a client is. Asked only when the client presents a name: once for each connection (RFC 1929), or each time
 * that an HTTP client presents another one (RFC 7617).
 */
export class Authenticator extends Context.Service<Authenticator, {
  /** Whether a client has to log in. When `false`, "no authentication required" (RFC 1928 §3) is accepted. */
  readonly required: boolean
  readonly authenticate: (credentials: Credentials) => Effect.Effect<Identity, AuthenticationFailed>
  /**
   * The same for a client that can give nothing but a name, as in SOCKS4; asked only where a login is required. It must
   * let in nobody who would need a password elsewhere. Without this, such clients are refused.
   */
  readonly identify?: (
    username: string,
    client: NetAddress.InetAddress | undefined
  ) => Effect.Effect<Identity, AuthenticationFailed>
  /**
   * What has become of somebody who was let in under this name, from this address: their identity as it is now, or
   * `undefined` when they would not get in any more. Without this, whoever is in stays.
   */
  readonly recheck?: (
    identity: Identity,
    client: NetAddress.InetAddress | undefined
  ) => Effect.Effect<Identity | undefined>
}>()("sluice/policy/Authenticator") {
  /** Nobody has to log in. */
  static readonly layerOpen: Layer.Layer<Authenticator> = Layer.succeed(this, {
    required: false,
    authenticate: ({ username }) => Effect.fail(new AuthenticationFailed({ username }))
  })
}
