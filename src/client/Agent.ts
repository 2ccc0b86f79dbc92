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
import { ConnectionStream } from "../transport/ConnectionStream.ts"
import { Dialer } from "../transport/Dialer.ts"
import { Resolver } from "../transport/Resolver.ts"
import * as Chain from "./Chain.ts"

/** What Node's agents take, `keepAlive` among it, and the limits of connecting through the proxies. */
export type AgentOptions = Https.AgentOptions & Chain.Options

type Callback = (error: Error | null, stream: Duplex) => void

/** A request's options, as far as they say where it goes. */
interface Target {
  readonly host?: string | null | undefined
  readonly port?: string | number | null | undefined
}

type Runtime = ManagedRuntime.ManagedRuntime<Layer.Success<typeof Chain.layer>, never>

/** Connects for one agent. What it needs for that, the resolver's cache among it, lives until `close`. */
const connector = (proxies: Chain.Proxies, options: Chain.Options) => {
  const chain = Result.getOrThrow(Chain.fromInput(proxies))
  let runtime: Runtime | undefined

  const open = Effect.fnUntraced(function*({ host, port }: Target) {
    const to = yield* Effect.fromResult(
      Host.hostPortFromInput({ host: host ?? "localhost", port: Number(port ?? 80) })
    )
    const way = Chain.make({ dialer: yield* Dialer, resolver: yield* Resolver }, chain, options)
    const scope = yield* Scope.make()
    const close = Scope.close(scope, Exit.void)
    const { connection } = yield* Effect.onError(Scope.provide(way.dial(to), scope), () => close)
    return new ConnectionStream(connection).once("close", () => Effect.runFork(close))
  })

  return {
    open: (target: Target, use: (stream: Duplex) => void, fail: (error: Error) => void) => {
      // Node's agents go on when they are used again after `destroy`.
      runtime ??= ManagedRuntime.make(Chain.layer)
      runtime.runCallback(open(target), {
        onExit: (exit) => {
          if (Exit.isSuccess(exit)) return use(exit.value)
          const { cause } = exit
          fail(
            Cause.hasInterruptsOnly(cause)
              ? new Error("the agent was destroyed")
              : Option.getOrElse(Cause.findErrorOption(cause), () => new Error("internal error", { cause }))
          )
        }
      })
    },
    close: () => {
      void runtime?.dispose()
      runtime = undefined
    }
  }
}

/** Node's callback takes an error alone, which its type doesn't say. */
const failWith = (callback: Callback | undefined) => (error: Error): void =>
  (callback as ((error: Error) => void) | undefined)?.(error)

class ProxyAgent extends Http.Agent {
  private readonly connector: ReturnType<typeof connector>

  constructor(proxies: Chain.Proxies, options: AgentOptions) {
    super(options)
    this.connector = connector(proxies, options)
  }

  override createConnection(target: Target, callback?: Callback): undefined {
    this.connector.open(target, (stream) => callback?.(null, stream), failWith(callback))
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

  override createConnection(target: Https.RequestOptions & Target, callback?: Callback): undefined {
    this.connector.open(
      target,
      (stream) => {
        // TLS with the target over what has been opened; it keeps the sessions too. Its own option, not in the types.
        const options: object = { ...target, socket: stream }
        const secured = super.createConnection(options)
        if (secured !== null && secured !== undefined) callback?.(null, secured)
      },
      failWith(callback)
    )
  }

  override destroy(): void {
    super.destroy()
    this.connector.close()
  }
}

/**
 * For `node:http`. A request fails with the typed error of connecting (`ReplyError`, `ProxyUnreachable`, …), and this
 * throws a `ProxyUrlError` when the URL is none.
 */
export const agent = (proxies: Chain.Proxies, options: AgentOptions = {}): Http.Agent =>
  new ProxyAgent(proxies, options)

/** The same for `node:https`. */
export const httpsAgent = (proxies: Chain.Proxies, options: AgentOptions = {}): Https.Agent =>
  new HttpsProxyAgent(proxies, options)
