/** Servers of our own for the proxy to reach. They serve only while the probe runs, and nothing but bytes that they got. */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as NetAddress from "effect/net/NetAddress"
import type { Connection, ConnectionError } from "../transport/Connection.ts"
import type { Datagrams, DatagramSocket } from "../transport/Datagrams.ts"
import type { Transport } from "../transport/Transport.ts"

/** A server that listens on the same port of all addresses. */
export interface Target {
  readonly port: number
  /** Who came, in that order. */
  readonly seen: Array<NetAddress.InetAddress | undefined>
}

export interface Targets {
  /** Where the proxy reaches us; one of each family at most. */
  readonly addresses: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>
  /** Sends back what it gets, at once. */
  readonly echo: Target
  /** Sends back what it got, once the client has ended. `ends` is how often one has. */
  readonly late: Target & { readonly ends: () => number }
  /** Sends without end. */
  readonly source: Target
  /** Answers any HTTP request with one page. `head` is that of the last one. */
  readonly web: Target & { readonly head: () => string }
  /** Takes without end. `bytes` is what it has taken so far. */
  readonly sink: Target & { readonly bytes: () => number }
  /** Sends datagrams back, at the first of the addresses: its port. */
  readonly datagrams: number | undefined
}

interface Services {
  readonly transport: Transport["Service"]
  readonly datagrams: Datagrams["Service"]
}

/** Whoever resets is no trouble of ours: the check sees it at its own end. */
type Serve = (connection: Connection) => Effect.Effect<unknown, ConnectionError>

const each = (connection: Connection, use: (bytes: Uint8Array) => Effect.Effect<void, ConnectionError>) =>
  Effect.forever(Effect.flatMap(connection.pull, ([bytes]) => use(bytes))).pipe(
    Effect.catchIf((error) => error._tag === "Done", () => Effect.void)
  )

/** What the web target has to say. */
export const page = "a page of the probe"

const response = new TextEncoder().encode(
  `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${page.length}\r\nConnection: close\r\n\r\n${page}`
)

const portion = new Uint8Array(65_536)

/** Enough for the bytes of a check, and for the head of a request; what would be more is not kept. */
const mostKept = 65_536

export const make = Effect.fnUntraced(function*(
  { datagrams, transport }: Services,
  hosts: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>
) {
  const run = yield* FiberSet.makeRuntime<never>()

  const listen = Effect.fnUntraced(function*(host: NetAddress.IpAddress, port: number, target: Target, serve: Serve) {
    const accept = (connection: Connection) => {
      target.seen.push(connection.remote)
      run(Effect.ensuring(Effect.ignore(serve(connection)), connection.close))
    }
    const listener = yield* transport.listen(
      NetAddress.inetAddressUnsafe(host, port),
      { admit: () => true, accept, failed: () => {} },
      { ipv6Only: true }
    )
    return listener.address.port
  })

  /** A further address that can't be had is left out: a machine may be without IPv6. */
  const serveAll = Effect.fnUntraced(function*(serve: Serve) {
    const seen: Target["seen"] = []
    const target: Target = { port: 0, seen }
    const port = yield* listen(hosts[0], 0, target, serve)
    const others = yield* Effect.filter(
      hosts.slice(1),
      (host) => Effect.isSuccess(listen(host, port, target, serve))
    )
    return { port, seen, others }
  })

  let ends = 0
  let bytes = 0
  let head = ""
  const echo = yield* serveAll((connection) =>
    Effect.andThen(each(connection, (bytes) => connection.write(bytes)), connection.end)
  )
  const late = yield* serveAll((connection) => {
    const kept: Array<Buffer> = []
    let size = 0
    return each(connection, (bytes) =>
      Effect.sync(() => {
        size += bytes.length
        if (size <= mostKept) kept.push(Buffer.from(bytes))
      })).pipe(
        Effect.tap(() => Effect.sync(() => ends++)),
        Effect.andThen(Effect.suspend(() => connection.write(Buffer.concat(kept)))),
        Effect.andThen(connection.end)
      )
  })
  const web = yield* serveAll((connection) => {
    let text = ""
    return each(connection, (bytes) =>
      Effect.suspend(() => {
        if (text.length <= mostKept) text += Buffer.from(bytes).toString("latin1")
        if (!text.includes("\r\n\r\n")) return Effect.void
        head = text
        text = ""
        return Effect.andThen(connection.write(response), connection.end)
      }))
  })
  const source = yield* serveAll((connection) => Effect.forever(connection.write(portion)))
  const sink = yield* serveAll((connection) =>
    each(connection, (taken) =>
      Effect.sync(() => {
        bytes += taken.length
      }))
  )
  // It is wanted before the socket is there; nothing comes before it is known.
  let socket: DatagramSocket | undefined
  socket = yield* Effect.orElseSucceed(
    datagrams.bind(NetAddress.inetAddressUnsafe(hosts[0], 0), {
      received: (bytes, host, port) => void socket?.send([bytes], host, port),
      failed: () => {}
    }),
    () => undefined
  )

  const targets: Targets = {
    addresses: [hosts[0], ...echo.others],
    echo,
    late: { ...late, ends: () => ends },
    source,
    web: { ...web, head: () => head },
    sink: { ...sink, bytes: () => bytes },
    datagrams: socket?.local.port
  }
  return targets
})

/** Listens on all addresses of the family; others reach that by one which is not this machine's. */
export const makeAt = (services: Services, address: NetAddress.IpAddress) => {
  const { ipv4Unspecified, ipv6Unspecified } = NetAddress
  return Effect.map(
    make(services, [NetAddress.isIpv4Address(address) ? ipv4Unspecified : ipv6Unspecified]),
    (targets): Targets => ({ ...targets, addresses: [address] })
  )
}
