/** What will happen in one schedule, as far as it can be said beforehand. */
import * as NetAddress from "effect/net/NetAddress"
import type { ResolveError } from "../../src/transport/Resolver.ts"
import type { DialError } from "../../src/transport/Transport.ts"
import type { Dice } from "./Dice.ts"
import { type Handshake, planHandshake } from "./HandshakePlan.ts"

/** What one end of a relay does, all times in milliseconds. */
export interface SidePlan {
  readonly payload: Uint8Array
  readonly pieces: ReadonlyArray<{ readonly after: number; readonly bytes: Uint8Array }>
  /** What it does when all is sent. With `wait` it leaves the first step to the other. */
  readonly finish: "end" | "close" | "reset" | "wait"
  /** How long it waits before it reads at all, and at most before each read. */
  readonly reading: { readonly first: number; readonly each: number }
  /** At some moment it leaves, whatever it was doing. */
  readonly quit: { readonly at: number; readonly how: "close" | "reset" } | undefined
}

export interface HostPlan {
  readonly address: NetAddress.InetAddress
  /** `closed`: nobody listens. `never`: no answer. */
  readonly answer: "ok" | "closed" | "never" | DialError["reason"]
  /** How long the answer takes. */
  readonly after: number
  readonly side: SidePlan
}

export interface Route {
  /** The name that leads to the hosts; without it, the literal address of the one that there is. */
  readonly name: string | undefined
  readonly lookup: { readonly after: number; readonly outcome: "found" | ResolveError["reason"] }
  readonly hosts: ReadonlyArray<HostPlan>
  readonly port: number
  readonly denied: boolean
}

export interface ClientPlan {
  readonly at: number
  readonly route: Route
  readonly handshake: Handshake
  readonly side: SidePlan
}

export interface Limits {
  readonly handshake: number
  readonly idle: number
  readonly halfClose: number
  readonly drain: number
  readonly connect: number
}

/** What happens to the server, `after` the event before: a session is interrupted, or it shuts down. */
export interface Event {
  readonly after: number
  readonly what: "interrupt" | "drain" | "close"
}

export interface Plan {
  readonly users: boolean
  readonly limits: Limits
  readonly maxConnections: number
  readonly capacity: number
  readonly split: "all" | "one" | "any"
  /** Bytes are late by up to so many milliseconds. */
  readonly latency: number
  readonly clients: ReadonlyArray<ClientPlan>
  readonly events: ReadonlyArray<Event>
}

type Network = Pick<Plan, "capacity" | "split" | "latency">

const planNetwork = (dice: Dice): Network => ({
  capacity: dice.pick([1, 7, 100, 5000, 65_536]),
  split: dice.pick(["all", "one", "any", "any"]),
  latency: dice.pick([0, 0, 0, 5, 5, 50, 2000])
})

const planSize = (dice: Dice, { latency, split }: Network): number => {
  // Each byte alone, each of them late, is slow to simulate and no different from fewer.
  if (split === "one") return dice.pick([0, 1, 17, latency === 0 ? 400 : 60])
  if (latency === 0 && dice.chance(0.05)) return 150_000
  return dice.pick([0, 1, 17, 400, 4000])
}

const planSide = (dice: Dice, network: Network, limits: Limits): SidePlan => {
  const payload = dice.bytes(planSize(dice, network))
  const pause = dice.pick([0, 0, 30, 3000])
  const stall = dice.chance(0.04)
  return {
    payload,
    pieces: dice.cut(payload, 6).map((bytes) => ({ after: dice.chance(0.5) ? 0 : dice.int(0, pause), bytes })),
    // Somebody has to make an end where no timeout will.
    finish: dice.pick(["end", "end", "end", "end", "close", "reset", limits.idle > 0 ? "wait" : "end"]),
    reading: {
      // A client that does not even read the reply fills no kernel's buffer, but does fill a tiny one.
      first: stall && network.capacity >= 100 ? 150_000 : dice.pick([0, 0, 40]),
      each: dice.pick([0, 0, 20, network.split === "one" ? 20 : 1000])
    },
    quit: dice.chance(0.15)
      ? { at: dice.int(0, dice.pick([10, 1000, 20_000])), how: dice.pick(["close", "reset"]) }
      : undefined
  }
}

const planHost = (dice: Dice, port: number, network: Network, limits: Limits): HostPlan => {
  const address = dice.chance(0.7)
    ? NetAddress.ipv4FromBytesUnsafe(Uint8Array.of(100, ...dice.bytes(3)))
    : NetAddress.ipv6FromBytesUnsafe(Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, ...dice.bytes(12)))
  return {
    address: NetAddress.inetAddressUnsafe(address, port),
    answer: dice.chance(0.8)
      ? "ok"
      : dice.pick(["closed", "never", "Refused", "HostUnreachable", "NetworkUnreachable", "TimedOut", "Unknown"]),
    after: dice.chance(0.05) ? 30_001 : dice.pick([0, 0, dice.int(1, 600)]),
    side: planSide(dice, network, limits)
  }
}

const planRoute = (dice: Dice, network: Network, limits: Limits): Route => {
  const port = dice.int(1, 65_535)
  const named = dice.chance(0.5)
  const hosts = Array.from({ length: named ? dice.int(1, 4) : 1 }, () => planHost(dice, port, network, limits))
  return {
    name: named ? `host-${dice.int(100_000, 999_999)}.example` : undefined,
    lookup: {
      after: dice.pick([0, 0, 1, 1500, 5000]),
      outcome: dice.chance(0.9) ? "found" : dice.pick(["NotFound", "TimedOut", "Failed"])
    },
    hosts,
    port,
    denied: dice.chance(0.04)
  }
}

export const planSchedule = (dice: Dice): Plan => {
  const users = dice.chance(0.35)
  const network = planNetwork(dice)
  const limits: Limits = {
    handshake: dice.pick([300, 10_000, 10_000]),
    idle: dice.pick([0, 1500, 30_000, 600_000]),
    halfClose: dice.pick([0, 1000, 60_000]),
    drain: dice.pick([0, 1500, 30_000]),
    connect: dice.pick([1000, 10_000])
  }
  const clients = Array.from({ length: dice.int(1, 4) }, (): ClientPlan => {
    const route = planRoute(dice, network, limits)
    return {
      at: dice.pick([0, 0, dice.int(1, 3000)]),
      route,
      handshake: planHandshake(dice, users, route),
      side: planSide(dice, network, limits)
    }
  })
  const events = Array.from({ length: dice.pick([0, 0, 0, 1, 2, 4]) }, (): Event => ({
    after: dice.int(0, dice.pick([10, 1000, 10_000])),
    what: dice.pick(["interrupt", "interrupt", "interrupt", "drain", "close"])
  }))
  return { users, limits, maxConnections: dice.pick([1, 2, 50, 50, 50]), ...network, clients, events }
}
