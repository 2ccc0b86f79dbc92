/** BIND (RFC 1928 §4): a connection to the proxy that comes out here. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import * as Bound from "./Bound.ts"
import * as Check from "./Check.ts"
import { fail, ok, warn } from "./Finding.ts"
import { Talk } from "./Talk.ts"
import { describe } from "./Trouble.ts"

export const name = "BIND"

const { bind: command } = Request

const [there, back] = ["there", "back"].map((word) => new TextEncoder().encode(word))

const reply = (code: number): string => `reply 0${code} (${Reply.describe(code)})`

export const check = ({ proxy, timeout }: Check.Probing) =>
  Check.run(
    name,
    timeout,
    Effect.gen(function*() {
      const talk = yield* proxy.greeted
      const local = talk.connection.local?.address
      // The peer that is expected: we ourselves.
      const expected = local === undefined
        ? Address.unspecified
        : Address.fromInetAddress(NetAddress.inetAddressUnsafe(local, 0))
      yield* talk.say(Request.codec.encode(Request.Request.make({ command, address: expected })))
      const first = yield* talk.read(Reply.codec)
      if (first.code !== Reply.succeeded) {
        return warn(`not served: ${reply(first.code)}`, "no active FTP through it; hardly anything else asks for it")
      }
      const bound = Bound.usable(first.address, proxy)
      if (Result.isFailure(bound)) return fail(bound.failure, "tell the proxy the address at which peers reach it")
      const { address, remark } = bound.success
      const at = NetAddress.formatInet(address)
      const source = local !== undefined && NetAddress.familyOf(local) === NetAddress.familyOf(address)
        ? local
        : undefined
      const peer = yield* Effect.result(proxy.transport.connect(address, timeout, source))
      if (Result.isFailure(peer)) {
        return fail(`listens at ${at}, where nobody gets: ${peer.failure.code}`, "is that port open?")
      }
      const outside = new Talk(peer.success, "peer")
      return yield* Effect.gen(function*() {
        const second = yield* talk.read(Reply.codec)
        if (second.code !== Reply.succeeded) return fail(`the second reply is ${reply(second.code)}`)
        for (const [from, to, word] of [[outside, talk, there], [talk, outside, back]] as const) {
          if (word === undefined) continue
          yield* from.say(word)
          const came = yield* to.readBytes(word.length)
          if (!Buffer.from(came).equals(word)) return fail("other bytes came than were sent")
        }
        return remark === undefined ? ok(`a peer came in by ${at}`) : warn(`a peer came in by ${at}`, remark)
      }).pipe(Effect.catch((error) => Effect.succeed(fail(`listens at ${at}, but ${describe(error)}`))))
    })
  )
