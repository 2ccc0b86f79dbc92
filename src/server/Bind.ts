/** BIND (RFC 1928 §4 and §6; SOCKS4 has it too): the client's target connects to the proxy, instead of the other way. */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import { constTrue } from "effect/Function"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { UpstreamPools } from "../client/UpstreamPools.ts"
import type { AccessPolicy } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import * as Request from "../protocol/Request.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import type { Dialer } from "../transport/Dialer.ts"
import { sourceFor, type Sources } from "../transport/Egress.ts"
import * as PortRange from "../transport/PortRange.ts"
import type { Resolver } from "../transport/Resolver.ts"
import { type Accept, ListenError, type Transport } from "../transport/Transport.ts"
import type { Dialect } from "./Dialect.ts"
import type { MessageReader } from "./MessageReader.ts"
import { NobodyCame, type RequestError } from "./Refusal.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"

export interface Services {
  readonly transport: Transport["Service"]
  readonly policy: AccessPolicy["Service"]
  readonly resolver: Resolver["Service"]
  readonly dialer: Dialer["Service"]
  readonly pools: UpstreamPools["Service"]
}

export interface Options {
  /** How long the peer of a BIND may take to connect. Default: 1 minute. */
  readonly bindTimeout?: Duration.Input | undefined
  /** Ports to listen on for BIND. Default: any. */
  readonly bindPorts?: PortRange.PortRange | undefined
}

/**
 * Tells the client where its peer is to connect to, and waits for that: the connection, which the scope closes. Ends when
 * the client does.
 */
export type Bind = (
  session: SessionState,
  dialect: Dialect,
  reader: MessageReader,
  address: Address.Address
) => Effect.Effect<Connection, RequestError | ConnectionError | Cause.Done, Scope.Scope>

/** Peers that may wait to be judged; further ones are closed. */
const maxWaiting = 8

type IsExpected = (peer: NetAddress.InetAddress) => Effect.Effect<boolean>

const hostPortOf = ({ address, port }: NetAddress.InetAddress) => Host.hostPortUnsafe(address, port)

const localOf = ({ client }: SessionState): NetAddress.IpAddress =>
  // Without an address the client is gone, and the reply will notice.
  client.local === undefined ? NetAddress.ipv4Loopback : NetAddress.toCanonical(client.local.address)

/** Where to wait: there where the peer sees connections of this client come from, if that is chosen here. */
const doorway = (
  sources: Sources | undefined,
  local: NetAddress.IpAddress,
  peer = local
): Effect.Effect<NetAddress.IpAddress, ListenError> => {
  // An address of the other family would be no use to the peer.
  const source = sources !== undefined
    ? sourceFor(sources, peer)
    : NetAddress.familyOf(peer) === NetAddress.familyOf(local)
    ? local
    : undefined
  return source === undefined
    ? Effect.fail(new ListenError({ address: NetAddress.inetAddressUnsafe(peer, 0), code: "EADDRNOTAVAIL" }))
    : Effect.succeed(source)
}

/**
 * Who is expected: an address, or those of a name; the port that somebody connects from is never known before. The policy
 * judges them as it would for CONNECT. With 0.0.0.0 (or ::) it is anybody whom the policy would let the client connect to.
 */
const expected = Effect.fnUntraced(function*(services: Services, session: SessionState, address: Address.Address) {
  const destination = yield* Effect.fromResult(Address.toHostPort(address))
  session.destination = destination
  const { dialer, policy, pools } = services
  // Behind other proxies the peer would see, and reach, the wrong machine.
  const goesElsewhere = (via: string | undefined) => pools.find(via ?? session.identity?.pool) !== undefined
  const local = localOf(session)
  if (typeof destination.host !== "string" && NetAddress.isUnspecified(destination.host)) {
    if (goesElsewhere(undefined)) return yield* Request.notServed(Request.bind)
    const anybody: IsExpected = (peer) => {
      const request = session.request(hostPortOf(peer))
      const judged = Effect.andThen(policy.authorize(request), () => policy.authorizeAddress(request, peer.address))
      return Effect.match(judged, {
        onFailure: ({ rule }) => {
          session.deniedBy = rule
          return false
        },
        onSuccess: constTrue
      })
    }
    const at = yield* doorway(dialer.sources?.(session.request(destination)), local)
    return { isExpected: anybody, at, grantedTo: hostPortOf }
  }
  const request = session.request(destination)
  const { addresses, verdict } = yield* Route.find(services, request)
  if (goesElsewhere(verdict.via)) return yield* Request.notServed(Request.bind)
  if (verdict.limits !== undefined) yield* session.lease.identify(session.who(verdict.limits))
  session.verdict = { ...session.verdict, ...verdict }
  const peers = addresses.map((ip) => NetAddress.toCanonical(ip))
  session.granted = { destination, address: peers.length === 1 ? peers[0] : undefined }
  const one: IsExpected = (peer) => Effect.succeed(peers.some((ip) => Equal.equals(ip, peer.address)))
  const sources = verdict.egress === undefined ? dialer.sources?.(request) : verdict.egress.choose(request)
  const sameFamily = peers.find((ip) => NetAddress.familyOf(ip) === NetAddress.familyOf(local))
  return { isExpected: one, at: yield* doorway(sources, local, sameFamily ?? peers[0]), grantedTo: () => destination }
})

export const make = (services: Services, options: Options): Bind => {
  const timeout = Duration.fromInputUnsafe(options.bindTimeout ?? "1 minute")
  const bindWithin = PortRange.make(options.bindPorts)

  return Effect.fnUntraced(function*(session, dialect, reader, address) {
    const { at, grantedTo, isExpected } = yield* expected(services, session, address)
    session.enter("bind")
    const held = new Set<Connection>()
    const arrived = yield* Queue.unbounded<Connection>()
    yield* Effect.addFinalizer(() => Effect.forEach(held, (peer) => peer.close, { discard: true }))
    const door: Accept = {
      admit: () => held.size < maxWaiting,
      accept: (peer) => {
        held.add(peer)
        Queue.offerUnsafe(arrived, peer)
      },
      // The peer may have gone for want of a descriptor, or not: the time limit is for both.
      failed: () => {}
    }

    /** The first whom the client expects; all others are sent away. */
    const welcome = Effect.gen(function*() {
      while (true) {
        const peer = yield* Queue.take(arrived)
        const remote = peer.remote && NetAddress.toCanonical(peer.remote)
        if (remote !== undefined && (yield* isExpected(remote))) {
          session.address = remote
          session.granted = { destination: grantedTo(remote), address: remote.address }
          return peer
        }
        held.delete(peer)
        yield* peer.reset
      }
    })

    const wait = Effect.gen(function*() {
      const listener = yield* bindWithin((port) =>
        services.transport.listen(NetAddress.inetAddressUnsafe(at, port), door, { exclusive: true })
      )
      yield* session.client.write(dialect.granted(Address.fromInetAddress(listener.address)))
      return yield* Effect.timeoutOrElse(Effect.raceFirst(welcome, reader.ahead), {
        duration: timeout,
        orElse: () => Effect.fail(new NobodyCame({ address: listener.address }))
      })
    })

    // Its scope closes the listener. Whoever else had come by then came too late.
    const peer = yield* Effect.scoped(wait)
    yield* Effect.forEach(held, (other) => other === peer ? Effect.void : other.reset, { discard: true })
    return peer
  })
}
