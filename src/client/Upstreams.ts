/** Other proxies as the way out: the service. `UpstreamPool` is the layer that ships. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import type * as Scope from "effect/Scope"
import * as Reply from "../protocol/Reply.ts"
import type { Datagrams } from "../transport/Datagrams.ts"
import type { Dialed, From } from "../transport/Dialer.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import { type ProxyError, replyCode } from "./ProxyError.ts"
import type { Receiver, UdpRelay } from "./UdpRelay.ts"

/** No upstream got through. `error` is the one that tells the most; `tried` is how many chains were asked. */
export class UpstreamError extends Data.TaggedError("UpstreamError")<{
  readonly error: ProxyError | ResolveError
  readonly tried: number
}> {
  override get message(): string {
    return this.tried > 1
      ? `upstream ${this.error.message} (${this.tried} tried)`
      : `upstream ${this.error.message}`
  }

  /** The reply of RFC 1928 §6 that it amounts to. */
  get reply(): number {
    return this.error._tag === "ResolveError" ? Reply.hostUnreachable : replyCode(this.error)
  }
}

/** One chain at one moment. */
export interface UpstreamInfo {
  /** The URLs of its proxies, without passwords. */
  readonly proxies: ReadonlyArray<string>
  /** Connections that go through it. */
  readonly connections: number
  /** Failures of its own since it last worked, those among them of which only another chain's success was the proof. */
  readonly failures: number
  /** Whether it is out of the pool. */
  readonly ejected: boolean
}

/** The way out through other proxies, in the place of `Dialer`'s own. */
export class Upstreams extends Context.Service<Upstreams, {
  /** Whether destinations may be names: every chain ends with a proxy that looks them up. */
  readonly resolvesNames: boolean
  /**
   * Connects to a destination. Where a chain fails, and doesn't say that it is for the destination, the next one is
   * tried. `address` is the first proxy's; the scope closes the connection.
   */
  readonly dial: (destination: Host.HostPort, from?: From) => Effect.Effect<Dialed, UpstreamError, Scope.Scope>
  /**
   * Datagrams through a chain that takes them, another one when it doesn't. Missing where none can: a chain has to be a
   * single SOCKS5 proxy. The scope ends it.
   */
  readonly associate?: (
    receiver: Receiver,
    from?: From
  ) => Effect.Effect<UdpRelay, UpstreamError | ListenError, Datagrams | Scope.Scope>
  readonly list: Effect.Effect<ReadonlyArray<UpstreamInfo>>
}>()("sluice/client/Upstreams") {}
