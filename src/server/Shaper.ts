/**
 * Bandwidth that is held by back-pressure: a connection whose bytes wait for their turn. Nothing is kept here but what
 * was read already; the rest waits with whoever sends it.
 */
import * as Effect from "effect/Effect"
import type { Flow } from "../policy/Flow.ts"
import { type Lease, unlimited } from "../policy/LimitStore.ts"
import type { Connection, ConnectionError, Send } from "../transport/Connection.ts"
import { type Chunk, WrappedConnection } from "../transport/WrappedConnection.ts"

type Flows = ReadonlyArray<Flow>

/** How many of so many bytes may go now: the others have their turns too. */
const turnOf = (flows: Flows, bytes: number): number => {
  let least = bytes
  for (const { slice } of flows) least = Math.min(least, slice)
  return least
}

/** Waits for a turn in each of them. */
const pass = (flows: Flows, amount: number): Effect.Effect<void> => {
  const [first] = flows
  return first !== undefined && flows.length === 1
    ? first.take(amount)
    : Effect.forEach(flows, (flow) => flow.take(amount), { discard: true })
}

/**
 * A session may come under a limit while it runs, so this is there all along. As long as there is none it is a look at the
 * lease for each read, and what the transport has of short ways stays short.
 */
class Shaped extends WrappedConnection {
  private readonly lease: Lease
  /** What was read and not given out yet. */
  private rest: Uint8Array | undefined = undefined
  /** Bytes of the write that waits for its turns. */
  private held = 0
  private shortcut: Send | undefined = undefined

  constructor(inner: Connection, lease: Lease) {
    super(inner)
    this.lease = lease
  }

  /** Who waits for a turn is not silent, in either direction. */
  override get unsent(): number {
    return this.inner.unsent + this.held + (this.rest?.length ?? 0)
  }

  override get onward(): Send | undefined {
    return this.shortcut
  }

  override set onward(onward: Send | undefined) {
    this.shortcut = onward
    this.inner.onward = onward && ((bytes) => this.lease.down.length === 0 ? onward(bytes) : this.passOn(bytes, onward))
  }

  readonly pull: WrappedConnection["pull"] = Effect.suspend(() =>
    this.rest === undefined ? this.read : this.giveOut(this.rest)
  )

  private readonly read: WrappedConnection["pull"] = Effect.flatMap(
    this.inner.pull,
    (chunk) => this.lease.down.length === 0 ? Effect.succeed(chunk) : this.giveOut(chunk[0])
  )

  /** A part of it, when it is its turn; the next pull finds the rest. */
  private giveOut(bytes: Uint8Array): Effect.Effect<Chunk> {
    // Whoever interrupts the wait finds it here.
    this.rest = bytes
    const { down } = this.lease
    const turn = turnOf(down, bytes.length)
    return Effect.map(pass(down, turn), () => {
      this.rest = turn < bytes.length ? bytes.subarray(turn) : undefined
      return [bytes.subarray(0, turn)]
    })
  }

  /** All of it, in turns. */
  private passOn(bytes: Uint8Array, onward: Send): Effect.Effect<void, ConnectionError> {
    return Effect.flatMap(this.giveOut(bytes), ([part]) => {
      const { rest } = this
      const sent = onward(part) ?? Effect.void
      return rest === undefined ? sent : Effect.andThen(sent, Effect.suspend(() => this.passOn(rest, onward)))
    })
  }

  override write(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return this.lease.up.length === 0 ? this.inner.write(bytes) : this.writeInTurns(bytes)
  }

  override send(bytes: Uint8Array): Effect.Effect<void, ConnectionError> | undefined {
    return this.lease.up.length === 0 ? this.inner.send(bytes) : this.writeInTurns(bytes)
  }

  /** What waits when it is interrupted is lost: the peer must not take what it got for all. */
  private writeInTurns(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.onInterrupt(this.turns(bytes), () => this.inner.reset)
  }

  private turns(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.suspend(() => {
      const { failure, inner, lease: { up } } = this
      if (failure !== undefined) return Effect.fail(failure)
      const turn = turnOf(up, bytes.length)
      this.held = bytes.length
      return Effect.flatMap(pass(up, turn), () => {
        this.held = bytes.length - turn
        const sent = inner.write(turn === bytes.length ? bytes : bytes.subarray(0, turn))
        return this.held === 0 ? sent : Effect.andThen(sent, this.turns(bytes.subarray(turn)))
      })
    })
  }
}

/** The target as a session sees it under its limits; where there never are any, this is the target itself. */
export const shaped = (target: Connection, lease: Lease): Connection =>
  lease === unlimited ? target : new Shaped(target, lease)

/** Whether a datagram of so many bytes may pass; it can't wait. */
export const admits = (lease: Lease, direction: "up" | "down", bytes: number): boolean =>
  lease.packets.every((flow) => flow.tryTake(1)) && lease[direction].every((flow) => flow.tryTake(bytes))
