/** The `SessionEpochs` of several processes, kept in one: a session is the same one whichever of them it comes to. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Receive, Send } from "./LimitKeeper.ts"
import type { FromKeeper, ToKeeper } from "./LimitMessage.ts"
import * as SessionEpochs from "./SessionEpochs.ts"

/** How long an answer may take; without one, this process goes on by what it remembers itself. */
const answerTimeout = "5 seconds"

/** Answers another process. */
export const attend = (
  epochs: SessionEpochs.SessionEpochs,
  send: Send<FromKeeper>
): Receive<ToKeeper> =>
(message) => {
  if (message._tag !== "Tag") return
  const { id, milliseconds, session, user } = message
  // In memory: it answers at once.
  send({ _tag: "Tagged", id, tag: Effect.runSync(epochs.tag(user, session, milliseconds)) })
}

/** Asks who keeps them, and what has to be told of each message that comes from there. */
export const remote = (send: Send<ToKeeper>) => {
  const own = SessionEpochs.make()
  const waiting = new Map<number, Deferred.Deferred<string>>()
  let lastId = 0
  const epochs: SessionEpochs.SessionEpochs = {
    tag: (user, session, stickFor) =>
      Effect.suspend(() => {
        const id = ++lastId
        const answer = Deferred.makeUnsafe<string>()
        waiting.set(id, answer)
        const milliseconds = Math.round(Duration.toMillis(Duration.fromInputUnsafe(stickFor)))
        send({ _tag: "Tag", id, user, session, milliseconds })
        return Effect.ensuring(
          Effect.timeoutOrElse(Deferred.await(answer), {
            duration: answerTimeout,
            orElse: () => own.tag(user, session, stickFor)
          }),
          Effect.sync(() => waiting.delete(id))
        )
      })
  }
  const receive: Receive<FromKeeper> = (message) => {
    if (message._tag !== "Tagged") return
    const answer = waiting.get(message.id)
    if (answer !== undefined) Deferred.doneUnsafe(answer, Effect.succeed(message.tag))
  }
  return { epochs, receive }
}
