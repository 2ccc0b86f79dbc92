/** Slows down who guesses passwords: each refusal of a client is answered later than the one before, until a ban. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as NetAddress from "effect/net/NetAddress"
import { AuthenticationFailed, Authenticator, type Identity } from "./Authenticator.ts"
import { type Ban, BanList, Banned } from "./BanList.ts"

export interface Options {
  /** How late the first refusal is. Each further one is twice as late. Default: 1 second. */
  readonly delay?: Duration.Input | undefined
  /** The latest. What is more than the time for a handshake ends with that. Default: 16 seconds. */
  readonly maxDelay?: Duration.Input | undefined
  /** How many refusals may be late at once: further ones are told at once, so that waiting holds nothing. Default: 256. */
  readonly maxDelayed?: number | undefined
}

type Attempt = Effect.Effect<Identity, AuthenticationFailed>

/** The same authenticator, for clients that are counted. */
export const make = (
  authenticator: Authenticator["Service"],
  bans: BanList["Service"],
  options: Options = {}
): Authenticator["Service"] => {
  const first = Duration.toMillis(options.delay ?? "1 second")
  const most = Duration.toMillis(options.maxDelay ?? "16 seconds")
  const { maxDelayed = 256 } = options
  let delayed = 0

  const delayOf = (failures: number): number => failures === 0 ? 0 : Math.min(most, first * 2 ** (failures - 1))

  const wait = (milliseconds: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (milliseconds === 0 || delayed >= maxDelayed) return Effect.void
      delayed++
      return Effect.ensuring(
        Effect.sleep(milliseconds),
        Effect.sync(() => {
          delayed--
        })
      )
    })

  const refuse = (
    error: AuthenticationFailed,
    client: NetAddress.IpAddress
  ): Effect.Effect<never, AuthenticationFailed> =>
    error.blameless === true
      ? Effect.fail(error)
      : Effect.flatMap(bans.loginFailed(client), ({ ban, failures }) =>
        Effect.andThen(
          // Once, when it begins; those that were under way are told so as well.
          ban === undefined ? wait(delayOf(failures)) : logBan(ban, failures),
          Effect.fail(error)
        ))

  let lastLogged: Ban | undefined
  const logBan = (ban: Ban, failures: number) => {
    if (ban.client === lastLogged?.client && ban.until === lastLogged.until) return Effect.void
    lastLogged = ban
    const fields = { client: ban.client, until: new Date(ban.until).toISOString(), failures }
    return Effect.annotateLogs(Effect.logWarning("client banned for its failed logins"), fields)
  }

  const guard = (username: string, client: NetAddress.InetAddress | undefined, attempt: Attempt): Attempt => {
    // One that did not come by IP is on this machine.
    if (client === undefined) return attempt
    const { address } = client
    return Effect.flatMap(bans.find(address), (ban) => {
      if (ban !== undefined) return Effect.fail(new AuthenticationFailed({ username, why: new Banned(ban).message }))
      return Effect.matchEffect(attempt, {
        onSuccess: (identity) => Effect.as(bans.loggedIn(address), identity),
        onFailure: (error) => refuse(error, address)
      })
    })
  }

  const { identify } = authenticator
  return {
    ...authenticator,
    authenticate: (credentials) =>
      guard(credentials.username, credentials.client, authenticator.authenticate(credentials)),
    ...identify !== undefined && {
      identify: (username, client) => guard(username, client, identify(username, client))
    }
  }
}

/** Around the authenticator that there is. */
export const layer = (options?: Options): Layer.Layer<Authenticator, never, Authenticator | BanList> =>
  Layer.effect(
    Authenticator,
    Effect.gen(function*() {
      return make(yield* Authenticator, yield* BanList, options)
    })
  )
