/** UDP ASSOCIATE (RFC 1928 §7): a datagram there and back. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Address from "../protocol/Address.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import * as Bound from "./Bound.ts"
import * as Check from "./Check.ts"
import { fail, type Found, ok, warn } from "./Finding.ts"
import type { Proxy } from "./Proxy.ts"

export const name = "UDP ASSOCIATE"

/** A datagram may be lost without anybody's fault. */
const sendEvery = "300 millis"

const advice = "is its UDP port open here, and does it leave from there? clients send to BND.ADDR"

const { udpAssociate: command } = Request

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b)

const thereAndBack = Effect.fnUntraced(function*(
  { datagrams }: Proxy,
  relay: NetAddress.InetAddress,
  from: NetAddress.IpAddress,
  echo: NetAddress.InetAddress
) {
  const came = yield* Deferred.make<string | undefined>()
  const payload = new TextEncoder().encode("a datagram")
  const source = Address.fromInetAddress(echo)
  const header = UdpHeader.codec.encode(UdpHeader.UdpHeader.make({ fragment: 0, address: source }))
  const isSource = (address: Address.Address) =>
    isSame(UdpHeader.codec.encode(UdpHeader.UdpHeader.make({ fragment: 0, address })), header)
  const received = (bytes: Uint8Array): void => {
    const decoded = UdpHeader.codec.decode(bytes)
    if (decoded._tag !== "Done" || !isSame(bytes.subarray(decoded.size), payload)) return
    const fault = isSource(decoded.value.address) ? undefined : "its header names another source than the target"
    Deferred.doneUnsafe(came, Effect.succeed(fault))
  }
  const socket = yield* datagrams.bind(NetAddress.inetAddressUnsafe(from, 0), { received, failed: () => {} })
  const send = Effect.sync(() => socket.send([header, payload], NetAddress.formatHost(relay), relay.port))
  return yield* Effect.raceFirst(
    Deferred.await(came),
    Effect.andThen(Effect.repeat(send, Schedule.spaced(sendEvery)), Effect.never)
  )
})

export const check = ({ ground: { targets }, proxy, timeout }: Check.Probing) =>
  Check.run(
    name,
    timeout,
    Effect.gen(function*() {
      const talk = yield* proxy.greeted
      yield* talk.say(Request.codec.encode(Request.Request.make({ command, address: Address.unspecified })))
      const { address, code } = yield* talk.read(Reply.codec)
      if (code !== Reply.succeeded) {
        return warn(`not served: reply 0${code} (${Reply.describe(code)})`, "no DNS, QUIC or games through it")
      }
      const bound = Bound.usable(address, proxy)
      if (Result.isFailure(bound)) return fail(bound.failure, "tell the proxy the address at which clients reach it")
      const { address: relay, remark } = bound.success
      const at = NetAddress.formatInet(relay)
      const local = talk.connection.local?.address
      if (targets?.datagrams === undefined || local === undefined) return ok(`granted at ${at}; no datagram was tried`)
      const echo = NetAddress.inetAddressUnsafe(targets.addresses[0], targets.datagrams)
      const from = NetAddress.familyOf(local) === NetAddress.familyOf(relay)
        ? local
        : NetAddress.isIpv4Address(relay.address)
        ? NetAddress.ipv4Unspecified
        : NetAddress.ipv6Unspecified
      const lost = fail(`granted at ${at}, but no datagram came back`, advice)
      return yield* thereAndBack(proxy, relay, from, echo).pipe(
        Effect.map((fault): Found =>
          fault !== undefined
            ? warn(`a datagram came back, but ${fault}`)
            : remark !== undefined
            ? warn(`there and back by ${at}`, remark)
            : ok(`there and back by ${at}`)
        ),
        Effect.catchTag("ListenError", ({ message }) => Effect.succeed(fail(message))),
        Effect.timeoutOrElse({
          duration: Duration.times(timeout, 0.8),
          orElse: () => Effect.succeed(lost)
        })
      )
    })
  )
