/**
 * The `BanList` of a process that shares its bans with others: it asks who keeps them, the `BanKeeper`, which tells all
 * of each ban. So whether a client is banned is known here, and costs no question for each connection.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import type { Ban, BanList, Failed } from "./BanList.ts"
import * as ClientNetwork from "./ClientNetwork.ts"
import type { Receive, Send } from "./LimitKeeper.ts"
import type { FromKeeper, ToKeeper } from "./LimitMessage.ts"
import { Recent } from "./Recent.ts"

type What = Extract<ToKeeper, { readonly _tag: "Judge" }>["what"]

/** How long an answer may take. */
const answerTimeout = "5 seconds"

const noAnswer: Failed = { failures: 0 }

/** The list, and what has to be told of each message that comes from the keeper. `remember` as in `BanList.Options`. */
export const make = Effect.fnUntraced(function*(
  send: Send<ToKeeper>,
  remember = 65_536
): Effect.fn.Return<{ readonly bans: BanList["Service"]; readonly receive: Receive<FromKeeper> }> {
  const clock = yield* Clock.Clock
  const known = new Recent<Ban>(remember)
  /** Clients whose next login is of interest: the others would cost a message each. */
  const failing = new Recent<true>(remember)
  const waiting = new Map<number, Deferred.Deferred<Failed>>()
  let lastId = 0

  const judge = (client: NetAddress.IpAddress, what: What): Effect.Effect<Failed> =>
    Effect.suspend(() => {
      const id = ++lastId
      const answer = Deferred.makeUnsafe<Failed>()
      waiting.set(id, answer)
      send({ _tag: "Judge", id, client: NetAddress.formatIp(client), what })
      return Effect.ensuring(
        Effect.timeoutOrElse(Deferred.await(answer), {
          duration: answerTimeout,
          orElse: () => Effect.succeed(noAnswer)
        }),
        Effect.sync(() => waiting.delete(id))
      )
    })

  const isOver = ({ until }: Ban) => clock.currentTimeMillisUnsafe() >= until

  const find = (client: NetAddress.IpAddress): Ban | undefined => {
    // Most of the time there is none.
    if (known.size === 0) return undefined
    const key = ClientNetwork.of(client)
    const ban = known.get(key)
    if (ban === undefined || !isOver(ban)) return ban
    known.delete(key)
    return undefined
  }

  const bans: BanList["Service"] = {
    find: (client) => Effect.sync(() => find(client)),
    ban: (client, duration, why) =>
      Effect.map(
        judge(client, { _tag: "Ban", milliseconds: Math.round(Duration.toMillis(duration)), why }),
        ({ ban }) => ban
      ),
    lift: (client) => Effect.map(judge(client, { _tag: "Lift" }), ({ ban }) => ban !== undefined),
    list: Effect.sync(() => [...known.values()].filter((ban) => !isOver(ban))),
    loginFailed: (client) => judge(client, { _tag: "LoginFailed" }),
    loggedIn: (client) =>
      Effect.sync(() => {
        if (failing.size > 0 && failing.delete(ClientNetwork.of(client))) {
          send({ _tag: "LoggedIn", client: NetAddress.formatIp(client) })
        }
      })
  }

  const receive: Receive<FromKeeper> = (message) => {
    switch (message._tag) {
      case "Judged": {
        const answer = waiting.get(message.id)
        if (answer === undefined) return
        const { ban, failures } = message
        return void Deferred.doneUnsafe(answer, Effect.succeed({ failures, ban }))
      }
      case "Failing":
        return failing.set(message.client, true)
      case "Banned": {
        const { ban } = message
        failing.delete(ban.client)
        return known.set(ban.client, ban)
      }
      case "Lifted":
        return void known.delete(message.client)
    }
  }

  return { bans, receive }
})
