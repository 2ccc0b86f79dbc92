/** What is known of one session while it runs, and when it has run out of time. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import type { AccessRequest, Verdict } from "../policy/AccessPolicy.ts"
import type { Identity } from "../policy/Authenticator.ts"
import { type Lease, unlimited, type Who } from "../policy/LimitStore.ts"
import type { Connection, Watcher } from "../transport/Connection.ts"
import type { ConnectionRecord } from "./ConnectionLog.ts"
import type { DatagramCounter } from "./DatagramCounts.ts"
import type { Deadline, Deadlines } from "./Deadlines.ts"
import type { Command, Dialect } from "./Dialect.ts"
import type { Direction, Observer } from "./Relay.ts"

/** How far a session has come. */
export type Phase = "handshake" | "dial" | "bind" | "relay" | "half-closed" | "closing"

/** Limits of a session, in milliseconds; 0 means none. */
export interface Timeouts {
  readonly handshake: number
  readonly idle: number
  readonly halfClose: number
  /** How long a refused client may take to read the refusal. */
  readonly linger: number
}

/** A destination that is allowed. */
export interface Granted {
  readonly destination: Host.HostPort
  readonly address: NetAddress.IpAddress | undefined
}

/** Where clients come in. */
export interface Door {
  /** As rules and logs name it. */
  readonly name: string
  /** Ends when it is closed, and those who have come in by it are to be served to their end, and no further. */
  readonly drained: Effect.Effect<void>
  readonly isDraining: () => boolean
}

/** Whether it has come by what has a name and no address, and nobody in between says where from. */
const hasName = (
  client: Connection,
  address: NetAddress.InetAddress | undefined
): client is Connection & { readonly label: string } => client.label !== undefined && address === client.remote

/** Where a client is, for the log. What somebody in between says of it counts for more than the socket that it came by. */
const clientOf = (client: Connection, address: NetAddress.InetAddress): string =>
  hasName(client, address) ? client.label : NetAddress.formatInet(address)

/** The destination of what has none yet. */
const nowhere = Host.hostPortUnsafe(NetAddress.ipv4Unspecified, 0)

/** A session at one moment. */
export interface SessionInfo extends Omit<ConnectionRecord, "reason" | "level"> {
  readonly phase: Phase
}

/** The state of one session. Plain fields, since ten thousand of them are alive at once. */
export class SessionState implements Deadline, Observer, Watcher {
  readonly id: number
  readonly client: Connection
  target: Connection | undefined = undefined
  /** Where the client is: at the other end of its connection, or where the load balancer there says. */
  remote: NetAddress.InetAddress | undefined
  readonly startedAt: number
  readonly door: Door
  private readonly deadlines: Deadlines
  private readonly timeouts: Timeouts
  fiber: Fiber.Fiber<void> | undefined = undefined
  phase: Phase = "handshake"
  /** How the client speaks, once that is known. */
  dialect: Dialect | undefined = undefined
  /** What it asks for; `forward` as long as it wishes for no tunnel. */
  command: Command | undefined = undefined
  /** What it seems to speak instead of a protocol that is served. */
  looksLike: string | undefined = undefined
  /** The name that it gave; that it may use it is another thing. */
  user: string | undefined = undefined
  /** Who it is, once it has logged in. */
  identity: Identity | undefined = undefined
  /** Where it is, as the policy has granted it; the address only where that was judged. */
  granted: Granted | undefined = undefined
  /** Which of the rounds in which all are judged anew it has seen. */
  round = 0
  /** How it is served there. */
  verdict: Verdict | undefined = undefined
  /** Told when it was judged anew, for what else it was granted. */
  rejudged: (() => void) | undefined = undefined
  /** Its part in what is limited. */
  lease: Lease = unlimited
  destination: Host.HostPort | undefined = undefined
  address: NetAddress.InetAddress | undefined = undefined
  reply: number | undefined = undefined
  /** Why it ended: the first reason is the true one. */
  reason: string | undefined = undefined
  /** Whether it was turned away before it could say anything. */
  unheard = false
  bytesUp = 0
  bytesDown = 0
  /** Of a UDP association. */
  datagrams: DatagramCounter | undefined = undefined
  /** The rule that has denied datagrams last. */
  deniedBy: string | undefined = undefined
  private activeAt: number
  /** How much of the waiting writes was left when it was last looked at. */
  private left = 0
  due = 0
  place = -1

  constructor(id: number, client: Connection, door: Door, deadlines: Deadlines, timeouts: Timeouts) {
    this.id = id
    this.client = client
    client.watcher = this
    this.remote = client.remote
    this.door = door
    this.deadlines = deadlines
    this.timeouts = timeouts
    this.startedAt = deadlines.now()
    this.activeAt = this.startedAt
    this.enter("handshake")
  }

  /** It is who it says. */
  admit(identity: Identity): void {
    this.user = identity.name
    this.identity = identity
  }

  /** As limits see it, under a class of them. */
  who(limits = this.identity?.limits): Who {
    const { client, identity, remote } = this
    return {
      user: identity?.name,
      groups: identity?.groups,
      limits,
      client: hasName(client, remote) ? undefined : remote?.address
    }
  }

  /** For a command that has no destination yet, as the policy sees it. */
  get commandRequest(): AccessRequest {
    return this.request(nowhere)
  }

  /** For a destination, as the policy sees it. */
  request(destination: Host.HostPort): AccessRequest {
    return {
      client: this.remote,
      user: this.user,
      groups: this.identity?.groups,
      session: this.identity?.session,
      egress: this.identity?.egress,
      pool: this.identity?.pool,
      listener: this.door.name,
      protocol: this.dialect?.protocol,
      command: this.command,
      destination
    }
  }

  /** Goes on to a phase, under that phase's limit. */
  enter(phase: Phase): void {
    this.phase = phase
    this.activeAt = this.deadlines.now()
    const due = this.expectsMore(this.activeAt) ?? this.activeAt
    // To be asked too early costs less than to be moved at each step.
    if (due < (this.place === -1 ? Infinity : this.due)) this.deadlines.set(this, due)
  }

  moved(direction: Direction, bytes: number): void {
    if (direction === "up") this.bytesUp += bytes
    else this.bytesDown += bytes
    this.lease.used(bytes)
  }

  delivered(): void {
    this.activeAt = this.deadlines.now()
  }

  /** The client's connection failed. Whoever reads or writes learns it anyway; a dial, or a wait, would go on for nobody. */
  failed(): void {
    const awaiting = this.phase === "dial" || this.phase === "bind"
    if (awaiting && this.target === undefined) this.stop(`client left during the ${this.phase}`)
  }

  halfClosed(): void {
    this.enter("half-closed")
  }

  /** It has ended, and can't expire any more. */
  leave(): void {
    this.deadlines.clear(this)
  }

  /** Milliseconds that this phase may last: without traffic, where there is any to be had. */
  private get limit(): number {
    const { halfClose, handshake, idle, linger } = this.timeouts
    switch (this.phase) {
      case "handshake":
        return handshake
      case "dial":
      case "bind":
        // The resolver, the dialer and the wait for a peer have limits of their own.
        return 0
      case "relay":
        return idle
      case "half-closed":
        return idle === 0 || halfClose === 0 ? Math.max(idle, halfClose) : Math.min(idle, halfClose)
      case "closing":
        // Who gets no answer needs no time to read it, but the end of stream shall come before a reset.
        return this.looksLike === undefined ? linger : linger / 2
    }
  }

  expire(now: number): number | undefined {
    const later = this.expectsMore(now)
    if (later === undefined) this.stop(this.phase === "relay" ? "idle timeout" : `${this.phase} timeout`)
    return later === Infinity ? undefined : later
  }

  /**
   * When to look again, `Infinity` for never; `undefined` when the time is over.
   *
   * A side that is slow to take its bytes is not silent: while a write waits, only the idle limit counts, from
   * the last time that some of it was seen to go out. Hence the looks in between, four in each limit.
   */
  private expectsMore(now: number): number | undefined {
    const { limit, phase, timeouts } = this
    if (limit === 0) return Infinity
    const relaying = phase === "relay" || phase === "half-closed"
    const left = relaying ? this.client.unsent + (this.target?.unsent ?? 0) : 0
    if (left > 0 && left !== this.left) this.activeAt = now
    this.left = left
    const due = this.activeAt + (left === 0 ? limit : timeouts.idle === 0 ? Infinity : timeouts.idle)
    if (now >= due) return undefined
    return relaying ? Math.min(due, now + limit / 4) : due
  }

  /** Ends it for a reason, without waiting. */
  stop(reason: string): void {
    this.reason ??= reason
    this.fiber?.interruptUnsafe()
  }

  /** The same in the middle of what goes either way: no peer shall take what it got for all. */
  cut(reason: string): void {
    this.reason ??= reason
    if (this.target !== undefined) Effect.runFork(Effect.andThen(this.client.reset, this.target.reset))
    this.stop(reason)
  }

  /** At this moment. */
  get info(): SessionInfo {
    const { level: _, reason: __, ...known } = this.record("")
    return { ...known, phase: this.phase }
  }

  /** For the log, once it has ended. */
  record(reason: string): ConnectionRecord {
    return {
      id: this.id,
      protocol: this.dialect?.protocol,
      looksLike: this.looksLike,
      command: this.command,
      client: this.remote && clientOf(this.client, this.remote),
      user: this.user,
      session: this.identity?.session,
      destination: this.destination && Host.formatHostPort(this.destination),
      address: this.address && NetAddress.formatInet(this.address),
      reply: this.reply,
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
      ...this.datagrams !== undefined && { datagrams: this.datagrams.counts },
      ...this.deniedBy !== undefined && { deniedBy: this.deniedBy },
      level: this.verdict?.log,
      duration: this.deadlines.now() - this.startedAt,
      reason
    }
  }
}
