/** Datagrams that go through another proxy, each with its header: where they leave from is that proxy's matter. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import type * as Scope from "effect/Scope"
import * as UdpRelay from "../client/UdpRelay.ts"
import type { UpstreamError, Upstreams } from "../client/Upstreams.ts"
import { Datagrams } from "../transport/Datagrams.ts"
import { preferred } from "../transport/Resolver.ts"
import type { ListenError } from "../transport/Transport.ts"
import { headerEnd } from "./DatagramHeader.ts"
import type { Services } from "./DirectOutside.ts"
import type { Inside, Outside, Way } from "./Outside.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"

export type Associate = NonNullable<Upstreams["Service"]["associate"]>

/** An answer is passed on as it is: its header is the one that the client expects. */
const answered = (inside: Inside, datagram: Uint8Array): void => {
  const end = headerEnd(datagram)
  if (end === 0) return inside.dropped("malformed")
  if (datagram[2] !== 0) return inside.dropped("fragment")
  inside.answered([datagram], datagram.length - end)
}

/** Asks an upstream for an association of ours, which lasts as long as the scope or the upstream's connection. */
export const make = Effect.fnUntraced(function*(
  services: Services,
  associate: Associate,
  session: SessionState,
  inside: Inside
): Effect.fn.Return<Outside, UpstreamError | ListenError, Scope.Scope> {
  const relay = yield* associate({
    received: (datagram) => answered(inside, datagram),
    foreign: () => inside.dropped("unsolicited"),
    failed: () => inside.dropped("unsendable")
  }, { user: session.user, session: session.identity?.session }).pipe(
    Effect.provideService(Datagrams, services.datagrams)
  )
  session.address = relay.address

  const way = (destination: Host.HostPort): Way => {
    const header = UdpRelay.header(destination)
    return { usedAt: 0, send: (payload) => relay.send(header, payload), release: () => {} }
  }

  return {
    // As for CONNECT: what a name leads to is the proxy's to judge that looks it up.
    choose: (request) => {
      const { host, port } = request.destination
      return typeof host === "string" && relay.resolvesNames
        ? Effect.as(services.policy.authorize(request), way(request.destination))
        : Effect.map(
          Route.find(services, request),
          ({ addresses }) => way(Host.hostPortUnsafe(preferred(addresses), port))
        )
    },
    sweep: Effect.void,
    ended: relay.ended
  }
})
