/** Commands of SOCKS other than CONNECT: UDP ASSOCIATE, BIND, and Tor's. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { ProxyError } from "../client/ProxyError.ts"
import type { Address } from "../protocol/Address.ts"
import type { Codec } from "../protocol/Codec.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import * as Socks4Reply from "../protocol/Socks4Reply.ts"
import type { Talk } from "./Talk.ts"
import { describe, reply } from "./Trouble.ts"

/** How a version of SOCKS answers. */
export interface Replies {
  readonly codec: Pick<Codec<{ readonly code: number; readonly address: Address }>, "decode">
  /** The code that means yes. */
  readonly granted: number
  readonly shown: (code: number) => string
}

export const socks5: Replies = { codec: Reply.codec, granted: Reply.succeeded, shown: (code) => reply(code) }

export const socks4: Replies = {
  codec: Socks4Reply.codec,
  granted: Socks4Reply.granted,
  shown: (code) => reply(code, "socks4")
}

/** The next reply: its address, or why there is none. */
export const answer = (
  talk: Talk,
  { codec, granted, shown }: Replies
): Effect.Effect<Result.Result<Address, string>, ProxyError> =>
  Effect.map(
    talk.read(codec),
    ({ address, code }) => code === granted ? Result.succeed(address) : Result.fail(shown(code))
  )

/** Asks for a command, which is not served where the proxy says so, breaks off, or has not answered when it is time. */
export const ask = (
  talk: Talk,
  timeout: Duration.Duration,
  replies: Replies,
  request: Uint8Array
): Effect.Effect<Result.Result<Address, string>, ProxyError> =>
  talk.say(request).pipe(
    Effect.andThen(answer(talk, replies)),
    Effect.catchTag("ProxyUnreachable", (error) => Effect.succeed(Result.fail(describe(error)))),
    Effect.timeoutOrElse({
      duration: Duration.times(timeout, 0.8),
      orElse: () => Effect.succeed(Result.fail("no answer in time"))
    }),
    Effect.map(Result.mapError((why) => `not served: ${why}`))
  )

/** The same, with SOCKS5's request. */
export const ask5 = (talk: Talk, timeout: Duration.Duration, command: number, address: Address) =>
  ask(talk, timeout, socks5, Request.codec.encode(Request.Request.make({ command, address })))
