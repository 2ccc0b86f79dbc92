/** Whether the proxy says why it refuses: the reply codes of RFC 1928 §6, and what HTTP and SOCKS4 have for them. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type { ProxyError } from "../client/ProxyError.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Request from "../protocol/Request.ts"
import * as Check from "./Check.ts"
import { fail, type Found, ok, skipped, warn } from "./Finding.ts"
import * as Ground from "./Ground.ts"
import type { Proxy } from "./Proxy.ts"
import { describe, reply } from "./Trouble.ts"

export const names = ["closed port", "unknown name", "unknown command", "unknown address type"] as const

const wrongAdvice = "clients can't tell why it failed"

/** A refusal, which is what is wanted here. */
const refused = (error: ProxyError, wanted: number): Found => {
  const detail = describe(error)
  switch (error._tag) {
    case "ReplyError":
      return error.protocol === "socks4" || error.code === wanted
        ? ok(detail)
        : warn(`${detail} instead of ${reply(wanted)}`, wrongAdvice)
    case "StatusError":
      return error.status >= 500 || error.status === 404
        ? ok(detail)
        : warn(`${detail} instead of one of 5xx`, wrongAdvice)
    case "Unsendable":
      return skipped("SOCKS4 sends no names; socks4a: does")
    case "ProxyUnreachable":
      return warn(`no reply: ${detail}`, wrongAdvice)
    default:
      return fail(detail)
  }
}

const expectRefusal = <A>(asked: Effect.Effect<A, ProxyError, Scope.Scope>, wanted: number) =>
  Effect.match(asked, {
    onSuccess: () => fail("the proxy says yes", "clients take it for connected"),
    onFailure: (error) => refused(error, wanted)
  })

const askRaw = Effect.fnUntraced(function*({ greeted, negotiation }: Proxy, request: Uint8Array) {
  const talk = yield* greeted
  yield* talk.ask(negotiation, request)
})

/** A port that nobody listens on any more. */
const closedPort = ({ transport }: Proxy, ip: NetAddress.IpAddress) =>
  Effect.scoped(
    transport.listen(NetAddress.inetAddressUnsafe(ip, 0), {
      admit: () => false,
      accept: () => {},
      failed: () => {}
    })
  ).pipe(Effect.map(({ address }) => address.port))

export const check = Effect.fnUntraced(function*({ ground, proxy, timeout }: Check.Probing) {
  const [port, name, command, type] = names
  const late = warn("no reply in time", "clients wait until they give up")
  const run = (name: string, effect: Effect.Effect<Found, ProxyError, Scope.Scope>) =>
    Check.run(name, timeout, effect, late)
  const [ip] = ground.targets?.addresses ?? []

  const closed = Effect.gen(function*() {
    if (ip === undefined) return skipped("only a target of our own can tell")
    const port = yield* Effect.option(closedPort(proxy, ip))
    return port._tag === "None"
      ? skipped("no port could be had")
      : yield* expectRefusal(proxy.through(Host.hostPortUnsafe(ip, port.value)), Reply.connectionRefused)
  })
  const unknownName = expectRefusal(proxy.through(Ground.nowhere), Reply.hostUnreachable)

  const bytes = Request.codec.encode(
    Request.Request.make({ command: 0x7f, address: { _tag: "Ipv4", ip: NetAddress.ipv4Loopback, port: 80 } })
  )
  const unknownType = Uint8Array.of(5, Request.connect, 0, 9, 127, 0, 0, 1, 0, 80)
  const onlySocks5 = skipped("only SOCKS5 has a reply for it")
  const raw = (bytes: Uint8Array, wanted: number): Effect.Effect<Found, ProxyError, Scope.Scope> =>
    proxy.family === "socks5" ? expectRefusal(askRaw(proxy, bytes), wanted) : Effect.succeed(onlySocks5)

  return yield* Effect.all([
    run(port, closed),
    run(name, unknownName),
    run(command, raw(bytes, Reply.commandNotSupported)),
    run(type, raw(unknownType, Reply.addressTypeNotSupported))
  ], { concurrency: 4 })
})
