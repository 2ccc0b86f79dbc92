/**
 * Where the datagrams of one client go: each destination is decided once, and then known. All of it is bounded, however
 * many destinations a client thinks of.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { AccessDenied } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import type { DatagramSocket } from "../transport/Datagrams.ts"
import type { ResolveError } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import type { Dropped } from "./DatagramCounts.ts"

/** Milliseconds without a datagram in either direction after which a destination is forgotten. */
export const idle = 60_000

/** Milliseconds after which a destination that was refused may be asked for again. */
export const refusedFor = 5_000

/** Destinations known at once; a further one takes the place of the one that was used longest ago. */
export const maxKnown = 1024

/** Destinations about which a decision is awaited at once. */
export const maxUndecided = 64

/** Datagrams that wait for the decision about one destination, and their bytes for all destinations together. */
const maxWaiting = 16
const maxWaitingBytes = 256 * 1024

/** Where to send, and from which socket. */
export interface Chosen {
  readonly address: NetAddress.IpAddress
  readonly socket: DatagramSocket
}

export type Decide = (
  destination: Host.HostPort
) => Effect.Effect<Chosen, AccessDenied | ResolveError | ListenError>

/** Told of every datagram. */
export interface Observer {
  sent(bytes: number): void
  dropped(why: Dropped, count?: number): void
}

/** An address that the client sends to: from there it may be answered, from any port. */
export interface Source {
  /** The header of what came from there last, and its port. */
  header: Uint8Array
  port: number
  /** When the last datagram went there, or came from there. */
  usedAt: number
  /** How many destinations have this address. */
  destinations: number
}

interface Route {
  readonly socket: DatagramSocket
  readonly host: string
  readonly port: number
  readonly source: Source
}

/** One destination. While it has neither a route nor a refusal, the decision is awaited. */
class Destination {
  usedAt = 0
  route: Route | undefined = undefined
  refusal: Dropped | undefined = undefined
  /** When the refusal is over. */
  until = Infinity
  waiting: ReadonlyArray<Uint8Array> = []
}

const reasons = { AccessDenied: "denied", ResolveError: "unresolved", ListenError: "unsendable" } as const

/** What a header names; `undefined` when that is nothing to send to. */
const destinationOf = (datagram: Uint8Array): Host.HostPort | undefined => {
  const decoded = UdpHeader.codec.decode(datagram)
  if (decoded._tag !== "Done" || decoded.value.address.port === 0) return undefined
  return Result.getOrUndefined(Address.toHostPort(decoded.value.address))
}

export class Destinations {
  private readonly decide: Decide
  private readonly run: (effect: Effect.Effect<void>) => unknown
  private readonly now: () => number
  private readonly observer: Observer
  private readonly known = new Map<string, Destination>()
  private readonly sources = new Map<string, Source>()
  private undecided = 0
  private waitingBytes = 0
  private broken = false

  /** `run` starts the effects that decide, and ends them with the association; `now` is in milliseconds. */
  constructor(
    decide: Decide,
    run: (effect: Effect.Effect<void>) => unknown,
    now: () => number,
    observer: Observer
  ) {
    this.decide = decide
    this.run = run
    this.now = now
    this.observer = observer
  }

  /** How many are known. */
  get size(): number {
    return this.known.size
  }

  /**
   * Sends a payload on, or drops it. `key` stands for the header of `datagram` from its ATYP on: one that was parsed
   * before needs neither parsing nor judging again, and the usual datagram costs a lookup in a Map and no fiber.
   */
  send(key: string, datagram: Uint8Array, payload: Uint8Array, now: number): void {
    const destination = this.find(key, datagram, now)
    if (destination === undefined) return
    destination.usedAt = now
    const { refusal, route } = destination
    if (route !== undefined) this.sendTo(route, payload, now)
    else if (refusal !== undefined) this.observer.dropped(refusal)
    else this.wait(destination, payload)
  }

  /** Who may answer from an IP address, if anybody may. */
  sourceOf(host: string): Source | undefined {
    return this.sources.get(host)
  }

  /** Forgets those that were not used for long. Returns the sockets in use; `undefined` when that is still open. */
  sweep(now: number): ReadonlySet<DatagramSocket> | undefined {
    const used = new Set<DatagramSocket>()
    for (const [key, destination] of this.known) {
      const { refusal, route } = destination
      const over = refusal === undefined
        ? route !== undefined && now - Math.max(destination.usedAt, route.source.usedAt) >= idle
        : destination.until <= now
      if (over) this.forget(key, destination)
      else if (route !== undefined) used.add(route.socket)
    }
    return this.undecided === 0 ? used : undefined
  }

  private find(key: string, datagram: Uint8Array, now: number): Destination | undefined {
    const known = this.known.get(key)
    if (known !== undefined && now < known.until) return known
    const wanted = destinationOf(datagram)
    if (wanted === undefined) return void this.observer.dropped("malformed")
    if (this.undecided >= maxUndecided) return void this.observer.dropped("congested")
    if (known === undefined && this.known.size >= maxKnown) this.evict()
    const destination = new Destination()
    this.known.set(key, destination)
    this.undecided++
    this.run(Effect.matchCauseEffect(this.decide(wanted), {
      onSuccess: (chosen) => Effect.sync(() => this.open(destination, chosen, wanted.port)),
      onFailure: (cause) => this.refuse(destination, cause)
    }))
    return destination
  }

  private wait(destination: Destination, payload: Uint8Array): void {
    if (destination.waiting.length >= maxWaiting || this.waitingBytes + payload.length > maxWaitingBytes) {
      return this.observer.dropped("congested")
    }
    destination.waiting = [...destination.waiting, payload]
    this.waitingBytes += payload.length
  }

  /** The decision is there: nobody waits any more. */
  private settle(destination: Destination): ReadonlyArray<Uint8Array> {
    const { waiting } = destination
    destination.waiting = []
    this.undecided--
    for (const payload of waiting) this.waitingBytes -= payload.length
    return waiting
  }

  private open(destination: Destination, { address, socket }: Chosen, port: number): void {
    const now = this.now()
    const host = NetAddress.formatIp(address)
    const source = this.sources.get(host) ?? {
      header: UdpHeader.codec.encode({
        fragment: 0,
        address: Address.fromInetAddress(NetAddress.inetAddressUnsafe(address, port))
      }),
      port,
      usedAt: now,
      destinations: 0
    }
    source.destinations++
    this.sources.set(host, source)
    const route = destination.route = { socket, host, port, source }
    for (const payload of this.settle(destination)) this.sendTo(route, payload, now)
  }

  private refuse(destination: Destination, cause: Cause.Cause<Effect.Error<ReturnType<Decide>>>): Effect.Effect<void> {
    const found = Cause.findError(cause)
    const refusal = destination.refusal = Result.isSuccess(found) ? reasons[found.success._tag] : "unsendable"
    destination.until = this.now() + refusedFor
    const waiting = this.settle(destination)
    if (waiting.length > 0) this.observer.dropped(refusal, waiting.length)
    if (Result.isSuccess(found) || Cause.hasInterruptsOnly(cause) || this.broken) return Effect.void
    // Once: whoever can make a service die by a datagram has many of them.
    this.broken = true
    return Effect.logError("choosing a destination died", cause)
  }

  private sendTo(route: Route, payload: Uint8Array, now: number): void {
    route.source.usedAt = now
    if (route.socket.send([payload], route.host, route.port)) this.observer.sent(payload.length)
    else this.observer.dropped("congested")
  }

  private forget(key: string, { route }: Destination): void {
    this.known.delete(key)
    if (route === undefined || --route.source.destinations > 0) return
    this.sources.delete(route.host)
  }

  /** Looks at all of them, which is cheap beside deciding about the one that comes in their place. */
  private evict(): void {
    let oldest: readonly [key: string, destination: Destination] | undefined
    for (const entry of this.known) {
      const [, { refusal, route, usedAt }] = entry
      const decided = route !== undefined || refusal !== undefined
      if (decided && usedAt < (oldest?.[1].usedAt ?? Infinity)) oldest = entry
    }
    if (oldest !== undefined) this.forget(...oldest)
  }
}
