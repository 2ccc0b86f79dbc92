/** The proxy on a network in memory: no socket, and time passes only when the test says so. */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import { ConnectionLog, type ConnectionRecord } from "../../src/server/ConnectionLog.ts"
import { Sessions } from "../../src/server/Sessions.ts"
import { SessionState } from "../../src/server/SessionState.ts"
import { type Options, SocksServer } from "../../src/server/SocksServer.ts"
import type { Connection } from "../../src/transport/Connection.ts"
import * as Dialer from "../../src/transport/Dialer.ts"
import * as MemoryTransport from "../../src/transport/MemoryTransport.ts"
import { ResolveError, Resolver } from "../../src/transport/Resolver.ts"
import { Transport } from "../../src/transport/Transport.ts"

/** An end of a connection that the test holds: reads all that comes, and remembers how that ended. */
export class Peer {
  readonly connection: Connection
  private readonly parts: Array<Uint8Array> = []
  /** How its incoming stream ended; `left` when this end was closed before. */
  outcome: "open" | "end" | "reset" | "left" = "open"
  /** Whether this end was closed or reset, so that the test holds it no more. */
  gone = false
  private readonly news = Latch.makeUnsafe()

  constructor(connection: Connection) {
    this.connection = connection
  }

  get received(): Buffer {
    return Buffer.concat(this.parts)
  }

  /** Reads to the end, after `pause` each time. */
  read(pause: Effect.Effect<void> = Effect.void): Effect.Effect<void> {
    return Effect.andThen(pause, this.connection.pull).pipe(
      // A copy: the view is good until the next pull.
      Effect.map(([bytes]) => {
        this.parts.push(new Uint8Array(bytes))
        this.news.openUnsafe()
      }),
      Effect.forever({ disableYield: true }),
      Effect.catchTags({
        Done: () => Effect.sync(() => this.outcome = "end"),
        ConnectionError: ({ reason }) => Effect.sync(() => this.outcome = reason === "Reset" ? "reset" : "left")
      }),
      Effect.andThen(this.news.open),
      Effect.asVoid
    )
  }

  /** Waits until what came is enough, or no more will come. */
  until(enough: (received: Buffer) => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.outcome !== "open" || enough(this.received)) return Effect.void
      this.news.closeUnsafe()
      return Effect.andThen(this.news.await, this.until(enough))
    })
  }

  /** Fails the test when the connection is gone. */
  send(...parts: ReadonlyArray<Uint8Array | string>): Effect.Effect<void> {
    return Effect.orDie(this.connection.write(Buffer.concat(parts.map((part) => Buffer.from(part)))))
  }

  readonly end = Effect.suspend(() => this.connection.end)
  readonly close = Effect.suspend(() => {
    this.gone = true
    return this.connection.close
  })
  readonly reset = Effect.suspend(() => {
    this.gone = true
    return this.connection.reset
  })
}

/** Lets everything run that can, without time passing. */
export const settle = Effect.repeat(Effect.yieldNow, { times: 50 })

/** Time passes, and everything that it sets off has run. */
export const pass = (milliseconds: number) =>
  Effect.andThen(Effect.andThen(settle, TestClock.adjust(milliseconds)), settle)

/** Every session that there is, with its deadline: what the server keeps to itself. */
const watchDeadlines = Effect.acquireRelease(
  Effect.sync(() => {
    const { enter } = SessionState.prototype
    const seen = new Set<SessionState>()
    SessionState.prototype.enter = function(this: SessionState, phase) {
      seen.add(this)
      enter.call(this, phase)
    }
    return { seen, enter }
  }),
  ({ enter }) =>
    Effect.sync(() => {
      SessionState.prototype.enter = enter
    })
)

export interface Services {
  readonly resolve?: Resolver["Service"]["resolve"]
  readonly policy?: AccessPolicy["Service"]
  readonly authenticator?: Authenticator["Service"]
  readonly dialer?: Dialer.Options
}

export interface MemoryProxyOptions extends Partial<Omit<Options, "listen">> {
  readonly network?: MemoryTransport.Options
  readonly services?: Services
  /** Hears of every record too. */
  readonly onEnded?: (record: ConnectionRecord) => void
}

const everything: AccessPolicy["Service"] = {
  authorize: () => AccessPolicy.permit,
  authorizeAddress: () => AccessPolicy.permit
}

const nothing: Resolver["Service"]["resolve"] = (name) =>
  Effect.fail(new ResolveError({ reason: "NotFound", name, code: "ENOTFOUND" }))

export const resolvesTo =
  (...addresses: ReadonlyArray<string>): Resolver["Service"]["resolve"] => (name: Host.DomainName) => {
    const ips = addresses.map(NetAddress.ipFromStringUnsafe)
    return Arr.isReadonlyArrayNonEmpty(ips) ? Effect.succeed(ips) : nothing(name)
  }

export const proxyAddress = NetAddress.inetAddressFromStringUnsafe("127.0.0.1:1080")

/** Starts one, until `shutdown` or the end of the test's scope. */
export const memoryProxy = Effect.fnUntraced(function*(options: MemoryProxyOptions = {}) {
  const { network, onEnded, services = {}, ...rest } = options
  const memory = MemoryTransport.make(network)
  const records: Array<ConnectionRecord> = []
  const peers = new Set<Peer>()
  const watched = yield* watchDeadlines
  const log: ConnectionLog["Service"] = {
    ended: (record) =>
      Effect.sync(() => {
        records.push(record)
        onEnded?.(record)
      })
  }
  const layer = SocksServer.layer({ maxConnections: 1000, ...rest, listen: [proxyAddress] }).pipe(
    Layer.provide(Layer.mergeAll(
      services.authenticator === undefined
        ? Authenticator.layerOpen
        : Layer.succeed(Authenticator, services.authenticator),
      Layer.succeed(AccessPolicy, services.policy ?? everything),
      Layer.succeed(Resolver, { resolve: services.resolve ?? nothing }),
      Layer.succeed(ConnectionLog, log),
      Dialer.Dialer.layer(services.dialer)
    )),
    Layer.provide(Layer.succeed(Transport, memory.transport))
  )
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const context = yield* Layer.buildWithScope(layer, scope)

  /** The test's end of a connection, closed with the test. */
  const hold = Effect.fnUntraced(function*(connection: Connection, pause?: Effect.Effect<void>) {
    const peer = new Peer(connection)
    peers.add(peer)
    yield* Effect.addFinalizer(() => peer.close)
    yield* Effect.forkScoped(peer.read(pause), { startImmediately: true })
    return peer
  })

  return {
    memory,
    records,
    server: Context.get(context, SocksServer),
    sessions: Context.get(context, Sessions),
    hold,
    /** A client of the proxy. */
    connect: Effect.flatMap(memory.transport.connect(proxyAddress), (connection) => hold(connection)),
    /** A target, whose connections appear in the array that it gives; they read after `pause` each time. */
    listen: Effect.fnUntraced(function*(address: string, pause?: Effect.Effect<void>) {
      const accepted: Array<Peer> = []
      const fork = Effect.runForkWith(yield* Effect.context<Scope.Scope>())
      yield* memory.transport.listen(NetAddress.inetAddressFromStringUnsafe(address), {
        admit: () => true,
        failed: () => {},
        accept: (connection) => fork(Effect.map(hold(connection, pause), (peer) => accepted.push(peer)))
      })
      return accepted
    }),
    /** Closes the server's layer. */
    shutdown: Scope.close(scope, Exit.void),
    /** Ends of connections that are open and not the test's. */
    owned: () => memory.open() - [...peers].filter((peer) => !peer.gone).length,
    /** Sessions that still have a deadline. */
    deadlines: () => [...watched.seen].filter((session) => session.place !== -1).length
  }
})

export type MemoryProxy = Effect.Success<ReturnType<typeof memoryProxy>>
