/** One record for each connection, when it has ended. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as LogLevel from "effect/LogLevel"
import * as Reply from "../protocol/Reply.ts"
import type { DatagramCounts } from "./DatagramCounts.ts"
import type { Command, Protocol } from "./Dialect.ts"

/**
 * Everything that is known of a connection at its end, as plain data; what was never learned is `undefined`. `user`,
 * `destination` and `reason` repeat what came from the wire: escape them before you show them.
 */
export interface ConnectionRecord {
  /** Counts up from 1 in each process. */
  readonly id: number
  /** What the client spoke; `undefined` when it was nothing that is served. */
  readonly protocol: Protocol | undefined
  /** What it seemed to speak then: `TLS`, … */
  readonly looksLike: string | undefined
  /** What the client asked for last; `undefined` when it did not get that far, or for something that is not served. */
  readonly command: Command | undefined
  /** `IP:PORT`, or `unix:PATH` of the socket that it came by. */
  readonly client: string | undefined
  /** The name of the login, also of one that was refused. */
  readonly user: string | undefined
  /** The tag that it gave its session. */
  readonly session?: string | undefined
  /** What the client asked for, `HOST:PORT`. */
  readonly destination: string | undefined
  /** What was dialled for it, `IP:PORT`. */
  readonly address: string | undefined
  /** The reply code that was sent (RFC 1928 §6); `undefined` when the connection ended before a reply. */
  readonly reply: number | undefined
  /** Payload bytes from the client to the target. */
  readonly bytesUp: number
  /** Payload bytes from the target to the client. */
  readonly bytesDown: number
  /** Of a UDP association; the payload of its datagrams is in the bytes above. */
  readonly datagrams?: DatagramCounts | undefined
  /** Of a UDP association: the rule that has denied datagrams, the last of several. */
  readonly deniedBy?: string | undefined
  /** The level at which a rule has it logged, `None` for not at all. Default: `Info`. */
  readonly level?: LogLevel.LogLevel | undefined
  /** Milliseconds from accept to end. */
  readonly duration: number
  /** Why it ended, in a few words: `done`, `idle timeout`, `authentication failed`, … */
  readonly reason: string
}

/** A record under the names that it has in a log line, without what was never learned. */
const fieldsOf = (record: ConnectionRecord): object => {
  const fields: Record<string, unknown> = { id: record.id }
  if (record.client !== undefined) fields.client = record.client
  if (record.protocol !== undefined) fields.protocol = record.protocol
  // Most ask for it.
  if (record.command !== undefined && record.command !== "connect") fields.command = record.command
  if (record.user !== undefined) fields.user = record.user
  if (record.session !== undefined) fields.session = record.session
  if (record.destination !== undefined) fields.destination = record.destination
  if (record.address !== undefined) fields.address = record.address
  if (record.reply !== undefined) {
    fields.reply = record.reply
    fields.status = Reply.describe(record.reply)
  }
  fields.up = record.bytesUp
  fields.down = record.bytesDown
  if (record.datagrams !== undefined) {
    fields.datagrams_up = record.datagrams.up
    fields.datagrams_down = record.datagrams.down
    for (const [why, count] of Object.entries(record.datagrams.dropped)) fields[`dropped_${why}`] = count
  }
  if (record.deniedBy !== undefined) fields.denied_by = record.deniedBy
  fields.duration_ms = Math.round(record.duration)
  fields.reason = record.reason
  return fields
}

/** How long records are collected. */
const collected = Duration.millis(20)

/** Milliseconds between two lines about clients that speak something else: whoever floods us writes no log. */
const strangersEvery = 10_000

/** Strangers of one kind. */
interface Kind {
  quietUntil: number
  unsaid: number
}

/** What looks alike is one kind: what is in brackets differs from one to the next. */
const kindOf = (looksLike: string): string => looksLike.replace(/ \(.*/, "")

/** What is written of one connection. */
interface Line {
  readonly level: LogLevel.Severity
  readonly fields: object
}

/** The lines for some records. */
class Lines {
  private readonly kinds = new Map<string, Kind>()
  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  of(records: ReadonlyArray<ConnectionRecord>): ReadonlyArray<Line> {
    return records.flatMap((record) => {
      const { level = "Info" } = record
      if (level === "None" || level === "All") return []
      if (record.looksLike === undefined) return [{ level, fields: fieldsOf(record) }]
      const name = kindOf(record.looksLike)
      const kind = this.kinds.get(name) ?? { quietUntil: -Infinity, unsaid: 0 }
      this.kinds.set(name, kind)
      const time = this.now()
      if (time < kind.quietUntil) {
        kind.unsaid++
        return []
      }
      kind.quietUntil = time + strangersEvery
      const fields = kind.unsaid === 0 ? fieldsOf(record) : { ...fieldsOf(record), others: kind.unsaid }
      kind.unsaid = 0
      return [{ level, fields }]
    })
  }

  /** Those who have had no line of their own. */
  get unsaid(): ReadonlyArray<object> {
    return [...this.kinds].flatMap(([looks_like, { unsaid }]) => unsaid === 0 ? [] : [{ looks_like, others: unsaid }])
  }
}

/**
 * Hears of each connection once, when it has ended and both its sockets are closed. The connection waits for it: what
 * takes long is better forked. When it dies, that is logged, and nothing else happens.
 */
export class ConnectionLog extends Context.Service<ConnectionLog, {
  readonly ended: (record: ConnectionRecord) => Effect.Effect<void>
}>()("sluice/server/ConnectionLog") {
  /**
   * One event at level info for each, through the loggers of who serves; none of them is an error of the proxy. Of
   * clients that speak something else, one of a kind in ten seconds; it tells how many `others` came since the last.
   *
   * They are logged together, after 20 ms at most and when the layer closes: one by one among the work of other
   * connections they cost a tenth of all that a short connection costs, together next to nothing.
   */
  static readonly layer: Layer.Layer<ConnectionLog> = Layer.effect(
    this,
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const clock = yield* Clock.Clock
      const lines = new Lines(() => clock.currentTimeMillisUnsafe())
      let context = yield* Effect.context<never>()
      let waiting: Array<ConnectionRecord> = []
      const flush = Effect.suspend(() => {
        const records = waiting
        waiting = []
        return Effect.forEach(
          lines.of(records),
          ({ fields, level }) => Effect.logWithLevel(level)("connection ended", fields),
          { discard: true }
        )
      })
      const flushSoon = Effect.forkIn(Effect.delay(flush, collected), scope)
      const flushLast = Effect.andThen(
        flush,
        Effect.suspend(() =>
          Effect.forEach(lines.unsaid, (fields) => Effect.logInfo("more that were not for this proxy", fields), {
            discard: true
          })
        )
      )
      yield* Effect.addFinalizer(() => Effect.provideContext(flushLast, context))
      return {
        ended: (record) =>
          Effect.withFiber((fiber) => {
            waiting.push(record)
            if (waiting.length > 1) return Effect.void
            context = fiber.context
            return Effect.asVoid(flushSoon)
          })
      }
    })
  )
}
