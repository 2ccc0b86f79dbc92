/** Whether a configuration's addresses can be listened on here, without taking them from whoever may have them now. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Certificates from "../transport/Certificates.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { type Accept, ListenError, Transport } from "../transport/Transport.ts"
import * as UnixSocket from "../transport/UnixSocket.ts"

/** Takes nobody. */
const nobody: Accept = { admit: () => false, accept: () => {}, failed: () => {} }

/** On any free port: who serves already has the other one. */
const bind = Effect.fnUntraced(function*({ address }: NetAddress.InetAddress) {
  const { listen } = yield* Transport
  yield* listen(NetAddress.inetAddressUnsafe(address, 0), nobody)
}, Effect.scoped)

const attempt = Effect.fnUntraced(
  function*(address: ListenAddress.ListenAddress): Effect.fn.Return<void, ListenError, Transport> {
    if (address._tag === "Unix") {
      return yield* Effect.mapError(UnixSocket.attempt(address.path), (code) => new ListenError({ address, code }))
    }
    if (address._tag === "Tls") {
      yield* Effect.mapError(
        Certificates.make(address),
        (problem) => new ListenError({ address, code: "ECERT", problem })
      )
    }
    const inet = ListenAddress.inetOf(address)
    if (inet === undefined) return
    yield* Effect.mapError(bind(inet), ({ code }) => new ListenError({ address, code }))
  }
)

/** What would be refused, each with its place among the addresses. */
export const refused = Effect.fn("ListenTrial.refused")(function*(
  listen: ReadonlyArray<ListenAddress.ListenAddress>
) {
  const results = yield* Effect.forEach(listen, (address, index) =>
    Effect.match(attempt(address), {
      onFailure: (error) => [{ error, index }],
      onSuccess: () => []
    }))
  return results.flat()
}, Effect.provide(NodeTransport.layer()))
