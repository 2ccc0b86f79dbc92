/** The way through proxies, one behind the other over one connection, to a destination. */
import * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Address } from "../protocol/Address.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import type { Datagrams } from "../transport/Datagrams.ts"
import { type Dialed, Dialer, type From } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import * as NodeDatagrams from "../transport/NodeDatagrams.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { prefixed } from "../transport/Prefixed.ts"
import type { ResolveError, Resolver } from "../transport/Resolver.ts"
import * as TlsClient from "../transport/TlsClient.ts"
import * as Negotiation from "./Negotiation.ts"
import {
  AnswerTimedOut,
  BadAnswer,
  type NegotiationError,
  type ProxyError,
  ProxyUnreachable,
  Unsendable
} from "./ProxyError.ts"
import * as ProxyUrl from "./ProxyUrl.ts"
import type { Association } from "./UdpRelay.ts"

/** Proxies in the order of the way: the first is the one that is dialled, the last connects to the destination. */
export type Chain = Arr.NonEmptyReadonlyArray<ProxyUrl.ProxyUrl>

/** A proxy, or several to go through one behind the other: the first is dialled, the last connects. */
export type Proxies = ProxyUrl.ProxyUrl | string | ReadonlyArray<ProxyUrl.ProxyUrl | string>

export interface Options {
  /** Limit for everything before the last proxy is asked: dialling, TLS, logins. Default: 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** Limit for the last proxy's answer, in which it connects to the destination. Default: 20 seconds. */
  readonly answerTimeout?: Duration.Input | undefined
  /** For `https:` proxies. */
  readonly tls?: TlsClient.Options | undefined
}

export const connectTimeout = (options: Options): Duration.Duration =>
  Duration.fromInputUnsafe(options.connectTimeout ?? "10 seconds")

export const answerTimeout = (options: Options): Duration.Duration =>
  Duration.fromInputUnsafe(options.answerTimeout ?? "20 seconds")

/** How the first proxy is dialled, and how names are looked up that are not sent to a proxy. */
export interface Ways {
  readonly dialer: Dialer["Service"]
  readonly resolver: Resolver["Service"]
}

/** Node's sockets, and names by the hosts file and DNS. */
export const layer: Layer.Layer<Datagrams | Dialer | Resolver> = Layer.mergeAll(
  Layer.provide(Dialer.layer(), NodeTransport.layer()),
  DnsResolver.layer(),
  NodeDatagrams.layer()
)

export interface Way {
  /** Through to a destination. The address is the first proxy's; the scope closes the connection. */
  readonly dial: (
    destination: Host.HostPort,
    from?: From
  ) => Effect.Effect<Dialed, ProxyError | ResolveError, Scope.Scope>
  /** Asks for UDP ASSOCIATE; missing where there is none: but through a single SOCKS5 proxy. The scope ends it. */
  readonly associate?: (from?: From) => Effect.Effect<Association, ProxyError, Scope.Scope>
  /** Dials, greets and logs in, but asks the last proxy for nothing. */
  readonly check: Effect.Effect<void, ProxyError, Scope.Scope>
}

interface Hop {
  readonly url: ProxyUrl.ProxyUrl
  readonly name: string
  readonly negotiation: Negotiation.Negotiation
}

const unreachable = ({ name: proxy }: Hop, code: string, via?: Hop) =>
  new ProxyUnreachable({ proxy, code, ...via !== undefined && { via: via.name } })

/** The connection, and what came behind the last message that was understood. */
interface Talk {
  readonly connection: Connection
  readonly bytes: Uint8Array
}

const nothing = new Uint8Array(0)

/** Failures of the connection during the talk. */
const told = <A>(
  hop: Hop,
  effect: Effect.Effect<A, NegotiationError | ConnectionError | Cause.Done>
): Effect.Effect<A, NegotiationError | ProxyUnreachable> =>
  Effect.mapError(effect, (error) => {
    switch (error._tag) {
      case "ConnectionError":
        return unreachable(hop, error.code)
      case "Done":
        return unreachable(hop, "EEND")
      default:
        return error
    }
  })

/** Says something, and waits for the step that follows from the answer. */
const exchange = Effect.fnUntraced(function*(
  hop: Hop,
  { bytes: early, connection }: Talk,
  { bytes: saying, stage }: Pick<Negotiation.Say, "bytes" | "stage">,
  request: Uint8Array
): Effect.fn.Return<
  readonly [step: Negotiation.Say | Negotiation.Open, talk: Talk],
  NegotiationError | ConnectionError | Cause.Done
> {
  yield* connection.write(saying)
  let bytes = early
  while (true) {
    const step = hop.negotiation.next(stage, bytes, request)
    if (step._tag === "Failed") return yield* step.error
    // A copy: the bytes may be a view that is good until the next pull.
    if (step._tag !== "Wait") return [step, { connection, bytes: new Uint8Array(bytes.subarray(step.taken)) }]
    const [chunk] = yield* connection.pull
    bytes = Buffer.concat([bytes, chunk])
  }
})

/** Everything up to the request, which is still to be sent. */
const greet = Effect.fnUntraced(function*(hop: Hop, talk: Talk, request: Uint8Array) {
  let saying: Pick<Negotiation.Say, "bytes" | "stage"> = hop.negotiation.first(request)
  let state = talk
  while (saying.stage !== "answer") {
    const [step, next] = yield* exchange(hop, state, saying, request)
    // No proxy is open before it was asked.
    if (step._tag === "Open") break
    saying = step
    state = next
  }
  return state
})

/** Sends the request, and waits until the proxy is open. */
const ask = Effect.fnUntraced(function*(hop: Hop, talk: Talk, request: Uint8Array) {
  const [step, { bytes, connection }] = yield* exchange(hop, talk, { bytes: request, stage: "answer" }, request)
  return { connection: prefixed(connection, bytes), bound: step._tag === "Open" ? step.bound : undefined }
})

const codeOf = (error: ProxyError | ResolveError): string => {
  switch (error._tag) {
    case "ReplyError":
      return `reply ${error.code.toString(error.protocol === "socks5" ? 16 : 10).padStart(2, "0")}`
    case "StatusError":
      return `status ${error.status}`
    case "AnswerTimedOut":
      return "ETIMEDOUT"
    case "Unsendable":
      return "EAFNOSUPPORT"
    case "ProxyUnreachable":
    case "ResolveError":
      return error.code
    default:
      return error._tag
  }
}

/** A chain that is ready to be gone. */
export const make = (ways: Ways, chain: Chain, options: Options = {}): Way => {
  const hops = Arr.map(chain, (url): Hop => ({
    url,
    name: ProxyUrl.format(url),
    negotiation: Negotiation.make(url)
  }))
  const last = Arr.lastNonEmpty(hops)
  const limits = { connect: connectTimeout(options), answer: answerTimeout(options) }

  /** The target as a proxy is asked for it: by its name, or by an address where it does not look names up. */
  const requestFor = Effect.fnUntraced(function*(
    { name, negotiation, url }: Hop,
    target: Host.HostPort
  ): Effect.fn.Return<Uint8Array, Unsendable | ResolveError> {
    const { host, port } = target
    if (ProxyUrl.resolvesNames(url) || typeof host !== "string" || NetAddress.isScopedIpv6Literal(host)) {
      return yield* Effect.fromResult(negotiation.request(target))
    }
    const addresses = yield* ways.resolver.resolve(host)
    const fitting = url.protocol === "socks4" ? addresses.find(NetAddress.isIpv4Address) : addresses[0]
    if (fitting === undefined) {
      return yield* new Unsendable({ proxy: name, destination: Host.formatHostPort(target) })
    }
    return yield* Effect.fromResult(negotiation.request(Host.hostPortUnsafe(fitting, port)))
  })

  const dialFirst = Effect.fnUntraced(function*(from: From | undefined) {
    const hop = hops[0]
    const { host, port } = hop.url.address
    if (NetAddress.isScopedIpv6Literal(host)) return yield* unreachable(hop, "EADDRNOTAVAIL")
    const addresses: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress> = typeof host === "string"
      ? yield* Effect.mapError(ways.resolver.resolve(host), ({ code }) => unreachable(hop, code))
      : [host]
    return yield* Effect.mapError(ways.dialer.dial(addresses, port, from), ({ code }) => unreachable(hop, code))
  })

  /** Connected with the last proxy, through those before it, and greeted by it. */
  const reach = Effect.fnUntraced(function*(request: Uint8Array, from: From | undefined) {
    const { address, connection: first } = yield* dialFirst(from)
    let connection = first
    for (const [at, hop] of hops.entries()) {
      if (hop.url.protocol === "https") {
        connection = yield* TlsClient.secure(connection, hop.url.address.host, options.tls).pipe(
          Effect.mapError(({ code }) => unreachable(hop, code))
        )
      }
      const next = hops[at + 1]
      const asked = next === undefined ? request : yield* requestFor(hop, next.url.address).pipe(
        Effect.mapError((error) => unreachable(next, codeOf(error), hop))
      )
      const talk = yield* told(hop, greet(hop, { connection, bytes: nothing }, asked))
      if (next === undefined) return { address, talk }
      const answer = yield* told(hop, ask(hop, talk, asked)).pipe(
        // That this proxy does not get to the next one is no word about the destination.
        Effect.mapError((error) => error._tag === "ProxyUnreachable" ? error : unreachable(next, codeOf(error), hop))
      )
      connection = answer.connection
    }
    return yield* unreachable(last, "EUNKNOWN")
  }, (effect) =>
    Effect.timeoutOrElse(effect, {
      duration: limits.connect,
      orElse: () => Effect.fail(unreachable(last, "ETIMEDOUT"))
    }))

  /** Connected with the last proxy, and granted what it was asked for. */
  const obtain = Effect.fnUntraced(function*(request: Uint8Array, from: From | undefined) {
    const { address, talk } = yield* reach(request, from)
    const { bound, connection } = yield* told(last, ask(last, talk, request)).pipe(
      Effect.timeoutOrElse({
        duration: limits.answer,
        orElse: () => Effect.fail(new AnswerTimedOut({ proxy: last.name }))
      })
    )
    return { address, bound, connection }
  })

  const dial = Effect.fnUntraced(function*(destination: Host.HostPort, from?: From) {
    const { address, connection } = yield* obtain(yield* requestFor(last, destination), from)
    const dialed: Dialed = { address, connection }
    return dialed
  })

  const associate = Effect.fnUntraced(function*(request: Uint8Array, from?: From) {
    const { address, bound, connection } = yield* obtain(request, from)
    const relay = relayOf(bound, address)
    if (relay === undefined) {
      return yield* new BadAnswer({ proxy: last.name, why: "no address to send datagrams to" })
    }
    const association: Association = { address, connection, relay, resolvesNames: ProxyUrl.resolvesNames(last.url) }
    return association
  })

  const { associate: request } = last.negotiation
  return {
    dial,
    // Datagrams go to the last proxy past those before it, which know nothing of them.
    ...hops.length === 1 && request !== undefined && { associate: (from?: From) => associate(request, from) },
    check: Effect.asVoid(reach(nothing, undefined))
  }
}

/** Where a proxy wants datagrams; what it leaves open is the address that it was dialled at. */
const relayOf = (bound: Address | undefined, dialled: NetAddress.InetAddress): NetAddress.InetAddress | undefined => {
  if (bound === undefined || bound._tag === "Domain" || bound.port === 0) return undefined
  return NetAddress.inetAddressUnsafe(NetAddress.isUnspecified(bound.ip) ? dialled.address : bound.ip, bound.port)
}

/** A chain from URLs, in the order of the way. */
export const fromInput = (proxies: Proxies): Result.Result<Chain, ProxyUrl.ProxyUrlError> => {
  // `isArray` forgets about arrays that are read-only.
  const list: ReadonlyArray<ProxyUrl.ProxyUrl | string> = Array.isArray(proxies) ? proxies : [proxies]
  return Result.flatMap(
    Result.all(list.map((proxy, at) =>
      Result.mapError(ProxyUrl.fromInput(proxy), (error) =>
        list.length === 1
          ? error
          : new ProxyUrl.ProxyUrlError({ message: `number ${at + 1} of ${list.length}: ${error.message}` }))
    )),
    (chain) =>
      Arr.isReadonlyArrayNonEmpty(chain)
        ? Result.succeed(chain)
        : Result.fail(new ProxyUrl.ProxyUrlError({ message: "no proxy is given" }))
  )
}
