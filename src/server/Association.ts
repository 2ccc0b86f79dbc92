/**
 * UDP ASSOCIATE (RFC 1928 §7): datagrams between a client and anywhere, for as long as its TCP connection lasts.
 *
 * The client has a socket of its own, on the address that it reached the proxy at; what goes out takes another one for
 * each address family, opened when first needed. Nothing is queued but what waits for a decision about its destination.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { AccessPolicy } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import { ProtocolError, UnknownCommand } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { Datagrams, DatagramSocket, Receiver } from "../transport/Datagrams.ts"
import * as PortRange from "../transport/PortRange.ts"
import type { Resolver } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import { DatagramCounter, type Dropped } from "./DatagramCounts.ts"
import { type Chosen, Destinations, type Observer } from "./Destinations.ts"
import type { Dialect } from "./Dialect.ts"
import { Fragments } from "./Fragments.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"

export interface Services {
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly datagrams: Datagrams["Service"]
}

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
) => Effect.Effect<void, ProtocolError | ListenError | ConnectionError, Scope.Scope>

/** Where there are no UDP sockets: 07. */
export const notServed: Associate = () => {
  const reason = new UnknownCommand({ command: Request.udpAssociate })
  return Effect.fail(new ProtocolError({ frame: Request.codec.name, reason }))
}

/** How often what was not used for long is looked for. */
const sweepInterval = Duration.seconds(15)

export const make = (services: Services, options: Options): Associate => {
  const bindWithin = PortRange.make(options.udpPorts)

  return Effect.fnUntraced(function*(session, dialect) {
    const { local } = session.client
    // It is gone already, or did not come by IP: there is no address for it to send to, or from.
    if (local === undefined || session.remote === undefined) return yield* notServed(session, dialect)
    const { address } = NetAddress.toCanonical(local)
    const clock = yield* Clock.Clock
    const association = new Association(
      services,
      session,
      { scope: yield* Effect.scope, run: yield* FiberSet.makeRuntime(), now: () => clock.currentTimeMillisUnsafe() },
      options.udpFragments === true ? new Fragments() : undefined
    )
    const inside = yield* bindWithin((port) =>
      services.datagrams.bind(NetAddress.inetAddressUnsafe(address, port), association.inside)
    )
    association.client = inside
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
      Effect.catchTag("Done", () => Effect.void)
    )
    session.reason ??= "done"
  })
}

/** Where the header of a datagram ends; 0 when there is none (RFC 1928 §7). Whether it makes sense is not asked here. */
const headerEnd = (bytes: Uint8Array): number => {
  const [first = 1, second = 1, , type = 0, length = 0] = bytes
  const end = type === Address.AddressType.Ipv4
    ? 10
    : type === Address.AddressType.Ipv6
    ? 22
    : type === Address.AddressType.Domain
    ? 7 + length
    : 0
  return first === 0 && second === 0 && end <= bytes.length ? end : 0
}

/** All that a header says but FRAG, as text: a Map finds no bytes. */
const keyOf = (bytes: Uint8Array, end: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + 3, end - 3).toString("latin1")

interface Context {
  /** Closes the sockets of the outside. */
  readonly scope: Scope.Scope
  readonly run: (effect: Effect.Effect<void>) => unknown
  /** Milliseconds. */
  readonly now: () => number
}

interface Outside {
  readonly socket: DatagramSocket
  readonly scope: Scope.Closeable
}

class Association implements Observer {
  readonly counter = new DatagramCounter()
  /** The socket for the client; nothing arrives from the outside before something did here. */
  client: DatagramSocket | undefined = undefined
  private readonly services: Services
  private readonly session: SessionState
  private readonly context: Context
  private readonly fragments: Fragments | undefined
  private readonly destinations: Destinations
  /** Where the client's datagrams come from, which is where its answers go; the port is 0 until the first one. */
  private host: string
  private port = 0
  private readonly outsides = new Map<NetAddress.IpFamily, Outside>()
  private readonly opening = Semaphore.makeUnsafe(1)

  constructor(services: Services, session: SessionState, context: Context, fragments: Fragments | undefined) {
    this.services = services
    this.session = session
    this.context = context
    this.fragments = fragments
    this.destinations = new Destinations((destination) => this.decide(destination), context.run, context.now, this)
    this.host = session.remote === undefined ? "" : NetAddress.formatIp(NetAddress.toCanonical(session.remote).address)
  }

  readonly inside: Receiver = {
    received: (bytes, host, port) => this.fromClient(bytes, host, port),
    failed: () => this.dropped("unsendable")
  }

  private readonly outside: Receiver = {
    received: (bytes, host, port) => this.fromOutside(bytes, host, port),
    failed: () => this.dropped("unsendable")
  }

  sent(bytes: number): void {
    this.counter.up++
    this.session.moved("up", bytes)
    this.session.delivered()
  }

  dropped(why: Dropped, count = 1): void {
    this.counter.drop(why, count)
  }

  private fromClient(bytes: Uint8Array, host: string, port: number): void {
    if (!this.isClient(host, port)) return this.dropped("foreign")
    const end = headerEnd(bytes)
    if (end === 0) return this.dropped("malformed")
    this.host = host
    this.port = port
    const now = this.context.now()
    const key = keyOf(bytes, end)
    const payload = bytes.subarray(end)
    const fragment = bytes[2] ?? 0
    if (fragment === 0 && this.fragments?.waiting !== true) return this.destinations.send(key, bytes, payload, now)
    if (this.fragments === undefined) return this.dropped("fragment")
    const { dropped, whole } = this.fragments.add(fragment, key, payload, now)
    if (dropped > 0) this.dropped("fragment", dropped)
    if (whole !== undefined) this.destinations.send(key, bytes, whole, now)
  }

  /** Once a datagram has come, the client is who has sent it; until then, whoever is at its IP address. */
  private isClient(host: string, port: number): boolean {
    if (this.port !== 0) return port === this.port && host === this.host
    return port !== 0 && (host === this.host || host.split("%")[0] === this.host)
  }

  private fromOutside(bytes: Uint8Array, host: string, port: number): void {
    const source = this.destinations.sourceOf(host)
    if (source === undefined) return this.dropped("unsolicited")
    if (port !== source.port) {
      // A copy: the old one may wait in a queue.
      const header = source.header = source.header.slice()
      header[header.length - 2] = port >> 8
      header[header.length - 1] = port & 0xff
      source.port = port
    }
    source.usedAt = this.context.now()
    if (this.client?.send([source.header, bytes], this.host, this.port) !== true) return this.dropped("congested")
    this.counter.down++
    this.session.moved("down", bytes.length)
    this.session.delivered()
  }

  /** The policy judges the request as sent, and then each address; of several, IPv4 works in more places. */
  private decide(destination: Host.HostPort): ReturnType<Destinations["decide"]> {
    const request = { client: this.session.remote, user: this.session.user, destination }
    return Effect.flatMap(Route.find(this.services, request), (addresses) => {
      const address = addresses.find(NetAddress.isIpv4Address) ?? addresses[0]
      return Effect.map(this.open(NetAddress.familyOf(address)), (socket): Chosen => ({ address, socket }))
    })
  }

  private open(family: NetAddress.IpFamily): Effect.Effect<DatagramSocket, ListenError> {
    const bind = Effect.fnUntraced({ self: this }, function*(this: Association) {
      const scope = yield* Scope.fork(this.context.scope)
      const any = family === "IPv4" ? NetAddress.ipv4Unspecified : NetAddress.ipv6Unspecified
      const socket = yield* this.services.datagrams.bind(NetAddress.inetAddressUnsafe(any, 0), this.outside).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      this.outsides.set(family, { scope, socket })
      return socket
    })
    return this.opening.withPermit(Effect.suspend(() => {
      const open = this.outsides.get(family)
      return open === undefined ? bind() : Effect.succeed(open.socket)
    }))
  }

  /** Forgets what was not used for long, and closes the sockets that nothing uses any more. */
  readonly sweep: Effect.Effect<void> = Effect.suspend(() => {
    const now = this.context.now()
    const expired = this.fragments?.expire(now) ?? 0
    if (expired > 0) this.dropped("fragment", expired)
    const used = this.destinations.sweep(now)
    if (used === undefined) return Effect.void
    return Effect.forEach([...this.outsides], ([family, { scope, socket }]) => {
      if (used.has(socket)) return Effect.void
      this.outsides.delete(family)
      return Scope.close(scope, Exit.void)
    }, { discard: true })
  })
}
