/** UDP ASSOCIATE (RFC 1928 §7): a datagram there and back, and one in pieces. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Address from "../protocol/Address.ts"
import * as Request from "../protocol/Request.ts"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import type { ListenError } from "../transport/Transport.ts"
import * as Bound from "./Bound.ts"
import * as Check from "./Check.ts"
import * as Command from "./Command.ts"
import { fail, type Found, ok, skipped, warn } from "./Finding.ts"
import type { Proxy } from "./Proxy.ts"
import type { Targets } from "./Targets.ts"

export const names = ["UDP ASSOCIATE", "UDP fragments"] as const

/** A datagram may be lost without anybody's fault. */
const sendEvery = "300 millis"

/** What is late by more than this is taken for dropped. */
const grace = "100 millis"

const advice = "is its UDP port open here, and does it leave from there? clients send to BND.ADDR"

/** What the proxy has granted. */
interface Association {
  readonly bound: Bound.Bound
  /** Where its datagrams go. */
  readonly at: string
  /** Where ours come from: the address that the proxy knows us by, if it is of the same family. */
  readonly from: NetAddress.IpAddress
}

const associate = Effect.fnUntraced(function*(proxy: Proxy, timeout: Duration.Duration) {
  const talk = yield* proxy.greeted
  const answer = yield* Command.ask5(talk, timeout, Request.udpAssociate, Address.unspecified)
  if (Result.isFailure(answer)) return Result.fail(warn(answer.failure, "no DNS, QUIC or games through it"))
  const bound = Bound.usable(answer.success, proxy)
  if (Result.isFailure(bound)) {
    return Result.fail(fail(bound.failure, "tell the proxy the address at which clients reach it"))
  }
  const { address } = bound.success
  const local = talk.connection.local?.address
  const from = local !== undefined && NetAddress.familyOf(local) === NetAddress.familyOf(address)
    ? local
    : NetAddress.isIpv4Address(address.address)
    ? NetAddress.ipv4Unspecified
    : NetAddress.ipv6Unspecified
  const association: Association = { bound: bound.success, at: NetAddress.formatInet(address), from }
  return Result.succeed(association)
})

const echoOf = (targets: Targets | undefined): NetAddress.InetAddress | undefined =>
  targets?.datagrams === undefined
    ? undefined
    : NetAddress.inetAddressUnsafe(targets.addresses[0], targets.datagrams)

interface Piece {
  readonly fragment: number
  readonly text: string
}

const headerOf = (fragment: number, address: Address.Address): Uint8Array =>
  UdpHeader.codec.encode(UdpHeader.UdpHeader.make({ fragment, address }))

/** Sends the pieces to `echo`, again and again, until `receive` has something to say of what comes. */
const exchange = Effect.fnUntraced(function*<A>(
  { datagrams }: Proxy,
  { bound: { address: relay }, from }: Association,
  echo: NetAddress.InetAddress,
  pieces: ReadonlyArray<Piece>,
  receive: (text: string, isSource: boolean) => A | undefined
) {
  const done = yield* Deferred.make<A>()
  const target = Address.fromInetAddress(echo)
  const source = Buffer.from(headerOf(0, target))
  const received = (bytes: Uint8Array): void => {
    const decoded = UdpHeader.codec.decode(bytes)
    if (decoded._tag !== "Done") return
    const text = Buffer.from(bytes.subarray(decoded.size)).toString()
    const said = receive(text, source.equals(headerOf(0, decoded.value.address)))
    if (said !== undefined) Deferred.doneUnsafe(done, Effect.succeed(said))
  }
  const socket = yield* datagrams.bind(NetAddress.inetAddressUnsafe(from, 0), { received, failed: () => {} })
  const parts = pieces.map(({ fragment, text }) => [headerOf(fragment, target), new TextEncoder().encode(text)])
  const host = NetAddress.formatHost(relay)
  const send = Effect.sync(() => parts.forEach((part) => socket.send(part, host, relay.port)))
  return yield* Effect.raceFirst(
    Deferred.await(done),
    Effect.andThen(Effect.repeat(send, Schedule.spaced(sendEvery)), Effect.never)
  )
})

const whole: Piece = { fragment: 0, text: "a datagram" }

/** The second one ends the sequence. */
const halves: ReadonlyArray<Piece> = [{ fragment: 1, text: "in two " }, { fragment: 0x82, text: "pieces" }]

const joined = halves.map(({ text }) => text).join("")

/** What the RFC asks of a proxy that joins no fragments is that it drops them. */
const tryFragments = (proxy: Proxy, association: Association, echo: NetAddress.InetAddress) => {
  const seen = new Set<string>()
  const receive = (text: string): true | undefined => {
    seen.add(text)
    return text === whole.text ? true : undefined
  }
  return exchange(proxy, association, echo, [...halves, whole], receive).pipe(
    // The order of datagrams is nowhere promised.
    Effect.andThen(Effect.sleep(grace)),
    Effect.map(() => {
      if (halves.some(({ text }) => seen.has(text))) {
        return warn(
          "each is passed on as a whole datagram",
          "who sends fragments gets garbage through: FRAG is ignored"
        )
      }
      return seen.has(joined) ? ok("joined") : ok("dropped, as the RFC allows")
    })
  )
}

const noSocket = ({ message }: ListenError) => Effect.succeed(fail(message))

/** The second finding is only made where a datagram comes back at all. */
export const check = Effect.fnUntraced(function*({ ground: { targets }, proxy, timeout }: Check.Probing) {
  const [first, second] = names
  const limit = Duration.times(timeout, 0.8)
  const within = <E, R>(trial: Effect.Effect<Found, E, R>, lost: Found) =>
    Effect.timeoutOrElse(trial, { duration: limit, orElse: () => Effect.succeed(lost) })
  let carries = false

  const datagram = Effect.gen(function*() {
    const associated = yield* associate(proxy, timeout)
    if (Result.isFailure(associated)) return associated.failure
    const { at, bound: { remark } } = associated.success
    const echo = echoOf(targets)
    if (echo === undefined) return ok(`granted at ${at}; no datagram was tried`)
    const back = exchange(
      proxy,
      associated.success,
      echo,
      [whole],
      (text, isSource) => text === whole.text ? { isSource } : undefined
    ).pipe(Effect.map(({ isSource }): Found => {
      carries = true
      if (!isSource) return warn("a datagram came back, but its header names another source than the target")
      return remark === undefined ? ok(`there and back by ${at}`) : warn(`there and back by ${at}`, remark)
    }))
    return yield* within(back, fail(`granted at ${at}, but no datagram came back`, advice)).pipe(
      Effect.catchTag("ListenError", noSocket)
    )
  })

  const fragments = Effect.gen(function*() {
    const echo = echoOf(targets)
    if (echo === undefined) return skipped("only a target of our own can tell")
    if (!carries) return skipped("no datagram comes back")
    const associated = yield* associate(proxy, timeout)
    if (Result.isFailure(associated)) return associated.failure
    return yield* within(
      tryFragments(proxy, associated.success, echo),
      warn("whole datagrams do not come back behind them", "who sends fragments loses other datagrams too")
    ).pipe(Effect.catchTag("ListenError", noSocket))
  })

  return [yield* Check.run(first, timeout, datagram), yield* Check.run(second, timeout, fragments)]
})
