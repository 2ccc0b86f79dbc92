/**
 * UDP ASSOCIATE (RFC 1928 §7): datagrams between a client and anywhere, for as long as its TCP connection lasts.
 *
 * The client has a socket of its own, on the address that it reached the proxy at; how datagrams go on from here is the
 * outside's matter. Nothing is queued but what waits for a decision about its destination.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type { UpstreamError } from "../client/Upstreams.ts"
import * as Address from "../protocol/Address.ts"
import type { ProtocolError } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { DatagramSocket, Receiver } from "../transport/Datagrams.ts"
import * as PortRange from "../transport/PortRange.ts"
import type { ListenError } from "../transport/Transport.ts"
import { DatagramCounter, type Dropped } from "./DatagramCounts.ts"
import { headerEnd, keyOf } from "./DatagramHeader.ts"
import { Destinations, type Observer } from "./Destinations.ts"
import type { Dialect } from "./Dialect.ts"
import { Fragments } from "./Fragments.ts"
import type { Inside } from "./Outside.ts"
import { Outsides, type Services } from "./Outsides.ts"
import type { SessionState } from "./SessionState.ts"
import { admits } from "./Shaper.ts"

export interface Options {
  /** What clients of its family are told to send to. Default: the address that each of them has connected to. */
  readonly udpAdvertise?: NetAddress.IpAddress | undefined
  /** Ports for clients to send to. Default: any. */
  readonly udpPorts?: PortRange.PortRange | undefined
  /** Whether fragments are joined. Default: they are dropped. */
  readonly udpFragments?: boolean | undefined
}

/** Serves an association until the client's TCP connection ends. */
export type Associate = (
  session: SessionState,
  dialect: Dialect
) => Effect.Effect<void, ProtocolError | ListenError | UpstreamError | ConnectionError, Scope.Scope>

/** Where there are no UDP sockets, or no upstream that takes datagrams: 07. */
export const notServed: Associate = () => Effect.fail(Request.notServed(Request.udpAssociate))

/** How often what was not used for long is looked for. */
const sweepInterval = Duration.seconds(15)

export const make = (services: Services, options: Options): Associate => {
  const bindWithin = PortRange.make(options.udpPorts)

  return Effect.fnUntraced(function*(session, dialect) {
    const { local } = session.client
    // It is gone already, or did not come by IP: there is no address for it to send to, or from.
    if (local === undefined || session.remote === undefined) return yield* notServed(session, dialect)
    const { address } = NetAddress.toCanonical(local)
    // Nor for one that a load balancer names, and that is of the other family than the address it would send to.
    const from = NetAddress.toCanonical(session.remote)
    if (NetAddress.familyOf(from) !== NetAddress.familyOf(address)) return yield* notServed(session, dialect)
    const clock = yield* Clock.Clock
    const association = new Association(
      session,
      { run: yield* FiberSet.makeRuntime(), now: () => clock.currentTimeMillisUnsafe() },
      options.udpFragments === true ? new Fragments() : undefined
    )
    const outsides = association.outsides = new Outsides(services, session, yield* Effect.scope, association)
    const outside = yield* outsides.usual
    const inside = yield* bindWithin((port) =>
      services.datagrams.bind(NetAddress.inetAddressUnsafe(address, port), association.inside)
    )
    association.client = inside
    session.rejudged = () => association.rejudge()
    session.datagrams = association.counter
    session.reply = Reply.succeeded
    const advertised = options.udpAdvertise
    const told = advertised !== undefined && NetAddress.familyOf(advertised) === NetAddress.familyOf(address)
      ? advertised
      : address
    yield* session.client.write(
      dialect.granted(Address.fromInetAddress(NetAddress.inetAddressUnsafe(told, inside.local.port)))
    )
    session.enter("relay")
    // Nothing is to come but the end, and what does come is passed over.
    yield* Effect.forever(session.client.pull).pipe(
      Effect.raceFirst(Effect.forever(Effect.delay(association.sweep, sweepInterval))),
      Effect.raceFirst(Effect.map(outside.ended, () => void (session.reason ??= "upstream ended the association"))),
      Effect.catchTag("Done", () => Effect.void)
    )
    session.reason ??= "done"
  })
}

interface Context {
  readonly run: (effect: Effect.Effect<void>) => unknown
  /** Milliseconds. */
  readonly now: () => number
}

class Association implements Observer, Inside {
  readonly counter = new DatagramCounter()
  /** The socket for the client; nothing arrives from the outside before something did here. */
  client: DatagramSocket | undefined = undefined
  outsides: Outsides | undefined = undefined
  readonly now: () => number
  private readonly session: SessionState
  private readonly fragments: Fragments | undefined
  private readonly destinations: Destinations
  /** Where the client's datagrams come from, which is where its answers go; the port is 0 until the first one. */
  private host: string
  private port = 0

  constructor(session: SessionState, { now, run }: Context, fragments: Fragments | undefined) {
    this.session = session
    this.now = now
    this.fragments = fragments
    this.destinations = new Destinations(
      // Nothing comes from the client before it is told where to send to, and by then there is an outside.
      (destination) => this.outsides?.choose(session.request(destination)) ?? Effect.never,
      run,
      now,
      this
    )
    this.host = session.remote === undefined ? "" : NetAddress.formatIp(NetAddress.toCanonical(session.remote).address)
  }

  readonly inside: Receiver = {
    received: (bytes, host, port) => this.fromClient(bytes, host, port),
    failed: () => this.dropped("unsendable")
  }

  readonly answered: Inside["answered"] = (parts, payload) => this.toClient(parts, payload)

  sent(bytes: number): void {
    this.counter.up++
    this.session.moved("up", bytes)
    this.session.delivered()
  }

  dropped(why: Dropped, count = 1): void {
    this.counter.drop(why, count)
  }

  denied(rule: string): void {
    this.session.deniedBy = rule
  }

  private fromClient(bytes: Uint8Array, host: string, port: number): void {
    if (!this.isClient(host, port)) return this.dropped("foreign")
    const end = headerEnd(bytes)
    if (end === 0) return this.dropped("malformed")
    this.host = host
    this.port = port
    const now = this.now()
    const key = keyOf(bytes, end)
    const payload = bytes.subarray(end)
    const fragment = bytes[2] ?? 0
    if (fragment === 0 && this.fragments?.waiting !== true) return this.send(key, bytes, payload, now)
    if (this.fragments === undefined) return this.dropped("fragment")
    const { dropped, whole } = this.fragments.add(fragment, key, payload, now)
    if (dropped > 0) this.dropped("fragment", dropped)
    if (whole !== undefined) this.send(key, bytes, whole, now)
  }

  private send(key: string, datagram: Uint8Array, payload: Uint8Array, now: number): void {
    if (!admits(this.session.lease, "up", payload.length)) return this.dropped("limited")
    this.destinations.send(key, datagram, payload, now)
  }

  /** Once a datagram has come, the client is who has sent it; until then, whoever is at its IP address. */
  private isClient(host: string, port: number): boolean {
    if (this.port !== 0) return port === this.port && host === this.host
    return port !== 0 && (host === this.host || host.split("%")[0] === this.host)
  }

  private toClient(parts: ReadonlyArray<Uint8Array>, payload: number): void {
    if (this.port === 0) return this.dropped("unsolicited")
    if (!admits(this.session.lease, "down", payload)) return this.dropped("limited")
    if (this.client?.send(parts, this.host, this.port) !== true) return this.dropped("congested")
    this.counter.down++
    this.session.moved("down", payload)
    this.session.delivered()
  }

  /** Its destinations are judged anew. */
  rejudge(): void {
    this.destinations.rejudge()
  }

  /** Forgets what was not used for long, and closes what nothing uses any more. */
  readonly sweep: Effect.Effect<void> = Effect.suspend(() => {
    const now = this.now()
    const expired = this.fragments?.expire(now) ?? 0
    if (expired > 0) this.dropped("fragment", expired)
    return this.destinations.sweep(now) ? this.outsides?.sweep ?? Effect.void : Effect.void
  })
}
