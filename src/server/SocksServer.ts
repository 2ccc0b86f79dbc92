/** The proxy as a Layer: listeners, and a fiber for each client. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as UpstreamPools from "../client/UpstreamPools.ts"
import { Upstreams } from "../client/Upstreams.ts"
import { AccessPolicy } from "../policy/AccessPolicy.ts"
import { Authenticator } from "../policy/Authenticator.ts"
import * as InternalNetworks from "../policy/InternalNetworks.ts"
import { LimitStore } from "../policy/LimitStore.ts"
import { Datagrams } from "../transport/Datagrams.ts"
import { Dialer } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import * as NodeDatagrams from "../transport/NodeDatagrams.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { Resolver } from "../transport/Resolver.ts"
import { type Accept, type ListenError, Transport } from "../transport/Transport.ts"
import * as Admission from "./Admission.ts"
import * as Association from "./Association.ts"
import * as Bind from "./Bind.ts"
import { ConnectionLog } from "./ConnectionLog.ts"
import * as Deadlines from "./Deadlines.ts"
import { type Protocol, protocols } from "./Dialect.ts"
import * as Introduction from "./Introduction.ts"
import { Listeners, listenOn, type OpenOne } from "./Listeners.ts"
import { connectionsWithin, openFilesLimit } from "./OpenFiles.ts"
import * as Session from "./Session.ts"
import { Registry, Sessions } from "./Sessions.ts"
import { SessionState, type Timeouts } from "./SessionState.ts"
import * as Sniffer from "./Sniffer.ts"

export interface Options extends Association.Options, Bind.Options {
  /** Where to listen, a plain address for TCP; port 0 takes any free one. */
  readonly listen: ReadonlyArray<ListenAddress.ListenAddress>
  /** What clients may speak, told apart by their first byte. Default: all that there is. */
  readonly protocols?: ReadonlyArray<Protocol> | undefined
  /**
   * Load balancers: connections from these networks, or by Unix sockets, must begin with a header of the PROXY protocol
   * (version 1 or 2), which says who the client is. From nobody else is one read. Default: none.
   */
  readonly proxyProtocol?: ReadonlyArray<Introduction.Balancer> | undefined
  /** Limit for greeting, login and request together. Default: 10 seconds; 0 = none. */
  readonly handshakeTimeout?: Duration.Input | undefined
  /** A relay without traffic in either direction ends after this. Default: 1 hour; 0 = never. */
  readonly idleTimeout?: Duration.Input | undefined
  /** The same once one direction has ended. Default: 1 minute; 0 = as `idleTimeout`. */
  readonly halfCloseTimeout?: Duration.Input | undefined
  /** How long running connections may go on once the server shuts down. Default: 30 seconds. */
  readonly drainTimeout?: Duration.Input | undefined
  /** Clients above this number are closed at once. Default: what the open-files limit has room for. */
  readonly maxConnections?: number | undefined
}

/** How long a refused client has to read the refusal before its socket is closed (RFC 1928 §6 allows 10 s). */
const linger = Duration.seconds(1)

type Services = Authenticator | AccessPolicy | Resolver | Dialer | ConnectionLog | Transport

/**
 * The running proxy. Its layer fails with `ListenError` when an address can't be listened on, and serves for as long as
 * its scope is open; closing that drains.
 */
export class SocksServer extends Context.Service<SocksServer, {
  /** Where it listens at the moment, with the ports that were given for 0. */
  readonly listening: ReadonlyArray<ListenAddress.ListenAddress>
  /** The IP addresses among them: with TLS or without, but not Unix sockets. */
  readonly addresses: ReadonlyArray<NetAddress.InetAddress>
  /**
   * Takes other options, for those who come from now on. Listeners that are wanted as before stay open. When one of the
   * others can't be had, everything stays as it was.
   */
  readonly reconfigure: (options: Options) => Effect.Effect<void, ListenError>
  /**
   * Asks authenticator and policy again about all who are being served, and ends those whom they would not let in any
   * more, or not to where they are. Tells how many those are.
   */
  readonly rejudge: Effect.Effect<number>
  /** How many clients were turned away: `maxConnections` were there, or no descriptor was left for one. */
  readonly refused: Effect.Effect<number>
  /**
   * Stops listening, lets running connections finish for `drainTimeout`, then
   * ends the rest. Closing the layer's scope does the same.
   */
  readonly drain: Effect.Effect<void>
}>()("sluice/server/SocksServer") {
  /**
   * Listens while the layer's scope is open. Every policy and every way out is a service that you may replace. Without
   * `Datagrams` there is no UDP ASSOCIATE; with `Upstreams`, it goes through them as CONNECT does, or is refused where
   * they take no datagrams, and there is no BIND. `UpstreamPools` takes the place of `Upstreams` where there are several.
   */
  static readonly layer = (options: Options): Layer.Layer<SocksServer | Sessions, ListenError, Services> =>
    Layer.effectContext(make(options))

  /**
   * What runs when you provide nothing else: nobody has to log in, clients from elsewhere are kept off internal
   * networks, names are resolved by DNS. Over a `Transport` of your own, which listens and dials.
   */
  static readonly defaultsWithoutTransport: Layer.Layer<Exclude<Services, Transport>, never, Transport> = Layer
    .mergeAll(
      Authenticator.layerOpen,
      InternalNetworks.layer(),
      DnsResolver.layer(),
      ConnectionLog.layer,
      Dialer.layer()
    )

  /** The same over Node's connections, and its datagrams. */
  static readonly defaults: Layer.Layer<Services | Datagrams> = Layer.provideMerge(
    this.defaultsWithoutTransport,
    Layer.merge(NodeTransport.layer(), NodeDatagrams.layer())
  )
}

const timeoutsOf = (options: Options): Timeouts => ({
  handshake: Duration.toMillis(options.handshakeTimeout ?? "10 seconds"),
  idle: Duration.toMillis(options.idleTimeout ?? "1 hour"),
  halfClose: Duration.toMillis(options.halfCloseTimeout ?? "1 minute"),
  linger: Duration.toMillis(linger)
})

const make = Effect.fnUntraced(function*(first: Options) {
  const transport = yield* Transport
  const deadlines = yield* Deadlines.make
  const registry = new Registry()
  const openFiles = yield* openFilesLimit
  const policy = yield* AccessPolicy
  const authenticator = yield* Authenticator
  const dialer = yield* Dialer
  const resolver = yield* Resolver
  const log = yield* ConnectionLog
  const datagrams = yield* Effect.serviceOption(Datagrams)
  const limits = Option.getOrUndefined(yield* Effect.serviceOption(LimitStore))
  const upstreams = Option.getOrUndefined(yield* Effect.serviceOption(Upstreams))
  const pools = Option.getOrElse(
    yield* Effect.serviceOption(UpstreamPools.UpstreamPools),
    () => UpstreamPools.make(new Map(), upstreams)
  )

  /** How clients are served who come from now on. */
  const configure = (options: Options) => {
    const isBalancer = Introduction.among(options.proxyProtocol ?? [])
    return {
      isBalancer,
      timeouts: timeoutsOf(options),
      drainTimeout: Duration.fromInputUnsafe(options.drainTimeout ?? "30 seconds"),
      maxConnections: options.maxConnections ?? connectionsWithin(openFiles),
      serve: Session.make({
        authenticator,
        policy,
        resolver,
        associate: Option.isNone(datagrams)
          ? Association.notServed
          : Association.make({ policy, resolver, dialer, pools, datagrams: datagrams.value }, options),
        bind: Bind.make({ policy, resolver, dialer, pools, transport }, options),
        dialer,
        pools,
        log,
        limits,
        introduction: Introduction.make(isBalancer),
        sniff: Sniffer.make(options.protocols ?? protocols),
        confirm: (session) => registry.confirm({ authenticator, policy }, session)
      })
    }
  }
  let current = configure(first)
  const fork = Effect.runForkWith(yield* Effect.context<never>())

  const admission = Admission.make({
    maxConnections: () => current.maxConnections,
    openFiles,
    running: () => registry.running.size,
    now: deadlines.now,
    warn: (message) => fork(Effect.logWarning(message))
  })
  const draining = Latch.makeUnsafe()
  const isBalancer: Introduction.IsBalancer = (remote, label) => current.isBalancer(remote, label)
  const listen: OpenOne = Effect.fnUntraced(function*(address, all) {
    const door = { name: ListenAddress.format(address), drained: draining.await, isDraining: () => draining.isOpen() }
    const accept: Accept = {
      admit: admission.admit,
      failed: admission.failed,
      accept: (connection) => {
        const { serve, timeouts } = current
        const session = new SessionState(registry.nextId(), connection, door, deadlines, timeouts)
        registry.add(session, fork(serve(session)))
      }
    }
    const listener = yield* listenOn(transport, address, all, accept, isBalancer)
    door.name = ListenAddress.format(listener.address)
    return listener
  })

  // Before the listeners, so that it runs after they have stopped, and before the timer stops.
  yield* Effect.addFinalizer(() => registry.stopAll("server stopped"))
  const listeners = new Listeners(yield* Effect.scope, listen)
  yield* listeners.replace(first.listen)

  const drain = Effect.fn("SocksServer.drain")(function*() {
    yield* listeners.stop
    yield* draining.open
    yield* Effect.timeoutOption(registry.awaitEmpty, current.drainTimeout)
    yield* registry.stopAll("server stopped")
  })()
  yield* Effect.addFinalizer(() => drain)

  return Context.make(SocksServer, {
    get listening() {
      return listeners.all.map((listener) => listener.address)
    },
    get addresses() {
      return listeners.all.flatMap((listener) => ListenAddress.inetOf(listener.address) ?? [])
    },
    refused: Effect.sync(admission.refused),
    reconfigure: Effect.fn("SocksServer.reconfigure")(function*(options: Options) {
      const before = current
      current = configure(options)
      yield* Effect.tapError(listeners.replace(options.listen), () => Effect.sync(() => void (current = before)))
    }),
    rejudge: registry.rejudge({ authenticator, policy }),
    drain
  }).pipe(Context.add(Sessions, registry.service))
})
