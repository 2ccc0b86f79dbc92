/** How long it takes, in the median of a few. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as Order from "effect/Order"
import { type Probing } from "./Check.ts"
import { fail, type Finding, named, skipped, took } from "./Finding.ts"

export const names = ["handshake time", "connect time", "round trip"] as const

const samples = 5

const median = (values: Arr.NonEmptyReadonlyArray<number>): number => {
  const sorted = Arr.sort(values, Order.Number)
  return sorted[sorted.length >> 1] ?? values[0]
}

const message = new Uint8Array(64).fill(0x2e)

/** As many as there is time for. */
export const check = Effect.fnUntraced(function*({ ground, proxy, timeout }: Probing, host: Host.Host) {
  const taken: Record<typeof names[number], Array<number>> = {
    "handshake time": [],
    "connect time": [],
    "round trip": []
  }
  const timed = <A, E, R>(name: typeof names[number], effect: Effect.Effect<A, E, R>) =>
    Effect.map(Effect.timed(effect), ([duration, value]) => {
      taken[name].push(Duration.toMillis(duration))
      return value
    })

  const once = Effect.gen(function*() {
    const request = yield* Effect.fromResult(proxy.negotiation.request(Host.hostPortUnsafe(host, ground.port)))
    const talk = yield* timed("handshake time", proxy.greeted)
    yield* timed("connect time", talk.ask(proxy.negotiation, request))
    if (ground.targets === undefined) return
    yield* timed("round trip", Effect.andThen(talk.say(message), talk.readBytes(message.length)))
  })
  yield* Effect.scoped(once).pipe(
    Effect.repeat({ times: samples - 1 }),
    Effect.timeoutOption(timeout),
    Effect.ignore
  )

  return names.map((name): Finding => {
    const values = taken[name]
    if (Arr.isArrayNonEmpty(values)) {
      return named(name, took(Duration.millis(median(values)), `median of ${values.length}`))
    }
    return name === "round trip" && ground.targets === undefined
      ? named(name, skipped("only a target of our own can tell"))
      : named(name, fail("not once in time"))
  })
})
