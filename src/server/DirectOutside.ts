/** Datagrams that leave from this machine: a socket for each address that they leave from, opened when it is first needed. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { AccessRequest } from "../policy/AccessPolicy.ts"
import * as Address from "../protocol/Address.ts"
import * as UdpHeader from "../protocol/UdpHeader.ts"
import type { Datagrams, DatagramSocket, Receiver } from "../transport/Datagrams.ts"
import type { Dialer } from "../transport/Dialer.ts"
import { type Egress, sourceFor, type Sources } from "../transport/Egress.ts"
import { preferred } from "../transport/Resolver.ts"
import { ListenError } from "../transport/Transport.ts"
import type { Inside, Outside, Way } from "./Outside.ts"

export interface Services {
  readonly datagrams: Datagrams["Service"]
  readonly dialer: Dialer["Service"]
}

/** An address that the client sends to: from there it may be answered, from any port. */
interface Source {
  /** The header of what came from there last, and its port. */
  header: Uint8Array
  port: number
  /** When the last datagram went there, or came from there. */
  usedAt: number
  ways: number
}

/** A socket of ours, and how many destinations are reached from it. */
interface Port {
  readonly socket: DatagramSocket
  readonly scope: Scope.Closeable
  ways: number
}

class Direct implements Outside {
  readonly ended = Effect.never
  private readonly services: Services
  private readonly scope: Scope.Scope
  private readonly inside: Inside
  private readonly sources = new Map<string, Source>()
  private readonly ports = new Map<string, Port>()
  /** Where this association leaves from, chosen once: by those whom it talks to it is known by its address. */
  private readonly chosen = new Map<Egress | undefined, Sources | undefined>()
  private readonly opening = Semaphore.makeUnsafe(1)

  constructor(services: Services, scope: Scope.Scope, inside: Inside) {
    this.services = services
    this.scope = scope
    this.inside = inside
  }

  private readonly receiver: Receiver = {
    received: (bytes, host, port) => this.received(bytes, host, port),
    failed: () => this.inside.dropped("unsendable")
  }

  private received(bytes: Uint8Array, host: string, port: number): void {
    const source = this.sources.get(host)
    if (source === undefined) return this.inside.dropped("unsolicited")
    if (port !== source.port) {
      // A copy: the old one may wait in a queue.
      const header = source.header = source.header.slice()
      header[header.length - 2] = port >> 8
      header[header.length - 1] = port & 0xff
      source.port = port
    }
    source.usedAt = this.inside.now()
    this.inside.answered([source.header, bytes], bytes.length)
  }

  /** Of several addresses, IPv4 works in more places. */
  readonly way: Outside["way"] = ({ addresses, upstreams, verdict }, request) => {
    // Past the upstreams nothing shall leave.
    if (upstreams !== undefined) return Effect.die(new Error("these datagrams are for upstreams"))
    const address = preferred(addresses)
    const sources = this.sourcesFor(request, verdict.egress ?? request.egress)
    const source = sources === undefined
      ? NetAddress.isIpv4Address(address) ? NetAddress.ipv4Unspecified : NetAddress.ipv6Unspecified
      : sourceFor(sources, address)
    return source === undefined
      ? Effect.fail(new ListenError({ address: NetAddress.inetAddressUnsafe(address, 0), code: "EADDRNOTAVAIL" }))
      : Effect.map(this.open(source), (port) => this.wayFrom(port, address, request.destination.port))
  }

  private sourcesFor(request: AccessRequest, egress: Egress | undefined): Sources | undefined {
    if (!this.chosen.has(egress)) {
      this.chosen.set(egress, egress === undefined ? this.services.dialer.sources?.(request) : egress.choose(request))
    }
    return this.chosen.get(egress)
  }

  private wayFrom(from: Port, address: NetAddress.IpAddress, port: number): Way {
    const host = NetAddress.formatIp(address)
    const source = this.sources.get(host) ?? {
      header: UdpHeader.codec.encode({
        fragment: 0,
        address: Address.fromInetAddress(NetAddress.inetAddressUnsafe(address, port))
      }),
      port,
      usedAt: this.inside.now(),
      ways: 0
    }
    source.ways++
    this.sources.set(host, source)
    from.ways++
    const { socket } = from
    return {
      get usedAt() {
        return source.usedAt
      },
      send: (payload, now) => {
        source.usedAt = now
        return socket.send([payload], host, port)
      },
      release: () => {
        from.ways--
        if (--source.ways === 0) this.sources.delete(host)
      }
    }
  }

  private open(source: NetAddress.IpAddress): Effect.Effect<Port, ListenError> {
    const name = NetAddress.formatIp(source)
    const bind = Effect.fnUntraced({ self: this }, function*(this: Direct) {
      const scope = yield* Scope.fork(this.scope)
      const socket = yield* this.services.datagrams.bind(NetAddress.inetAddressUnsafe(source, 0), this.receiver).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
      const port: Port = { scope, socket, ways: 0 }
      this.ports.set(name, port)
      return port
    })
    return this.opening.withPermit(Effect.suspend(() => {
      const open = this.ports.get(name)
      return open === undefined ? bind() : Effect.succeed(open)
    }))
  }

  readonly sweep: Effect.Effect<void> = Effect.suspend(() =>
    Effect.forEach([...this.ports], ([name, { scope, ways }]) => {
      if (ways > 0) return Effect.void
      this.ports.delete(name)
      return Scope.close(scope, Exit.void)
    }, { discard: true })
  )
}

/** Its sockets are closed with the scope. */
export const make = (services: Services, inside: Inside): Effect.Effect<Outside, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => new Direct(services, scope, inside))
