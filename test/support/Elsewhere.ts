/** Clients from another machine: sockets of loopback whose far end has an address of the Internet. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import type { Connection } from "../../src/transport/Connection.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { Transport } from "../../src/transport/Transport.ts"

/** Where every client comes from. */
export const address = "203.0.113.7"

const from = (connection: Connection): Connection => ({
  get local() {
    return connection.local
  },
  remote: NetAddress.inetAddressFromIpStringUnsafe(address, connection.remote?.port ?? 0),
  get failure() {
    return connection.failure
  },
  get watcher() {
    return connection.watcher
  },
  set watcher(watcher) {
    connection.watcher = watcher
  },
  get unsent() {
    return connection.unsent
  },
  pull: connection.pull,
  write: (bytes) => connection.write(bytes),
  send: (bytes) => connection.send(bytes),
  get onward() {
    return connection.onward
  },
  set onward(onward) {
    connection.onward = onward
  },
  end: connection.end,
  close: connection.close,
  reset: connection.reset
})

/** Node's transport, but for the clients' address. */
export const layer: Layer.Layer<Transport> = Layer.effect(
  Transport,
  Effect.map(Transport, ({ connect, listen }) => ({
    connect,
    listen: (address, accept) => listen(address, { ...accept, accept: (connection) => accept.accept(from(connection)) })
  }))
).pipe(Layer.provide(NodeTransport.layer()))
