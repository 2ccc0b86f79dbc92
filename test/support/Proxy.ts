/** The proxy inside the test's process, on real sockets, with every connection's record kept. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { ConnectionLog, type ConnectionRecord } from "../../src/server/ConnectionLog.ts"
import { Sessions } from "../../src/server/Sessions.ts"
import { type Options, SocksServer } from "../../src/server/SocksServer.ts"
import type * as ListenAddress from "../../src/transport/ListenAddress.ts"

export interface Proxy {
  readonly port: number
  readonly server: SocksServer["Service"]
  readonly sessions: Sessions["Service"]
  /** The records of connections that have ended, in that order. */
  readonly records: Array<ConnectionRecord>
}

type Services = Layer.Success<typeof SocksServer.defaults>

export interface ProxyOptions extends Partial<Omit<Options, "listen">> {
  /** Default: a free port of 127.0.0.1. */
  readonly listen?: string | ListenAddress.ListenAddress
  /** Services that replace the defaults. */
  readonly services?: Layer.Layer<never> | Layer.Layer<Services>
}

/** Starts one for the test's scope. It drains without waiting when the scope closes. */
export const proxy = Effect.fnUntraced(function*(options: ProxyOptions = {}) {
  const { listen = "127.0.0.1:0", services, ...rest } = options
  const records: Array<ConnectionRecord> = []
  const log = Layer.succeed(ConnectionLog, {
    ended: (record) =>
      Effect.sync(() => {
        records.push(record)
      })
  })
  const layer = SocksServer.layer({
    drainTimeout: 0,
    ...rest,
    listen: [typeof listen === "string" ? NetAddress.inetAddressFromStringUnsafe(listen) : listen]
  }).pipe(
    Layer.provide(services ?? Layer.empty),
    Layer.provide(log),
    Layer.provide(SocksServer.defaults)
  )
  const context = yield* Layer.build(layer)
  const server = Context.get(context, SocksServer)
  const result: Proxy = {
    server,
    sessions: Context.get(context, Sessions),
    records,
    port: server.addresses[0]?.port ?? 0
  }
  return result
})
