/** Whether the bytes of a connection are kept, at its start and at its end. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as Check from "./Check.ts"
import { fail, ok, warn } from "./Finding.ts"
import { mostKept } from "./Talk.ts"
import type { Targets } from "./Targets.ts"
import { describe } from "./Trouble.ts"

const text = new TextEncoder()
const question = text.encode("a question, and then no more")
const early = text.encode("sent before the proxy has answered")

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b)

const alteredAdvice = "it changes what goes through it: nothing but TLS is safe there"

const altered = (what: string) => fail(`${what} where ${question.length} were sent`, alteredAdvice)

/** The client ends, and the target, which has waited for that, answers. */
export const halfClose = ({ proxy, timeout }: Check.Probing, { late }: Targets, host: Host.Host) => {
  const ends = late.ends()
  /** The target may see its end a moment after we have seen ours. */
  const lost = (how: string) =>
    Effect.sleep("1 millis").pipe(
      Effect.repeat({ times: 100, while: () => late.ends() === ends }),
      Effect.map(() =>
        late.ends() > ends
          ? fail(`the target's answer is lost: ${how}`, "clients that end their side first, as nc -N does, lose data")
          : fail(`the client's end does not reach the target: ${how}`, "what waits for the end of input waits for ever")
      )
    )
  return Check.run(
    "half-close",
    timeout,
    Effect.gen(function*() {
      const talk = yield* proxy.through(Host.hostPortUnsafe(host, late.port))
      return yield* Effect.gen(function*() {
        yield* talk.say(question)
        yield* talk.connection.end
        const answer = yield* talk.readToEnd()
        if (isSame(answer, question)) return ok("kept: the answer comes after the client's end")
        if (answer.length > mostKept) return altered(`more than ${mostKept} bytes came back`)
        if (answer.length > question.length) return altered(`${answer.length} bytes came back`)
        return answer.length < question.length
          ? yield* lost(`${answer.length} of ${question.length} bytes came`)
          : fail("other bytes came back than were sent", alteredAdvice)
      }).pipe(
        Effect.catch((error) => lost(describe(error))),
        Effect.timeoutOrElse({ duration: Duration.times(timeout, 0.8), orElse: () => lost("nothing came in time") })
      )
    })
  )
}

const isLost = (how: string) => warn(`lost: ${how}`, "clients have to wait for the reply before they send")

/** Clients that don't wait for the proxy's yes save a round trip. */
export const earlyData = ({ proxy, timeout }: Check.Probing, { echo }: Targets, host: Host.Host) => {
  return Check.run(
    "early data",
    timeout,
    Effect.gen(function*() {
      const talk = yield* proxy.through(Host.hostPortUnsafe(host, echo.port), early)
      return yield* Effect.map(
        talk.readBytes(early.length),
        (back) => isSame(back, early) ? ok("kept: bytes behind the request arrive") : isLost("other bytes came")
      )
    }).pipe(Effect.catch((error) => Effect.succeed(isLost(describe(error))))),
    isLost("nothing came in time")
  )
}
