/**
 * The resolver that ships. A name is looked for where users expect it (`hosts: files dns`):
 *
 * 1. the hosts file;
 * 2. `localhost` and all below it are the loopback addresses, whatever the servers say (RFC 6761 section 6.3);
 * 3. DNS, through the search list of `resolv.conf` and a cache.
 *
 * The name of an address comes from the hosts file, from the loopback networks, and from DNS (PTR), each time anew.
 *
 * No step uses the thread pool, so that slow names delay neither other names nor files. The result has
 * IPv6 before IPv4, in the answers' order within a family. A family that has failed, or is still missing
 * 50 ms after the other one arrived, is left out (RFC 8305 section 3); such an incomplete answer is kept
 * for `negativeTtl` at most, so that the rest is asked for soon.
 *
 * One name is looked up once however many wait for it, until the last of them is interrupted. A caller
 * that joins a lookup shares its time limit too.
 */
import * as Arr from "effect/Array"
import * as Cache from "effect/Cache"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { memoize } from "effect/Function"
import * as Layer from "effect/Layer"
import { reverseName } from "effect/net/Dns"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Dns from "node:dns"
import * as DnsClient from "./DnsClient.ts"
import * as ResolvConf from "./ResolvConf.ts"
import { ResolveError, Resolver } from "./Resolver.ts"
import * as WatchedFile from "./WatchedFile.ts"

export interface Options {
  /** Servers to ask instead of the system's; a string is parsed by `serverFromString`, an invalid one is a defect. */
  readonly servers?: ReadonlyArray<string | NetAddress.InetAddress> | undefined
  /** Limit of one whole resolution, waiting for a place included. Default 5 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** Names looked up at the same time; further ones wait for a place. Default 512. */
  readonly maxPending?: number | undefined
  /** Names in the cache. Default 10,000. */
  readonly capacity?: number | undefined
  /** Longest time an answer is kept, whatever its TTL. Default 1 hour. */
  readonly maxTtl?: Duration.Input | undefined
  /** Time that "no such name" is kept. Default 5 seconds. Other failures are not kept. */
  readonly negativeTtl?: Duration.Input | undefined
  /** Default `/etc/hosts`. A change is noticed within 5 seconds. */
  readonly hostsFile?: string | undefined
  /** Default `/etc/resolv.conf`. A change is noticed within 5 seconds, and empties the cache. */
  readonly resolvConf?: string | undefined
}

/** Parses a DNS server's address, `HOST[:PORT]`: an IPv4 address, or an IPv6 address, which needs brackets before a port. */
export const serverFromString = (
  input: string
): Result.Result<NetAddress.InetAddress, NetAddress.NetAddressError> => {
  const alone = NetAddress.ipFromString(input.startsWith("[") && input.endsWith("]") ? input.slice(1, -1) : input)
  if (Result.isSuccess(alone)) return NetAddress.inetAddress(alone.success, 53)
  return Result.filterOrFail(
    NetAddress.inetAddressFromString(input),
    ({ port }) => port > 0,
    () => new NetAddress.NetAddressError({ input, message: "a DNS server's port must not be 0" })
  )
}

const isLocalhost = (name: string): boolean => name === "localhost" || name.endsWith(".localhost")

const localhost = Host.domainNameFromStringUnsafe("localhost")

const loopback = [NetAddress.ipv6Loopback, NetAddress.ipv4Loopback] as const

const ipv6First = (
  addresses: Arr.NonEmptyReadonlyArray<NetAddress.IpAddress>
): Arr.NonEmptyReadonlyArray<NetAddress.IpAddress> =>
  Arr.sortWith(addresses, NetAddress.width, Order.flip(Order.Number))

/** The first name of each address. Kept with its table, and made when it is asked for: the file may be long, and few ask. */
const namesOf = memoize((hosts: Host.HostsTable): ReadonlyMap<string, Host.DomainName> => {
  const names = new Map<string, Host.DomainName>()
  for (const [name, addresses] of hosts) {
    for (const address of addresses) {
      const key = NetAddress.formatIp(NetAddress.toCanonical(address))
      if (!names.has(key)) names.set(key, name)
    }
  }
  return names
})

/**
 * Milliseconds for the first try of a server: a limit must have room for several. Node looks at its queries
 * only once in each such time, so that it may be up to twice as long.
 */
const tryTimeout = (conf: ResolvConf.ResolvConf, limit: number): number =>
  Math.max(1, Math.floor(conf.timeout === undefined ? Math.min(750, limit / 6) : Math.min(conf.timeout * 1000, limit)))

const make = Effect.fnUntraced(function*(options: Options) {
  const servers = (options.servers ?? []).map((server) =>
    NetAddress.formatInet(typeof server === "string" ? Result.getOrThrow(serverFromString(server)) : server)
  )
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "5 seconds")
  const maxTtl = Duration.fromInputUnsafe(options.maxTtl ?? "1 hour")
  const negativeTtl = Duration.fromInputUnsafe(options.negativeTtl ?? "5 seconds")
  const hosts = yield* WatchedFile.make(options.hostsFile ?? "/etc/hosts", Host.parseHostsFile)
  const resolvConf = yield* WatchedFile.make(options.resolvConf ?? "/etc/resolv.conf", ResolvConf.parse)
  const places = yield* Semaphore.make(options.maxPending ?? 512)
  const client = yield* DnsClient.make

  const targetOf = (conf: ResolvConf.ResolvConf): DnsClient.Servers => ({
    addresses: servers.length > 0 ? servers : conf.servers,
    tryTimeout: tryTimeout(conf, Duration.toMillis(timeout)),
    tries: conf.attempts ?? 4
  })

  const search = Effect.fnUntraced(function*(name: Host.DomainName) {
    const conf = yield* resolvConf
    const target = targetOf(conf)
    let error = new ResolveError({ reason: "NotFound", name, code: Dns.NOTFOUND })
    for (const candidate of ResolvConf.candidates(conf, name)) {
      const answer = yield* Effect.result(client.ask(candidate, target))
      if (Result.isSuccess(answer)) return answer.success
      const { code, reason } = answer.failure
      // A failed candidate might have existed: then the name as a whole is not known to be absent.
      if (error.reason === "NotFound") error = new ResolveError({ reason, name, code })
      if (reason === "TimedOut") break
    }
    return yield* error
  })

  const limited = <A>(name: Host.DomainName, search: Effect.Effect<A, ResolveError>): Effect.Effect<A, ResolveError> =>
    places.withPermit(search).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(new ResolveError({ reason: "TimedOut", name, code: Dns.TIMEOUT }))
      })
    )

  const lookup = (name: Host.DomainName): Effect.Effect<DnsClient.DnsAnswer, ResolveError> =>
    limited(name, search(name))

  const timeToLive = (exit: Exit.Exit<DnsClient.DnsAnswer, ResolveError>): Duration.Duration => {
    if (Exit.isSuccess(exit)) {
      const ttl = Duration.min(Duration.seconds(exit.value.ttl), maxTtl)
      return exit.value.complete ? ttl : Duration.min(ttl, negativeTtl)
    }
    const error = Cause.findErrorOption(exit.cause)
    return Option.isSome(error) && error.value.reason === "NotFound" ? negativeTtl : Duration.zero
  }

  const cache = yield* Cache.makeWith(lookup, { capacity: options.capacity ?? 10_000, timeToLive })
  let cachedFor = yield* resolvConf

  const resolve = Effect.fn("Resolver.resolve")(function*(name: Host.DomainName) {
    const relative = Host.toRelative(name)
    const listed = (yield* hosts).get(relative)
    if (listed !== undefined) return ipv6First(listed)
    if (isLocalhost(relative)) return loopback
    const conf = yield* resolvConf
    if (conf !== cachedFor) {
      cachedFor = conf
      yield* Cache.invalidateAll(cache)
    }
    return (yield* Cache.get(cache, name)).addresses
  })

  const reverse = Effect.fn("Resolver.reverse")(function*(ip: NetAddress.IpAddress) {
    const address = NetAddress.toCanonical(ip)
    const listed = namesOf(yield* hosts).get(NetAddress.formatIp(address))
    if (listed !== undefined) return listed
    if (NetAddress.isLoopback(address)) return localhost
    const name = reverseName(address)
    const target = targetOf(yield* resolvConf)
    const [first] = yield* limited(name, client.askPointer(name, target))
    return first
  })

  return Resolver.of({ resolve, reverse })
})

/** Names from the hosts file and DNS. */
export const layer = (options: Options = {}): Layer.Layer<Resolver> => Layer.effect(Resolver, make(options))
