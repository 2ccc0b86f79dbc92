/** The bans of several processes, kept in one: this side answers `RemoteBans` in each of the others. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type { BanList, Failed } from "./BanList.ts"
import * as ClientNetwork from "./ClientNetwork.ts"
import { addressOf, type Receive, type Send } from "./LimitKeeper.ts"
import type { FromKeeper, ToKeeper } from "./LimitMessage.ts"

export interface BanKeeper {
  /** The list that is kept, for who bans or lifts here: the others hear of it. */
  readonly bans: BanList["Service"]
  /** Serves one of the other processes until the scope closes. It is told at once who is banned. */
  readonly connect: (send: Send<FromKeeper>) => Effect.Effect<Receive<ToKeeper>, never, Scope.Scope>
}

type Judge = Extract<ToKeeper, { readonly _tag: "Judge" }>

export const make = (kept: BanList["Service"]): BanKeeper => {
  const channels = new Set<Send<FromKeeper>>()
  const tellAll = (message: FromKeeper) => channels.forEach((send) => send(message))

  const bans: BanList["Service"] = {
    ...kept,
    ban: (client, duration, why) =>
      Effect.tap(kept.ban(client, duration, why), (ban) =>
        Effect.sync(() => {
          if (ban !== undefined) tellAll({ _tag: "Banned", ban })
        })),
    lift: (client) =>
      Effect.tap(
        kept.lift(client),
        () => Effect.sync(() => tellAll({ _tag: "Lifted", client: ClientNetwork.of(client) }))
      ),
    loginFailed: (client) =>
      Effect.tap(kept.loginFailed(client), ({ ban, failures }) =>
        Effect.sync(() => {
          if (ban !== undefined) tellAll({ _tag: "Banned", ban })
          else if (failures > 0) tellAll({ _tag: "Failing", client: ClientNetwork.of(client) })
        }))
  }

  const judge = (client: NetAddress.IpAddress, { what }: Judge): Effect.Effect<Failed> => {
    switch (what._tag) {
      case "LoginFailed":
        return bans.loginFailed(client)
      case "Ban":
        return Effect.map(bans.ban(client, Duration.millis(what.milliseconds), what.why), (ban) => ({
          failures: 0,
          ban
        }))
      case "Lift":
        return Effect.flatMap(bans.find(client), (ban) => Effect.as(bans.lift(client), { failures: 0, ban }))
    }
  }

  const connect = Effect.fnUntraced(function*(
    send: Send<FromKeeper>
  ): Effect.fn.Return<Receive<ToKeeper>, never, Scope.Scope> {
    yield* Effect.acquireRelease(
      Effect.sync(() => channels.add(send)),
      () => Effect.sync(() => channels.delete(send))
    )
    const tell = Effect.map(bans.list, (all) => all.forEach((ban) => send({ _tag: "Banned", ban })))
    yield* tell
    const run = Effect.runForkWith(yield* Effect.context<never>())
    return (message) => {
      // What was said before was heard by nobody.
      if (message._tag === "Hello") return void run(tell)
      const client = message._tag === "Judge" || message._tag === "LoggedIn" ? addressOf(message.client) : undefined
      if (client === undefined) return
      if (message._tag === "LoggedIn") return void run(bans.loggedIn(client))
      if (message._tag !== "Judge") return
      const { id } = message
      run(
        Effect.map(
          judge(client, message),
          ({ ban, failures }) => send({ _tag: "Judged", id, failures, ...ban !== undefined && { ban } })
        )
      )
    }
  })

  return { bans, connect }
}
