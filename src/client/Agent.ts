/// <reference types="node" preserve="true" />
/** Agents of `node:http` and `node:https` whose connections go through proxies. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Host from "effect/net/Host"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Https from "node:https"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import { Dialer } from "../transport/Dialer.ts"
import { Resolver } from "../transport/Resolver.ts"
import * as Chain from "./Chain.ts"
import { PendingStream } from "./PendingStream.ts"

/** What Node's agents take, `keepAlive` among it, and the limits of connecting through the proxies. */
export type AgentOptions = Https.AgentOptions & Chain.Options

/** A request's options, as far as they say where it goes and how long it waits. */
interface Target {
  readonly host?: string | null | undefined
  readonly port?: string | number | null | undefined
  readonly timeout?: number | undefined
}

type Runtime = ManagedRuntime.ManagedRuntime<Layer.Success<typeof Chain.layer>, never>

/** Connects for one agent. What it needs for that, the resolver's cache among it, lives until `close`. */
const connector = (proxies: Chain.Proxies, options: Chain.Options) => {
  const chain = Result.getOrThrow(Chain.fromInput(proxies))
  let runtime: Runtime | undefined

  const dial = Effect.fnUntraced(function*({ host, port }: Target) {
    const to = yield* Effect.fromResult(
      Host.hostPortFromInput({ host: host ?? "localhost", port: Number(port ?? 80) })
    )
    const way = Chain.make({ dialer: yield* Dialer, resolver: yield* Resolver }, chain, options)
    return (yield* way.dial(to)).connection
  })

  return {
    /** At once: an agent counts what it has been given, and a request that is aborted destroys it. */
    open: (target: Target): PendingStream => {
      // Node's agents go on when they are used again after `destroy`.
      runtime ??= ManagedRuntime.make(Chain.layer)
      const scope = Scope.makeUnsafe()
      const stream = new PendingStream()
      const cancel = runtime.runCallback(Scope.provide(dial(target), scope), {
        onExit: (exit) => {
          if (Exit.isSuccess(exit)) return stream.open(exit.value)
          const { cause } = exit
          // Only with the stream, or the agent, which its owner has destroyed.
          if (Cause.hasInterruptsOnly(cause)) return void stream.destroy()
          const error = Option.getOrElse(Cause.findErrorOption(cause), () => new Error("internal error", { cause }))
          // A request listens from the next tick on, and some failures are there at once.
          setImmediate(() => stream.destroy(error))
        }
      })
      return stream.once("close", () => {
        cancel()
        Effect.runFork(Scope.close(scope, Exit.void))
      })
    },
    close: () => {
      void runtime?.dispose()
      runtime = undefined
    }
  }
}

class ProxyAgent extends Http.Agent {
  private readonly connector: ReturnType<typeof connector>

  constructor(proxies: Chain.Proxies, options: AgentOptions) {
    super(options)
    this.connector = connector(proxies, options)
  }

  override createConnection(target: Target): Duplex {
    return this.connector.open(target).setTimeout(target.timeout ?? 0)
  }

  override destroy(): void {
    super.destroy()
    this.connector.close()
  }
}

class HttpsProxyAgent extends Https.Agent {
  private readonly connector: ReturnType<typeof connector>

  constructor(proxies: Chain.Proxies, options: AgentOptions) {
    super(options)
    this.connector = connector(proxies, options)
  }

  override createConnection(target: Https.RequestOptions & Target): Duplex {
    const stream = this.connector.open(target)
    // TLS with the target over what is being opened; it keeps the sessions too. Its own option, not in the types.
    const options: object = { ...target, socket: stream }
    // Node's own makes a TLS socket of it, which its types don't say.
    const secured = super.createConnection(options) as Tls.TLSSocket
    secured.setTimeout(target.timeout ?? 0)
    // A reason that `node:tls` knows nothing of, and a handle that it can't let the process end with.
    stream.once("error", (error) => secured.destroy(error))
    secured.once("close", () => stream.destroy())
    secured.ref = () => {
      stream.ref()
      return secured
    }
    secured.unref = () => {
      stream.unref()
      return secured
    }
    return secured
  }

  override destroy(): void {
    super.destroy()
    this.connector.close()
  }
}

/**
 * For `node:http`. Its limits hold while it connects too, and a request can be aborted then. A request fails with the
 * typed error of connecting (`ReplyError`, `ProxyUnreachable`, …), and this throws a `ProxyUrlError` when the URL is none.
 */
export const agent = (proxies: Chain.Proxies, options: AgentOptions = {}): Http.Agent =>
  new ProxyAgent(proxies, options)

/** The same for `node:https`. */
export const httpsAgent = (proxies: Chain.Proxies, options: AgentOptions = {}): Https.Agent =>
  new HttpsProxyAgent(proxies, options)
