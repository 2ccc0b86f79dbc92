/** Addresses to a connection: Happy Eyeballs over all of them (RFC 8305). */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import type { Connection } from "./Connection.ts"
import * as Egress from "./Egress.ts"
import { DialError, timedOut, Transport } from "./Transport.ts"

export interface Options {
  /** Limit for one dial, over all its addresses. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input
  /** Head start of each address over the next one (RFC 8305 §5). Default: 250 ms. */
  readonly attemptDelay?: Duration.Input
  /**
   * What to go out from. A destination of a family that none of it has is not reachable then. Default: what the system's
   * routes choose.
   */
  readonly egress?: ReadonlyArray<Egress.Source> | undefined
  /** How one is chosen among several. Default: `rotate`. */
  readonly egressBy?: Egress.Choice | undefined
}

/** For whom something is dialled. */
export interface From extends Egress.From {
  /** What to go out from, in the place of what the options say. */
  readonly egress?: Egress.Egress | undefined
}

/** The connection that won, and the address that it goes to. */
export interface Dialed {
  readonly connection: Connection
  readonly address: NetAddress.InetAddress
}

type Addresses = Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>

/** RFC 8305 §4: families take turns, the first address's family first; within a family the order stays. */
export const interleave = (addresses: Addresses): Addresses => {
  const [head, ...rest] = addresses
  const preferred = NetAddress.familyOf(head)
  const same = rest.filter((address) => NetAddress.familyOf(address) === preferred)
  const other = rest.filter((address) => NetAddress.familyOf(address) !== preferred)
  return [head, ...other.flatMap((address, i) => [address, ...same.slice(i, i + 1)]), ...same.slice(other.length)]
}

/** Chooses among the addresses of one destination. `Transport` connects to each. */
export class Dialer extends Context.Service<Dialer, {
  /** Connects to the first address that answers; the scope closes the connection. */
  readonly dial: (
    addresses: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>,
    port: number,
    from?: From
  ) => Effect.Effect<Dialed, DialError, Scope.Scope>
  /**
   * What a dial would go out from; `undefined` where the system chooses. Datagrams, and what waits for somebody to
   * connect, leave from there too. Without this, the system chooses for those.
   */
  readonly sources?: (from?: From) => Egress.Sources | undefined
}>()("sluice/transport/Dialer") {
  static readonly layer = (options?: Options): Layer.Layer<Dialer, never, Transport> =>
    Layer.effect(this, Effect.map(Transport, (transport) => make(transport, options)))
}

export const make = (transport: Transport["Service"], options?: Options): Dialer["Service"] => {
  const egress = options?.egress ?? []
  const usual = egress.length === 0 ? undefined : Egress.make(egress, options?.egressBy)
  const choose = (from: From | undefined): Egress.Sources | undefined => (from?.egress ?? usual)?.choose(from)
  const connectTimeout = Duration.fromInputUnsafe(options?.connectTimeout ?? "10 seconds")
  const attemptDelay = Duration.fromInputUnsafe(options?.attemptDelay ?? "250 millis")

  const connect = (
    ip: NetAddress.IpAddress,
    port: number,
    sources: Egress.Sources | undefined,
    timeout?: Duration.Duration
  ): Effect.Effect<Dialed, DialError, Scope.Scope> => {
    const address = NetAddress.inetAddressUnsafe(ip, port)
    const source = sources && Egress.sourceFor(sources, ip)
    // Never from an address that was not chosen: who limits where it goes out from means it.
    return sources !== undefined && source === undefined
      ? Effect.fail(new DialError({ reason: "NetworkUnreachable", address, code: "EADDRNOTAVAIL" }))
      : Effect.map(transport.connect(address, timeout, source), (connection): Dialed => ({ connection, address }))
  }

  const race = Effect.fnUntraced(function*(addresses: Addresses, port: number, sources: Egress.Sources | undefined) {
    const parent = yield* Effect.scope
    const attempts: Array<Scope.Closeable> = []

    const attempt = Effect.fnUntraced(function*(ip: NetAddress.IpAddress) {
      const scope = yield* Scope.fork(parent)
      attempts.push(scope)
      const dialed = yield* Effect.onError(
        Scope.provide(connect(ip, port, sources), scope),
        () => Scope.close(scope, Exit.void)
      )
      return { dialed, scope }
    })

    const from = ([address, ...rest]: Addresses): ReturnType<typeof attempt> => {
      if (!Arr.isReadonlyArrayNonEmpty(rest)) return attempt(address)
      const failed = Latch.makeUnsafe()
      return Effect.race(
        Effect.tapError(attempt(address), () => failed.open),
        failed.await.pipe(Effect.timeoutOption(attemptDelay), Effect.andThen(Effect.suspend(() => from(rest))))
      )
    }

    const winner = yield* from(interleave(addresses))
    // An attempt that came in just behind the winner is not interrupted any more: its connection is closed here.
    yield* Effect.forEach(attempts, (scope) => scope === winner.scope ? Effect.void : Scope.close(scope, Exit.void))
    return winner.dialed
  })

  const dial = (addresses: Addresses, port: number, from?: From): Effect.Effect<Dialed, DialError, Scope.Scope> =>
    Effect.suspend(() => {
      const sources = choose(from)
      return addresses.length === 1
        // The usual case: the transport's own time limit is cheaper than a race against a timer.
        ? connect(addresses[0], port, sources, connectTimeout)
        : Effect.timeoutOrElse(race(addresses, port, sources), {
          duration: connectTimeout,
          orElse: () => Effect.fail(timedOut(NetAddress.inetAddressUnsafe(addresses[0], port)))
        })
    })

  return { dial, sources: choose }
}
