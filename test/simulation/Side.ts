/** One end of a connection of the simulation: does what its plan says, and remembers what it did. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as NetAddress from "effect/net/NetAddress"
import type { Connection, ConnectionError } from "../../src/transport/Connection.ts"
import { Peer } from "../support/Memory.ts"
import type { Dice } from "./Dice.ts"
import type { SidePlan } from "./Plan.ts"

export class Side {
  readonly plan: SidePlan
  readonly peer: Peer
  readonly local: string
  readonly remote: string
  /** Bytes of the payload that were given to the connection. */
  sent = 0
  /** Whether it has made an orderly end, and the first moment at which it had. */
  ended = false
  endedAt = Infinity
  /** When it began, and when its incoming stream was over. */
  beganAt = Infinity
  heardAt = Infinity
  /** Whether it gave the connection up, in which case what it has not read is lost. */
  left: "close" | "reset" | undefined = undefined
  leftAt = Infinity

  constructor(plan: SidePlan, connection: Connection) {
    this.plan = plan
    this.peer = new Peer(connection)
    this.local = format(connection.local)
    this.remote = format(connection.remote)
  }

  /** From the first byte to the close. `opening` comes before the payload; when it gives `false`, there is none. */
  live(dice: Dice, opening: Effect.Effect<boolean, ConnectionError>): Effect.Effect<void> {
    const { each, first } = this.plan.reading
    const pause = each === 0 ? Effect.void : Effect.suspend(() => Effect.sleep(dice.int(0, each)))
    const life = Effect.gen({ self: this }, function*() {
      this.beganAt = yield* Clock.currentTimeMillis
      const reading = yield* Effect.forkChild(
        Effect.gen({ self: this }, function*() {
          yield* Effect.sleep(first)
          yield* this.peer.read(pause)
          this.heardAt = yield* Clock.currentTimeMillis
        }),
        { startImmediately: true }
      )
      yield* Effect.ignore(Effect.andThen(opening, (go) => go ? this.sendPayload : Effect.void))
      yield* this.finish(this.plan.finish)
      // An end that is closed reads no more; its first read may be far off.
      if (this.left !== undefined) yield* Fiber.interrupt(reading)
      yield* Fiber.await(reading)
    })
    const { quit } = this.plan
    const interrupted = quit === undefined
      ? life
      : Effect.raceFirst(life, Effect.andThen(Effect.sleep(quit.at), this.finish(quit.how)))
    return Effect.ensuring(interrupted, this.finish("close"))
  }

  private get sendPayload() {
    return Effect.forEach(this.plan.pieces, ({ after, bytes }) =>
      Effect.andThen(
        Effect.sleep(after),
        Effect.suspend(() => {
          this.sent += bytes.length
          return this.peer.connection.write(bytes)
        })
      ), { discard: true })
  }

  private finish(how: SidePlan["finish"]): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      if (this.left !== undefined || how === "wait") return
      const now = yield* Clock.currentTimeMillis
      if (how !== "reset") {
        this.ended = true
        this.endedAt = Math.min(this.endedAt, now)
      }
      if (how === "end") return yield* this.peer.end
      this.left = how
      this.leftAt = now
      if (this.peer.outcome === "open") this.peer.outcome = "left"
      yield* this.peer[how]
    })
  }
}

const format = (address: NetAddress.InetAddress | undefined): string =>
  address === undefined ? "unknown" : NetAddress.formatInet(address)
