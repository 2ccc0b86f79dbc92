/** A DNS server on loopback (UDP) that answers as it is told, and counts what it is asked. */
import * as Packet from "dns-packet"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Dgram from "node:dgram"
import { fileURLToPath } from "node:url"
import * as DnsResolver from "../../src/transport/DnsResolver.ts"
import { Resolver } from "../../src/transport/Resolver.ts"

/** What is asked for; `PTR` of the reverse form of an address. */
export type Family = "A" | "AAAA" | "PTR"

/** How one question is answered. */
export interface Reply {
  readonly rcode: number
  readonly answers: ReadonlyArray<Packet.StringAnswer>
  /** At once, never, when `release` is called, or after so many milliseconds. */
  readonly when: "now" | "never" | "released" | number
}

const reply = (answers: ReadonlyArray<Packet.StringAnswer>, rcode = 0): Reply => ({ rcode, answers, when: "now" })

/** Addresses. `owner` is the name that has them: the one asked for when empty. */
export const records = (addresses: ReadonlyArray<string>, ttl = 60, owner = ""): Reply =>
  reply(addresses.map((data) => ({ type: data.includes(":") ? "AAAA" : "A", name: owner, ttl, data })))

/** The names of an address. */
export const names = (...names: ReadonlyArray<string>): Reply =>
  reply(names.map((data) => ({ type: "PTR", name: "", ttl: 60, data })))

/** Addresses behind a chain of aliases; every alias has `cnameTtl`, the addresses have 60 seconds. */
export const alias = (chain: ReadonlyArray<string>, addresses: ReadonlyArray<string>, cnameTtl: number): Reply =>
  reply([
    ...chain.map((data, index) => ({ type: "CNAME" as const, name: chain[index - 1] ?? "", ttl: cnameTtl, data })),
    ...records(addresses, 60, chain.at(-1)).answers
  ])

export const noData = reply([])
export const serverFailure = reply([], 2)
export const nameError = reply([], 3)
export const refused = reply([], 5)
export const silent: Reply = { ...noData, when: "never" }
export const held = (self: Reply): Reply => ({ ...self, when: "released" })
export const delayed = (self: Reply, milliseconds: number): Reply => ({ ...self, when: milliseconds })

export interface DnsServer {
  readonly address: NetAddress.InetAddress
  /** Sets the answers of a name; an absent one has no data. Names that were never set do not exist. */
  readonly set: (name: string, replies: Partial<Record<Family, Reply>>) => void
  /** Sends the held answers of a name, and no longer holds back new ones. */
  readonly release: (name: string) => void
  /** How often a name was asked for, in one family or in all. */
  readonly count: (name: string, family?: Family) => number
  /** Waits until a name has been asked for so often. */
  readonly asked: (name: string, times: number) => Effect.Effect<void>
  /** The names asked for, in order of their first question. */
  readonly names: () => ReadonlyArray<string>
  /** The source ports of the questions. */
  readonly ports: () => ReadonlySet<number>
}

const isFamily = (type: string): type is Family => type === "A" || type === "AAAA" || type === "PTR"

const nothing: Record<Family, number> = { A: 0, AAAA: 0, PTR: 0 }

const encode = (query: Packet.Packet, { answers, rcode }: Reply): Buffer => {
  const name = query.questions?.[0]?.name ?? "."
  return Packet.encode({
    type: "response",
    id: query.id ?? 0,
    flags: Packet.RECURSION_DESIRED | Packet.RECURSION_AVAILABLE | rcode,
    questions: query.questions ?? [],
    answers: answers.map((answer) => ({ ...answer, name: answer.name === "" ? name : answer.name }))
  })
}

const start = (socket: Dgram.Socket): DnsServer => {
  const zone = new Map<string, Partial<Record<Family, Reply>>>()
  const counts = new Map<string, Record<Family, number>>()
  const waiting = new Map<string, Array<() => void>>()
  const released = new Set<string>()
  const ports = new Set<number>()
  const timers = new Set<NodeJS.Timeout>()
  let watchers: Array<() => void> = []
  socket.once("close", () => timers.forEach(clearTimeout))

  const count = (name: string, family?: Family): number => {
    const counted = counts.get(name) ?? nothing
    return family === undefined ? counted.A + counted.AAAA + counted.PTR : counted[family]
  }

  socket.on("message", (message, peer) => {
    const query = Packet.decode(message)
    const question = query.questions?.[0]
    if (question === undefined || !isFamily(question.type)) return
    const name = question.name.toLowerCase()
    const counted = counts.get(name) ?? nothing
    counts.set(name, { ...counted, [question.type]: counted[question.type] + 1 })
    ports.add(peer.port)
    const replies = zone.get(name)
    const chosen = replies === undefined ? nameError : replies[question.type] ?? noData
    const send = () => socket.send(encode(query, chosen), peer.port, peer.address)
    if (chosen.when === "now" || (chosen.when === "released" && released.has(name))) send()
    else if (chosen.when === "released") waiting.set(name, [...waiting.get(name) ?? [], send])
    else if (chosen.when !== "never") timers.add(setTimeout(send, chosen.when))
    watchers.forEach((watch) => watch())
  })

  return {
    address: NetAddress.inetAddressFromIpStringUnsafe("127.0.0.1", socket.address().port),
    set: (name, replies) => {
      zone.set(name, replies)
    },
    release: (name) => {
      released.add(name)
      waiting.get(name)?.forEach((send) => send())
      waiting.delete(name)
    },
    count,
    asked: (name, times) =>
      Effect.callback((resume) => {
        const stop = () => {
          watchers = watchers.filter((other) => other !== watch)
        }
        const watch = () => {
          if (count(name) < times) return
          stop()
          resume(Effect.void)
        }
        watchers.push(watch)
        watch()
        return Effect.sync(stop)
      }),
    names: () => [...counts.keys()],
    ports: () => ports
  }
}

/** Listens on a free port of 127.0.0.1 until the scope closes. */
export const make = Effect.acquireRelease(
  Effect.callback<Dgram.Socket>((resume) => {
    const socket = Dgram.createSocket("udp4")
    socket.once("error", (error) => resume(Effect.die(error)))
    socket.bind(0, "127.0.0.1", () => resume(Effect.succeed(socket)))
  }),
  (socket) => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void)))
).pipe(Effect.map(start))

/** So patient that a slow machine does not make it ask twice: questions are counted. */
const resolvConf = fileURLToPath(new URL("resolv.conf", import.meta.url))

/** The real resolver, set to ask this server and to read no file of this machine. */
export const resolver = (dns: DnsServer, options: DnsResolver.Options = {}): Layer.Layer<Resolver> =>
  DnsResolver.layer({ servers: [dns.address], hostsFile: "/nonexistent", resolvConf, ...options })

/** A server, and the resolver that asks it. `resolve` takes and gives texts. */
export const withResolver = Effect.fnUntraced(function*(options: DnsResolver.Options = {}) {
  const dns = yield* make
  const service = Context.get(yield* Layer.build(resolver(dns, options)), Resolver)
  const resolve = (name: string) =>
    Effect.map(
      service.resolve(Host.domainNameFromStringUnsafe(name)),
      (addresses) => addresses.map(NetAddress.formatIp)
    )
  return { dns, resolve }
})
