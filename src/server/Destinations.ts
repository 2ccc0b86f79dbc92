/**
 * Where the datagrams of one client go: each destination is decided once, and then known. All of it is bounded, however
 * many destinations a client thinks of.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import * as Result from "effect/Result"
import * as Address from "../protocol/Address.ts"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import type { Dropped } from "./DatagramCounts.ts"
import type { NoWay, Way } from "./Outside.ts"

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

export type Decide = (destination: Host.HostPort) => Effect.Effect<Way, NoWay>

/** Told of every datagram. */
export interface Observer {
  sent(bytes: number): void
  dropped(why: Dropped, count?: number): void
  /** A destination is denied, by this rule. */
  denied(rule: string): void
}

/** One destination. While it has neither a way nor a refusal, the decision is awaited. */
class Destination {
  readonly wanted: Host.HostPort
  usedAt = 0
  way: Way | undefined = undefined
  refusal: Dropped | undefined = undefined
  /** When the refusal is over. */
  until = Infinity
  waiting: ReadonlyArray<Uint8Array> = []

  constructor(wanted: Host.HostPort) {
    this.wanted = wanted
  }
}

const reasons = {
  AccessDenied: "denied",
  ResolveError: "unresolved",
  ListenError: "unsendable",
  UpstreamError: "unsendable",
  ProtocolError: "unsendable"
} as const

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
    const { refusal, way } = destination
    if (way !== undefined) this.sendBy(way, payload, now)
    else if (refusal !== undefined) this.observer.dropped(refusal)
    else this.wait(destination, payload)
  }

  /** Forgets those that were not used for long. Returns whether all that are left are decided. */
  sweep(now: number): boolean {
    for (const [key, destination] of this.known) {
      const { refusal, way } = destination
      const over = refusal === undefined
        ? way !== undefined && now - Math.max(destination.usedAt, way.usedAt) >= idle
        : destination.until <= now
      if (over) this.forget(key, destination)
    }
    return this.undecided === 0
  }

  /** Judges again where datagrams go already: they go on until somewhere they may not any more. */
  rejudge(): void {
    for (const [key, destination] of this.known) {
      if (destination.refusal !== undefined) this.forget(key, destination)
      if (destination.way === undefined) continue
      this.run(Effect.matchCauseEffect(this.decide(destination.wanted), {
        onSuccess: (again) => Effect.sync(() => again.release()),
        onFailure: () =>
          Effect.sync(() => {
            if (this.known.get(key) === destination) this.forget(key, destination)
          })
      }))
    }
  }

  private find(key: string, datagram: Uint8Array, now: number): Destination | undefined {
    const known = this.known.get(key)
    if (known !== undefined && now < known.until) return known
    const wanted = destinationOf(datagram)
    if (wanted === undefined) return void this.observer.dropped("malformed")
    if (this.undecided >= maxUndecided) return void this.observer.dropped("congested")
    if (known === undefined && this.known.size >= maxKnown) this.evict()
    const destination = new Destination(wanted)
    this.known.set(key, destination)
    this.undecided++
    this.run(Effect.matchCauseEffect(this.decide(wanted), {
      onSuccess: (way) => Effect.sync(() => this.open(destination, way)),
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

  private open(destination: Destination, way: Way): void {
    const now = this.now()
    destination.way = way
    for (const payload of this.settle(destination)) this.sendBy(way, payload, now)
  }

  private refuse(destination: Destination, cause: Cause.Cause<Effect.Error<ReturnType<Decide>>>): Effect.Effect<void> {
    const found = Cause.findError(cause)
    const refusal = destination.refusal = Result.isSuccess(found) ? reasons[found.success._tag] : "unsendable"
    destination.until = this.now() + refusedFor
    const waiting = this.settle(destination)
    if (waiting.length > 0) this.observer.dropped(refusal, waiting.length)
    if (Result.isSuccess(found) && found.success._tag === "AccessDenied") this.observer.denied(found.success.rule)
    if (Result.isSuccess(found) || Cause.hasInterruptsOnly(cause) || this.broken) return Effect.void
    // Once: whoever can make a service die by a datagram has many of them.
    this.broken = true
    return Effect.logError("choosing a destination died", cause)
  }

  private sendBy(way: Way, payload: Uint8Array, now: number): void {
    if (way.send(payload, now)) this.observer.sent(payload.length)
    else this.observer.dropped("congested")
  }

  private forget(key: string, { way }: Destination): void {
    this.known.delete(key)
    way?.release()
  }

  /** Looks at all of them, which is cheap beside deciding about the one that comes in their place. */
  private evict(): void {
    let oldest: readonly [key: string, destination: Destination] | undefined
    for (const entry of this.known) {
      const [, { refusal, usedAt, way }] = entry
      const decided = way !== undefined || refusal !== undefined
      if (decided && usedAt < (oldest?.[1].usedAt ?? Infinity)) oldest = entry
    }
    if (oldest !== undefined) this.forget(...oldest)
  }
}
