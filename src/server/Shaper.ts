/**
 * Bandwidth that is held by back-pressure: a connection whose bytes wait for their turn. Nothing is kept here but what
 * was read already; the rest waits with whoever sends it.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { Flow } from "../policy/Flow.ts"
import type { Lease } from "../policy/LimitStore.ts"
import type { Connection, ConnectionError, Send } from "../transport/Connection.ts"
import { type Chunk, WrappedConnection } from "../transport/WrappedConnection.ts"

type Flows = Arr.NonEmptyReadonlyArray<Flow>

const nonEmpty = (flows: ReadonlyArray<Flow>): Flows | undefined =>
  Arr.isReadonlyArrayNonEmpty(flows) ? flows : undefined

/** How many of so many bytes may go now: the others have their turns too. */
const turnOf = (flows: Flows, bytes: number): number =>
  flows.reduce((least, { slice }) => Math.min(least, slice), bytes)

/** Waits for a turn in each of them. */
const pass = (flows: Flows, amount: number): Effect.Effect<void> =>
  flows.length === 1 ? flows[0].take(amount) : Effect.forEach(flows, (flow) => flow.take(amount), { discard: true })

class Shaped extends WrappedConnection {
  private readonly up: Flows | undefined
  private readonly down: Flows | undefined
  /** What was read and not given out yet. */
  private rest: Uint8Array | undefined = undefined
  /** Bytes of the write that waits for its turns. */
  private held = 0
  /** Kept where bytes have to wait for the way back: they go by the pull then. */
  private shortcut: Send | undefined = undefined

  constructor(inner: Connection, up: Flows | undefined, down: Flows | undefined) {
    super(inner)
    this.up = up
    this.down = down
  }

  /** Who waits for a turn is not silent, in either direction. */
  override get unsent(): number {
    return this.inner.unsent + this.held + (this.rest?.length ?? 0)
  }

  override get onward(): Send | undefined {
    return this.down === undefined ? this.inner.onward : this.shortcut
  }

  override set onward(onward: Send | undefined) {
    if (this.down === undefined) this.inner.onward = onward
    else this.shortcut = onward
  }

  readonly pull: WrappedConnection["pull"] = Effect.suspend(() => {
    const { down, inner, rest } = this
    if (down === undefined) return inner.pull
    if (rest !== undefined) return this.giveOut(down, rest)
    return Effect.flatMap(inner.pull, ([bytes]) => {
      // Whoever interrupts the wait finds it here.
      this.rest = bytes
      return this.giveOut(down, bytes)
    })
  })

  private giveOut(down: Flows, bytes: Uint8Array): Effect.Effect<Chunk> {
    const turn = turnOf(down, bytes.length)
    return Effect.map(pass(down, turn), () => {
      this.rest = turn < bytes.length ? bytes.subarray(turn) : undefined
      return [bytes.subarray(0, turn)]
    })
  }

  override write(bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    const { inner, up } = this
    return up === undefined ? inner.write(bytes) : this.writeInTurns(up, bytes)
  }

  override send(bytes: Uint8Array): Effect.Effect<void, ConnectionError> | undefined {
    const { inner, up } = this
    return up === undefined ? inner.send(bytes) : this.writeInTurns(up, bytes)
  }

  /** What waits when it is interrupted is lost: the peer must not take what it got for all. */
  private writeInTurns(up: Flows, bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.onInterrupt(this.turns(up, bytes), () => this.inner.reset)
  }

  private turns(up: Flows, bytes: Uint8Array): Effect.Effect<void, ConnectionError> {
    return Effect.suspend(() => {
      const { failure, inner } = this
      if (failure !== undefined) return Effect.fail(failure)
      const turn = turnOf(up, bytes.length)
      this.held = bytes.length
      return Effect.flatMap(pass(up, turn), () => {
        this.held = bytes.length - turn
        const sent = inner.write(turn === bytes.length ? bytes : bytes.subarray(0, turn))
        return this.held === 0 ? sent : Effect.andThen(sent, this.turns(up, bytes.subarray(turn)))
      })
    })
  }
}

/** The target as a session sees it under its limits; where none is on its bandwidth, this is the target itself. */
export const shaped = (target: Connection, lease: Lease): Connection => {
  const [up, down] = [nonEmpty(lease.up), nonEmpty(lease.down)]
  return up === undefined && down === undefined ? target : new Shaped(target, up, down)
}

/** Whether a datagram of so many bytes may pass; it can't wait. */
export const admits = (lease: Lease, direction: "up" | "down", bytes: number): boolean =>
  lease.packets.every((flow) => flow.tryTake(1)) && lease[direction].every((flow) => flow.tryTake(bytes))
