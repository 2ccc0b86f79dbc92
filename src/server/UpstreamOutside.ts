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
import type { Inside, Outside, Way } from "./Outside.ts"
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
  datagrams: Datagrams["Service"],
  associate: Associate,
  session: SessionState,
  inside: Inside
): Effect.fn.Return<Outside, UpstreamError | ListenError, Scope.Scope> {
  const relay = yield* associate({
    received: (datagram) => answered(inside, datagram),
    foreign: () => inside.dropped("unsolicited"),
    failed: () => inside.dropped("unsendable")
  }, { user: session.user, session: session.identity?.session }).pipe(
    Effect.provideService(Datagrams, datagrams)
  )
  session.address = relay.address

  const way = (destination: Host.HostPort): Way => {
    const header = UdpRelay.header(destination)
    return { usedAt: 0, send: (payload) => relay.send(header, payload), release: () => {} }
  }

  return {
    way: ({ addresses }, { destination }) =>
      Effect.succeed(
        way(addresses === undefined ? destination : Host.hostPortUnsafe(preferred(addresses), destination.port))
      ),
    sweep: Effect.void,
    ended: relay.ended
  }
})
