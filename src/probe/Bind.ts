/** BIND (RFC 1928 §4, and SOCKS4): a connection to the proxy that comes out here. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Address from "../protocol/Address.ts"
import * as Request from "../protocol/Request.ts"
import * as Socks4Request from "../protocol/Socks4Request.ts"
import * as Bound from "./Bound.ts"
import * as Check from "./Check.ts"
import * as Command from "./Command.ts"
import { fail, ok, warn } from "./Finding.ts"
import { Talk } from "./Talk.ts"
import { describe } from "./Trouble.ts"

export const name = "BIND"

const advice = "no active FTP through it; hardly anything else asks for it"

const [there, back] = ["there", "back"].map((word) => new TextEncoder().encode(word))

/** Asks for a peer from that address; SOCKS4 has none but of IPv4. */
const ask = (
  { proxy: { family, url }, timeout }: Omit<Check.Probing, "ground">,
  talk: Talk,
  expected: Address.Address
) => {
  if (family === "socks5") return Command.ask5(talk, timeout, Request.bind, expected)
  const address = expected._tag === "Ipv4"
    ? expected
    : { _tag: "Ipv4", ip: NetAddress.ipv4Unspecified, port: 0 } as const
  const userId = url.credentials?.user ?? ""
  const request = Socks4Request.Socks4Request.make({ command: Socks4Request.bind, address, userId })
  return Command.ask(talk, timeout, Command.socks4, Socks4Request.codec.encode(request))
}

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
      const first = yield* ask({ proxy, timeout }, talk, expected)
      if (Result.isFailure(first)) return warn(first.failure, advice)
      const bound = Bound.usable(first.success, proxy)
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
        const second = yield* Command.answer(talk, proxy.family === "socks4" ? Command.socks4 : Command.socks5)
        if (Result.isFailure(second)) return fail(`the second reply is ${second.failure}`)
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
