/** Datagrams on loopback, and what speaks UDP ASSOCIATE in bytes. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Dgram from "node:dgram"
import { readFileSync } from "node:fs"
import { within } from "./Polling.ts"
import { ClientError, connect, G0, G2, hex, port16, readReply } from "./RawClient.ts"

export interface Received {
  readonly bytes: Buffer
  readonly host: string
  readonly port: number
}

export interface Udp {
  readonly port: number
  readonly socket: Dgram.Socket
  /** All that came, but what `next` took. */
  readonly received: Array<Received>
  readonly send: (bytes: Uint8Array, to: { readonly host?: string; readonly port: number }) => Effect.Effect<void>
  /** The next datagram; fails when none comes within 2 seconds. */
  readonly next: Effect.Effect<Received, ClientError>
}

/** A socket for the scope, on a free port unless one is given. `handler` is told of each datagram. */
export const udp = (host = "127.0.0.1", handler?: (received: Received, socket: Dgram.Socket) => void, port = 0) =>
  Effect.acquireRelease(
    Effect.callback<Udp>((resume) => {
      const socket = Dgram.createSocket(host.includes(":") ? "udp6" : "udp4")
      const received: Array<Received> = []
      socket.on("message", (bytes, { address, port }) => {
        received.push({ bytes, host: address, port })
        handler?.({ bytes, host: address, port }, socket)
      })
      socket.once("error", (error) => resume(Effect.die(error)))
      socket.bind(port, host, () =>
        resume(Effect.succeed({
          port: socket.address().port,
          socket,
          received,
          send: (bytes, to) =>
            Effect.callback((resume) => {
              socket.send(
                bytes,
                to.port,
                to.host ?? host,
                (error) => resume(error === null ? Effect.void : Effect.die(error))
              )
            }),
          next: Effect.suspend(() =>
            Effect.flatMap(within(Effect.sync(() => received.length > 0), "2 seconds"), () => {
              const first = received.shift()
              return first === undefined ? Effect.fail(new ClientError({ code: "no datagram" })) : Effect.succeed(first)
            })
          )
        })))
    }),
    ({ socket }) => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void)))
  )

/** Sends every datagram back, and remembers them. */
export const udpEcho = (host?: string) => udp(host, ({ bytes, host, port }, socket) => socket.send(bytes, port, host))

/** The notation of the field reports: headers with data behind them. */
export const U4 = (port: number, data: Uint8Array | string, ip: ReadonlyArray<number> = [127, 0, 0, 1], fragment = 0) =>
  Buffer.concat([Buffer.from([0, 0, fragment, 1, ...ip]), port16(port), Buffer.from(data)])
export const U6 = (port: number, data: Uint8Array | string, ip: Uint8Array) =>
  Buffer.concat([hex("00 00 00 04"), ip, port16(port), Buffer.from(data)])
export const UD = (name: string, port: number, data: Uint8Array | string) =>
  Buffer.concat([hex("00 00 00 03"), Buffer.from([name.length]), Buffer.from(name), port16(port), Buffer.from(data)])

/** UDP ASSOCIATE from an address that the client doesn't know, in both forms. */
export const UA = hex("05 03 00 01 00000000 0000")
export const UA6 = hex(`05 03 00 04 ${"00".repeat(18)}`)

/** Asks for an association; fails unless the proxy says yes. `relay` is where the datagrams go. */
export const associate = Effect.fnUntraced(function*(
  proxyPort: number,
  options: {
    readonly request?: Uint8Array
    readonly login?: Uint8Array
    readonly host?: string
    readonly localAddress?: string
  } = {}
) {
  const { login, request = UA, ...from } = options
  const client = yield* connect(proxyPort, from)
  yield* login === undefined ? client.send(G0, request) : client.send(G2, login, request)
  yield* client.read(login === undefined ? 2 : 4)
  const reply = yield* readReply(client)
  if (reply[1] !== 0) return yield* new ClientError({ code: `REP ${reply[1]}` })
  const ip = reply[3] === 1
    ? NetAddress.ipv4FromBytesUnsafe(reply.subarray(4, 8))
    : NetAddress.ipv6FromBytesUnsafe(reply.subarray(4, 20))
  return { client, reply, relay: { host: NetAddress.formatIp(ip), port: reply.readUInt16BE(reply.length - 2) } }
})

/** An association, and a socket of the client's to use it with. */
export const associated = Effect.fnUntraced(function*(proxyPort: number, options?: Parameters<typeof associate>[1]) {
  const { client, relay } = yield* associate(proxyPort, options)
  const socket = yield* udp(options?.localAddress)
  /** Sends one datagram, and gives what comes back first. */
  const exchange = (bytes: Uint8Array) => Effect.andThen(socket.send(bytes, relay), socket.next)
  return { client, relay, socket, exchange, send: (bytes: Uint8Array) => socket.send(bytes, relay) }
})

/** The first of some free ports of 127.0.0.1 that follow each other. */
export const consecutive = (count: number): Effect.Effect<number> =>
  Effect.scoped(Effect.gen(function*() {
    const first = (yield* udp()).port
    for (let next = 1; next < count; next++) yield* udp("127.0.0.1", undefined, first + next)
    return first
  })).pipe(
    // Somebody has one of them: try elsewhere.
    Effect.catchDefect((defect) => Effect.fail(defect)),
    Effect.retry({ times: 100 }),
    Effect.orDie
  )

/** The ports of all UDP sockets of this machine that are bound: `/proc/net/udp`. */
export const boundPorts = Effect.sync(() =>
  new Set(
    ["/proc/net/udp", "/proc/net/udp6"].flatMap((path) =>
      readFileSync(path, "utf8").split("\n").slice(1).flatMap((line) => {
        const port = /^\s*\d+: [\dA-F]+:([\dA-F]{4}) /.exec(line)?.[1]
        return port === undefined ? [] : [Number.parseInt(port, 16)]
      })
    )
  )
)
