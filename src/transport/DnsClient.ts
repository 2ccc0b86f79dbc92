/**
 * One name, both address families, one answer: a query for A and one for AAAA at the same time, by c-ares
 * (`node:dns`), which needs no thread.
 *
 * Each question gets a c-ares channel of its own. That costs 20 microseconds, and buys a fresh source port
 * (RFC 5452 section 9.2), a `cancel` that stops this question and no other one, and no descriptor left
 * behind when it is done.
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Dns from "node:dns"
import * as Url from "node:url"
import { ResolveError } from "./Resolver.ts"

/** How long a family with no answer yet may still come in after the other one has (RFC 8305 section 3). */
export const resolutionDelay = Duration.millis(50)

/** Addresses kept of each family: a name with thousands of them must not fill the cache's memory. */
const maxAddresses = 32

/** The addresses of a name. */
export interface DnsAnswer {
  /** IPv6 first, then IPv4; within a family in the server's order. */
  readonly addresses: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>
  /** The smallest TTL of the records, CNAMEs included, in seconds. */
  readonly ttl: number
  /** `false` when the other family failed or came too late, so that asking again may give more. */
  readonly complete: boolean
}

/** Whom to ask, and how patiently. */
export interface Servers {
  /** `HOST:PORT`; when empty, c-ares takes the system's. */
  readonly addresses: ReadonlyArray<string>
  /** Milliseconds until the next server is asked, or the same one again; doubled in each round. */
  readonly tryTimeout: number
  /** Rounds. */
  readonly tries: number
}

/** Asks about an absolute name. Interruption cancels the queries at once. */
type Ask<A> = (name: Host.DomainName, servers: Servers) => Effect.Effect<A, ResolveError>

export interface DnsClient {
  /** Asks for its addresses. */
  readonly ask: Ask<DnsAnswer>
  /** Asks for the names that it stands for (PTR); those that can't be names of hosts are left out. */
  readonly askPointer: Ask<Arr.NonEmptyReadonlyArray<Host.DomainName>>
}

/** What one question comes to, from the servers of a channel. */
type Question<A> = (channel: Dns.Resolver, name: Host.DomainName) => Effect.Effect<A, ResolveError>

/** What one family's query came to: addresses, or the code of why there is none. */
interface FamilyAnswer {
  readonly addresses: ReadonlyArray<NetAddress.IpAddress>
  readonly ttl: number
  readonly code: string
}

const without = (code: string): FamilyAnswer => ({ addresses: [], ttl: Infinity, code })

const reasonOf = (code: string): ResolveError["reason"] =>
  code === Dns.NOTFOUND || code === Dns.NODATA || code === Dns.BADNAME
    ? "NotFound"
    : code === Dns.TIMEOUT
    ? "TimedOut"
    : "Failed"

/** Node 20 asks for the root in place of a name whose Punycode is invalid, and takes the answer for the name's. */
const isBadPunycode = (name: string): boolean => name.includes("xn--") && Url.domainToASCII(name) === ""

const severity = { NotFound: 0, TimedOut: 1, Failed: 2 } as const

const fromRecords = (
  error: NodeJS.ErrnoException | null,
  records: ReadonlyArray<Dns.RecordWithTtl> | undefined
): FamilyAnswer => {
  if (error !== null) return without(error.code ?? Dns.BADRESP)
  if (records === undefined || records.length === 0) return without(Dns.NODATA)
  return {
    addresses: records.slice(0, maxAddresses).map(({ address }) => NetAddress.ipFromStringUnsafe(address)),
    // RFC 2181 section 8: a TTL with the top bit set, which arrives here as a negative number, means 0.
    ttl: Math.max(0, Math.min(...records.map(({ ttl }) => ttl))),
    code: ""
  }
}

const query = (channel: Dns.Resolver, method: "resolve4" | "resolve6", name: string): Effect.Effect<FamilyAnswer> =>
  Effect.callback((resume) => {
    channel[method](name, { ttl: true }, (error, records) => resume(Effect.succeed(fromRecords(error, records))))
    return Effect.sync(() => channel.cancel())
  })

const combine = (
  name: Host.DomainName,
  v6: FamilyAnswer,
  v4: FamilyAnswer
): Effect.Effect<DnsAnswer, ResolveError> => {
  const addresses = [...v6.addresses, ...v4.addresses]
  const families = [v6, v4]
  if (Arr.isReadonlyArrayNonEmpty(addresses)) {
    return Effect.succeed({
      addresses,
      ttl: Math.min(v6.ttl, v4.ttl),
      complete: families.every((family) => family.addresses.length > 0 || reasonOf(family.code) === "NotFound")
    })
  }
  const { code } = severity[reasonOf(v6.code)] > severity[reasonOf(v4.code)] ? v6 : v4
  return Effect.fail(new ResolveError({ reason: reasonOf(code), name, code }))
}

/** Both families at once. As soon as one has addresses, the other has `resolutionDelay` left. */
const askBoth = Effect.fnUntraced(function*(channel: Dns.Resolver, name: Host.DomainName) {
  const found = yield* Deferred.make<void>()
  const tooLate = Deferred.await(found).pipe(
    Effect.andThen(Effect.sleep(resolutionDelay)),
    Effect.as(without(Dns.TIMEOUT))
  )
  const family = (method: "resolve4" | "resolve6") =>
    query(channel, method, name).pipe(
      Effect.tap(({ addresses }) => addresses.length > 0 ? Deferred.succeed(found, undefined) : Effect.void),
      Effect.raceFirst(tooLate)
    )
  const [v6, v4] = yield* Effect.all([family("resolve6"), family("resolve4")], { concurrency: 2 })
  return yield* combine(name, v6, v4)
})

const pointer = (channel: Dns.Resolver, name: Host.DomainName) =>
  Effect.callback<Arr.NonEmptyReadonlyArray<Host.DomainName>, ResolveError>((resume) => {
    const fail = (code: string) => resume(Effect.fail(new ResolveError({ reason: reasonOf(code), name, code })))
    channel.resolvePtr(name, (error, names) => {
      if (error !== null) return fail(error.code ?? Dns.BADRESP)
      const hosts = names.flatMap((text) => {
        const host = Result.getOrUndefined(Host.domainNameFromString(text))
        return host === undefined || host === "." ? [] : [host]
      })
      return Arr.isReadonlyArrayNonEmpty(hosts) ? resume(Effect.succeed(hosts)) : fail(Dns.NODATA)
    })
    return Effect.sync(() => channel.cancel())
  })

/** The servers beginning with the `first`-th one. */
const rotate = (addresses: ReadonlyArray<string>, first: number): ReadonlyArray<string> => {
  const start = addresses.length === 0 ? 0 : first % addresses.length
  return [...addresses.slice(start), ...addresses.slice(0, start)]
}

/** A client. Closing its scope cancels what is still in flight, which then fails with `ECANCELLED`. */
export const make = Effect.gen(function*() {
  const channels = new Set<Dns.Resolver>()
  let closed = false
  // Which server to begin with: one that kept a question waiting goes to the back for the next ones.
  let first = 0

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      for (const channel of channels) channel.cancel()
    })
  )

  const askServers = <A>(
    question: Question<A>,
    name: Host.DomainName,
    addresses: ReadonlyArray<string>,
    { tries, tryTimeout }: Servers
  ): Effect.Effect<A, ResolveError> =>
    Effect.suspend(() => {
      if (closed) return Effect.fail(new ResolveError({ reason: "Failed", name, code: Dns.CANCELLED }))
      const channel = new Dns.Resolver({ timeout: tryTimeout, tries })
      if (addresses.length > 0) channel.setServers(addresses)
      channels.add(channel)
      return Effect.ensuring(question(channel, name), Effect.sync(() => channels.delete(channel)))
    })

  const asking = <A>(question: Question<A>): Ask<A> =>
    Effect.fnUntraced(function*(name, servers) {
      if (isBadPunycode(name)) return yield* new ResolveError({ reason: "NotFound", name, code: Dns.BADNAME })
      const startedAt = yield* Clock.currentTimeMillis
      const startedWith = first
      const noteDelay = Effect.map(Clock.currentTimeMillis, (now) => {
        if (now - startedAt >= servers.tryTimeout && first === startedWith) first++
      })
      const askFrom = (addresses: ReadonlyArray<string>): Effect.Effect<A, ResolveError> =>
        askServers(question, name, addresses, servers).pipe(
          // c-ares goes to the next server when one is silent, but takes its SERVFAIL for an answer.
          Effect.catch((error) =>
            error.reason === "Failed" && addresses.length > 1 ? askFrom(addresses.slice(1)) : Effect.fail(error)
          )
        )
      return yield* Effect.ensuring(askFrom(rotate(servers.addresses, startedWith)), noteDelay)
    })

  const client: DnsClient = { ask: asking(askBoth), askPointer: asking(pointer) }
  return client
})
