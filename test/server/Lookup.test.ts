/** Tor's RESOLVE and RESOLVE_PTR, over the real resolver and a name server of the test's own. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import { AccessDenied, AccessPolicy, type AccessRequest } from "../../src/policy/AccessPolicy.ts"
import * as InternalNetworks from "../../src/policy/InternalNetworks.ts"
import { Resolver } from "../../src/transport/Resolver.ts"
import * as DnsServer from "../support/DnsServer.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { connect, G0, hex } from "../support/RawClient.ts"

const { records } = DnsServer

const bytesOf = (address: string): Buffer => {
  const ip = NetAddress.ipFromStringUnsafe(address)
  return Buffer.from(NetAddress.isIpv4Address(ip) ? NetAddress.ipv4ToOctets(ip) : NetAddress.ipv6ToOctets(ip))
}

const addressed = (address: string): Buffer =>
  Buffer.concat([hex(address.includes(":") ? "04" : "01"), bytesOf(address)])

const named = (name: string): Buffer => Buffer.concat([hex("03"), Buffer.from([name.length]), Buffer.from(name)])

const resolve = (what: Buffer, port = "0000") => Buffer.concat([hex("05 f0 00"), what, hex(port)])
const resolvePtr = (what: Buffer, port = "0000") => Buffer.concat([hex("05 f1 00"), what, hex(port)])

/** A proxy that asks a name server of its own; `ask` gives what it replies, to the end of the stream. */
const asking = Effect.fnUntraced(function*(services: Layer.Layer<never> = Layer.empty) {
  const dns = yield* DnsServer.make
  const started = yield* proxy({ services: Layer.mergeAll(DnsServer.resolver(dns), services) })
  const ask = Effect.fnUntraced(function*(request: Buffer) {
    const client = yield* connect(started.port)
    yield* client.send(G0, request)
    assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
    const reply = yield* client.readToEnd
    yield* client.end
    return reply
  })
  return { ...started, ask, dns }
})

const success = (what: Buffer): Buffer => Buffer.concat([hex("05 00 00"), what, hex("00 00")])
const refusal = (code: string): Buffer => hex(`05 ${code} 00 01 00 00 00 00 00 00`)

/** A policy that denies some addresses, and a name, and remembers what was asked of it. */
const denying = (...denied: ReadonlyArray<string>) => {
  const requests: Array<AccessRequest> = []
  const judge = (text: string) =>
    denied.includes(text) ? Effect.fail(new AccessDenied({ rule: "the test's" })) : AccessPolicy.permit
  const layer = Layer.succeed(AccessPolicy, {
    authorize: (request) => {
      requests.push(request)
      const { host } = request.destination
      return typeof host === "string" ? judge(host) : AccessPolicy.permit
    },
    authorizeAddress: (_, address) => judge(NetAddress.formatIp(address))
  })
  return { layer, requests }
}

/** A client's request as if the client were not on this machine. */
const fromElsewhere = (request: AccessRequest): AccessRequest => ({
  ...request,
  client: NetAddress.inetAddressFromStringUnsafe("198.51.100.1:1")
})

/** The policy that ships, for clients from elsewhere. */
const elsewhere = Layer.effect(
  AccessPolicy,
  Effect.map(InternalNetworks.make(), (policy) => ({
    authorize: (request) => policy.authorize(fromElsewhere(request)),
    authorizeAddress: (request, address) => policy.authorizeAddress(fromElsewhere(request), address)
  }))
)

describe("RESOLVE", () => {
  it.live("tells the first IPv4 address, and IPv6 where there is no other", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking()
      dns.set("both.test", { A: records(["192.0.2.9", "192.0.2.1"]), AAAA: records(["2001:db8::9"]) })
      dns.set("six.test", { AAAA: records(["2001:db8::9", "2001:db8::1"]) })
      assert.deepStrictEqual(yield* ask(resolve(named("both.test"))), success(addressed("192.0.2.9")))
      assert.deepStrictEqual(yield* ask(resolve(named("six.test"))), success(addressed("2001:db8::9")))
    }))

  it.live("tells an address as it is", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking()
      assert.deepStrictEqual(yield* ask(resolve(addressed("192.0.2.9"))), success(addressed("192.0.2.9")))
      assert.deepStrictEqual(yield* ask(resolve(named("192.0.2.9"))), success(addressed("192.0.2.9")))
      assert.deepStrictEqual(yield* ask(resolve(addressed("2001:db8::9"))), success(addressed("2001:db8::9")))
      assert.deepStrictEqual(yield* ask(resolve(addressed("::ffff:192.0.2.9"))), success(addressed("192.0.2.9")))
      assert.deepStrictEqual(dns.names(), [])
    }))

  it.live("says that there is none, and serves on", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking()
      dns.set("broken.test", { A: DnsServer.serverFailure, AAAA: DnsServer.serverFailure })
      for (const name of ["nowhere.test", "broken.test", "not a name"]) {
        assert.deepStrictEqual(yield* ask(resolve(named(name))), refusal("04"))
      }
      dns.set("later.test", { A: records(["192.0.2.9"]) })
      assert.deepStrictEqual(yield* ask(resolve(named("later.test"))), success(addressed("192.0.2.9")))
    }))

  it.live("is judged as a request to port 0, and leaves one record", () =>
    Effect.gen(function*() {
      const policy = denying()
      const { ask, dns, records: left } = yield* asking(policy.layer)
      dns.set("a.test", { A: records(["192.0.2.9"]) })
      yield* ask(resolve(named("A.test"), "01bb"))
      assert.deepStrictEqual(policy.requests.map(({ destination }) => Host.formatHostPort(destination)), ["a.test:0"])
      assert.strictEqual(
        policy.requests[0]?.client && NetAddress.formatIp(policy.requests[0].client.address),
        "127.0.0.1"
      )
      assert.isTrue(yield* within(Effect.sync(() => left.length === 1)))
      assert.deepInclude(left[0], {
        destination: "a.test:0",
        address: undefined,
        reply: 0,
        bytesUp: 0,
        bytesDown: 0,
        reason: "looked up"
      })
    }))

  it.live("does not tell what the policy denies", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking(denying("192.0.2.9", "secret.test").layer)
      dns.set("some.test", { A: records(["192.0.2.9", "192.0.2.1"]) })
      dns.set("none.test", { A: records(["192.0.2.9"]) })
      dns.set("secret.test", { A: records(["192.0.2.1"]) })
      assert.deepStrictEqual(yield* ask(resolve(named("some.test"))), success(addressed("192.0.2.1")))
      assert.deepStrictEqual(yield* ask(resolve(named("none.test"))), refusal("02"))
      assert.deepStrictEqual(yield* ask(resolve(named("secret.test"))), refusal("02"))
      assert.strictEqual(dns.count("secret.test"), 0)
    }))

  it.live("tells nobody from elsewhere what is inside", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking(elsewhere)
      dns.set("inside.test", { A: records(["10.0.0.7"]) })
      dns.set("7.0.0.10.in-addr.arpa", { PTR: DnsServer.names("inside.test") })
      assert.deepStrictEqual(yield* ask(resolve(named("inside.test"))), refusal("02"))
      assert.deepStrictEqual(yield* ask(resolve(named("localhost"))), refusal("02"))
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("10.0.0.7"))), refusal("02"))
      assert.strictEqual(dns.count("7.0.0.10.in-addr.arpa"), 0)
    }))

  it.live("stops asking when its client leaves", () =>
    Effect.gen(function*() {
      const { dns, port, records: left } = yield* asking()
      dns.set("slow.test", { A: DnsServer.silent, AAAA: DnsServer.silent })
      const client = yield* connect(port)
      yield* client.send(G0, resolve(named("slow.test")))
      yield* dns.asked("slow.test", 2)
      yield* client.reset
      assert.isTrue(yield* within(Effect.sync(() => left.length === 1)))
      assert.deepInclude(left[0], { reply: undefined, reason: "client left during the dial" })
    }))
})

describe("RESOLVE_PTR", () => {
  it.live("tells the name of an address", () =>
    Effect.gen(function*() {
      const { ask, dns, records: left } = yield* asking()
      dns.set("9.2.0.192.in-addr.arpa", { PTR: DnsServer.names("Host.Test", "other.test") })
      dns.set(`9.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`, { PTR: DnsServer.names("six.test") })
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("192.0.2.9"))), success(named("host.test")))
      assert.deepStrictEqual(yield* ask(resolvePtr(named("192.0.2.9"))), success(named("host.test")))
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("::ffff:192.0.2.9"))), success(named("host.test")))
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("2001:db8::9"))), success(named("six.test")))
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("127.0.0.1"))), success(named("localhost")))
      assert.isTrue(yield* within(Effect.sync(() => left.length === 5)))
      assert.deepInclude(left[0], { destination: "192.0.2.9:0", reply: 0, reason: "looked up" })
    }))

  it.live("says that there is none", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking()
      dns.set("8.2.0.192.in-addr.arpa", { PTR: DnsServer.names("not a name.test") })
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("192.0.2.8"))), refusal("04"))
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("192.0.2.7"))), refusal("04"))
    }))

  it.live("does not tell what the policy denies", () =>
    Effect.gen(function*() {
      const { ask, dns } = yield* asking(denying("192.0.2.9").layer)
      dns.set("9.2.0.192.in-addr.arpa", { PTR: DnsServer.names("host.test") })
      assert.deepStrictEqual(yield* ask(resolvePtr(addressed("192.0.2.9"))), refusal("02"))
      assert.strictEqual(dns.count("9.2.0.192.in-addr.arpa"), 0)
    }))

  it.live("is for addresses, not for names", () =>
    Effect.gen(function*() {
      const { ask } = yield* asking()
      assert.deepStrictEqual(yield* ask(resolvePtr(named("a.test"))), refusal("08"))
    }))

  it.live("is no command where the resolver can't", () =>
    Effect.gen(function*() {
      const resolver = Layer.succeed(Resolver, { resolve: () => Effect.succeed([NetAddress.ipv4Loopback]) })
      const { port } = yield* proxy({ services: resolver })
      const client = yield* connect(port)
      yield* client.send(G0, resolvePtr(addressed("192.0.2.9")))
      assert.deepStrictEqual((yield* client.readToEnd).subarray(2), refusal("07"))
    }))
})
