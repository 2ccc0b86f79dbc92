/** Proxies that do it wrong, and how one of the checks sees them. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Net from "node:net"
import * as ProxyUrl from "../../src/client/ProxyUrl.ts"
import type { Probing } from "../../src/probe/Check.ts"
import * as Ground from "../../src/probe/Ground.ts"
import type { Plan } from "../../src/probe/Plan.ts"
import * as Proxy from "../../src/probe/Proxy.ts"
import { Datagrams } from "../../src/transport/Datagrams.ts"
import * as NodeDatagrams from "../../src/transport/NodeDatagrams.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { Transport } from "../../src/transport/Transport.ts"
import { target } from "../support/Targets.ts"

export const loopback = NetAddress.ipv4Loopback

/** What a check gets that looks at the proxy on this port of 127.0.0.1. */
export const probing = Effect.fnUntraced(function*(
  url: string,
  { timeout = Duration.seconds(1), ...plan }: Partial<Plan> = {}
) {
  const parsed = Result.getOrThrow(ProxyUrl.parse(url))
  const services = yield* Layer.build(Layer.mergeAll(NodeTransport.layer(), NodeDatagrams.layer()))
  const proxy = Proxy.make({
    url: parsed,
    address: NetAddress.inetAddressUnsafe(loopback, parsed.address.port),
    transport: Context.get(services, Transport),
    datagrams: Context.get(services, Datagrams)
  })
  const ground = yield* Ground.make({ proxy: parsed, timeout, ...plan }, proxy)
  const probing: Probing = { proxy, ground, timeout }
  return { ...probing, targets: ground.targets ?? (yield* Effect.die(new Error("no targets"))) }
})

export interface Faults {
  /** The method that is taken. Default: 00 where it is offered, else ff. */
  readonly select?: (offered: Buffer) => number
  /** What becomes of a request. Default: CONNECT by IPv4 is served, and there is no answer to the others but the end. */
  readonly asked?: (request: Buffer, client: Net.Socket) => void
  /** What becomes of bytes on their way to the client. */
  readonly change?: (bytes: Buffer) => Buffer
  /** The target has ended. Default: so does the proxy. */
  readonly ended?: (client: Net.Socket) => void
}

const granted = Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])

const serve = (request: Buffer, client: Net.Socket, { change = (bytes) => bytes, ended }: Faults): void => {
  if (request[1] !== 1 || request[3] !== 1) return void client.end()
  const upstream = Net.connect({
    host: request.subarray(4, 8).join("."),
    port: request.readUInt16BE(8),
    allowHalfOpen: true,
    noDelay: true
  }, () => {
    client.write(granted)
    upstream.on("data", (bytes) => client.write(change(bytes)))
    upstream.once("end", () => ended === undefined ? client.end() : ended(client))
    client.pipe(upstream)
  })
  upstream.on("error", () => client.destroy())
  client.on("close", () => upstream.destroy())
}

/** A SOCKS5 proxy with faults: its URL, without credentials. */
export const socks5 = (faults: Faults = {}) => {
  const { select = (offered) => offered.includes(0) ? 0 : 0xff } = faults
  const { asked = (request, client) => serve(request, client, faults) } = faults
  return Effect.map(
    target((client) => {
      client.once("data", (greeting) => {
        const method = select(Buffer.from(greeting).subarray(2))
        if (method === 0xff) return void client.end(Buffer.from([5, method]))
        client.write(Buffer.from([5, method]))
        client.once("data", (request) => asked(Buffer.from(request), client))
      })
    }),
    ({ port }) => `socks5h://127.0.0.1:${port}`
  )
}

/** An HTTP proxy: what it says to the head of each request. */
export const http = (answer: (head: string, client: Net.Socket) => void) =>
  Effect.map(
    target((client) => client.once("data", (bytes) => answer(Buffer.from(bytes).toString("latin1"), client))),
    ({ port }) => `http://127.0.0.1:${port}`
  )

/** A host that needs no name. */
export const here = Host.hostFromStringUnsafe("127.0.0.1")
