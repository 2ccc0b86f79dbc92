/** How much goes through one connection, for a moment and for a few MB. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as Schedule from "effect/Schedule"
import * as Check from "./Check.ts"
import { fail, ok } from "./Finding.ts"
import type { Targets } from "./Targets.ts"

export const names = ["download", "upload"] as const

const most = 16_000_000

const portion = new Uint8Array(65_536)

const scaled = (amount: number): string => amount < 100 ? amount.toPrecision(3) : amount.toFixed(0)

/** Bytes, or bytes a second: `12.3 MB`, `812 MB`, `1045 MB`, `0.0240 kB`. */
export const amount = (bytes: number): string =>
  bytes < 100_000 ? `${scaled(bytes / 1000)} kB` : `${scaled(bytes / 1e6)} MB`

const judge = (bytes: number, took: Duration.Duration) =>
  bytes === 0
    ? fail("no byte in time")
    : ok(`${amount(bytes / Duration.toSeconds(took))}/s (${amount(bytes)})`)

export const check = Effect.fnUntraced(function*(
  { proxy, timeout }: Check.Probing,
  { sink, source }: Targets,
  host: Host.Host
) {
  const limit = Duration.min(Duration.times(timeout, 0.5), Duration.seconds(2))

  const download = Effect.gen(function*() {
    const { connection } = yield* proxy.through(Host.hostPortUnsafe(host, source.port))
    let bytes = 0
    const pull = Effect.map(connection.pull, ([part]) => {
      bytes += part.length
    })
    const [took] = yield* Effect.repeat(pull, { while: () => bytes < most }).pipe(
      Effect.timeoutOption(limit),
      Effect.ignore,
      Effect.timed
    )
    return judge(bytes, took)
  })

  const upload = Effect.gen(function*() {
    const { connection } = yield* proxy.through(Host.hostPortUnsafe(host, sink.port))
    const before = sink.bytes()
    let sent = 0
    const write = Effect.map(connection.write(portion), () => {
      sent += portion.length
    })
    // What counts is what has come: the rest may be in buffers.
    const arrived = Effect.repeat(Effect.sync(() => sink.bytes() - before), {
      schedule: Schedule.spaced("2 millis"),
      while: (bytes) => bytes < sent
    })
    const [took] = yield* Effect.repeat(write, { while: () => sent < most }).pipe(
      Effect.andThen(arrived),
      Effect.timeoutOption(limit),
      Effect.ignore,
      Effect.timed
    )
    return judge(sink.bytes() - before, took)
  })

  const [down, up] = names
  return [yield* Check.run(down, timeout, download), yield* Check.run(up, timeout, upload)]
})
