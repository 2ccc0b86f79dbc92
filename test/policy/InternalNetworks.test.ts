import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Host from "effect/net/Host"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { networkInterfaces } from "node:os"
import { type AccessDenied, AccessPolicy, type AccessRequest } from "../../src/policy/AccessPolicy.ts"
import * as InternalNetworks from "../../src/policy/InternalNetworks.ts"

const ip = NetAddress.ipFromStringUnsafe
const remote = NetAddress.inetAddressUnsafe(ip("198.51.100.7"), 40000)

const request = (host: string, client: NetAddress.InetAddress | undefined = remote): AccessRequest => ({
  client,
  user: undefined,
  destination: Host.hostPortUnsafe(Host.hostFromStringUnsafe(host), 80)
})

const ownAddresses = Effect.succeed([ip("203.0.113.5"), ip("2606:4700::5"), ip("10.9.9.9")])

const verdict = (effect: Effect.Effect<void, AccessDenied>) =>
  Effect.match(effect, { onFailure: ({ rule }) => rule, onSuccess: () => "open" })

/** The rule against an address, or "open"; both ways of asking have to agree. */
const judge = Effect.fnUntraced(
  function*(options: InternalNetworks.Options, address: string, from: AccessRequest = request(address)) {
    const policy = yield* InternalNetworks.make({ ownAddresses, ...options })
    const asSent = yield* verdict(policy.authorize(from))
    const asDialled = yield* verdict(policy.authorizeAddress(from, ip(address)))
    assert.strictEqual(asSent, asDialled)
    return asDialled
  }
)

const hex = (high: number, low: number) => (high * 256 + low).toString(16)

/** Every IPv6 form that carries an IPv4 address. */
const forms = (address: string): ReadonlyArray<string> => {
  const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number)
  const tail = `${hex(a, b)}:${hex(c, d)}`
  return [
    `::ffff:${tail}`,
    `::ffff:${address}`,
    `64:ff9b::${tail}`,
    `64:ff9b:1::${tail}`,
    `2002:${tail}::`,
    `2002:${tail}::1:2`,
    `::ffff:0:${tail}`,
    `2001:0:808:808:0:0:${hex(255 - a, 255 - b)}:${hex(255 - c, 255 - d)}`,
    `2001:0:${tail}::f7f7:f7f7`
  ]
}

const closedIpv4: ReadonlyArray<readonly [address: string, rule: string]> = [
  ["127.0.0.1", "internal network 127.0.0.0/8 (loopback)"],
  ["127.255.255.255", "internal network 127.0.0.0/8 (loopback)"],
  ["0.0.0.0", "internal network 127.0.0.0/8 (loopback)"],
  ["0.0.0.1", "internal network 0.0.0.0/8 (this network)"],
  ["10.0.0.1", "internal network 10.0.0.0/8 (private)"],
  ["172.16.0.1", "internal network 172.16.0.0/12 (private)"],
  ["172.31.255.255", "internal network 172.16.0.0/12 (private)"],
  ["192.168.1.1", "internal network 192.168.0.0/16 (private)"],
  ["169.254.169.254", "internal network 169.254.0.0/16 (link-local)"],
  ["100.64.0.1", "internal network 100.64.0.0/10 (carrier-grade NAT)"],
  ["100.127.255.255", "internal network 100.64.0.0/10 (carrier-grade NAT)"],
  ["192.0.0.8", "internal network 192.0.0.0/24 (protocol assignments)"],
  ["198.18.0.1", "internal network 198.18.0.0/15 (benchmarking)"],
  ["198.19.255.255", "internal network 198.18.0.0/15 (benchmarking)"],
  ["224.0.0.1", "internal network 224.0.0.0/4 (multicast)"],
  ["239.255.255.255", "internal network 224.0.0.0/4 (multicast)"],
  ["240.0.0.1", "internal network 240.0.0.0/4 (reserved)"],
  ["255.255.255.255", "internal network 255.255.255.255/32 (broadcast)"],
  ["203.0.113.5", "own address 203.0.113.5"]
]

const openIpv4 = [
  "1.1.1.1",
  "8.8.8.8",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.0",
  "169.253.255.255",
  "172.15.255.255",
  "172.32.0.0",
  "192.0.1.0",
  "192.167.255.255",
  "192.169.0.0",
  "198.17.255.255",
  "198.20.0.0",
  "203.0.113.6",
  "223.255.255.255"
]

const closedIpv6: ReadonlyArray<readonly [address: string, rule: string]> = [
  ["::1", "internal network ::1/128 (loopback)"],
  ["::", "internal network ::1/128 (loopback)"],
  ["::7f00:1", "internal network 127.0.0.0/8 (loopback)"],
  ["::a00:1", "internal network 10.0.0.0/8 (private)"],
  ["::2", "internal network 0.0.0.0/8 (this network)"],
  ["fe80::1", "internal network fe80::/10 (link-local)"],
  ["febf::1", "internal network fe80::/10 (link-local)"],
  ["fec0::1", "internal network fec0::/10 (site-local)"],
  ["fc00::1", "internal network fc00::/7 (unique-local)"],
  ["fd00:ec2::254", "internal network fc00::/7 (unique-local)"],
  ["ff02::1", "internal network ff00::/8 (multicast)"],
  ["100::1", "internal network 100::/64 (discard-only)"],
  ["2001:2::1", "internal network 2001:2::/48 (benchmarking)"],
  ["5f00::1", "internal network 5f00::/16 (segment routing)"],
  ["2606:4700::5", "own address 2606:4700::5"],
  // NAT64 for local use, 10.1.2.3 in each of the places of RFC 6052 §2.2; the last has nothing that is an address.
  ["64:ff9b:1:fffe::a01:203", "internal network 10.0.0.0/8 (private)"],
  ["64:ff9b:1:a01:2:300::", "internal network 10.0.0.0/8 (private)"],
  ["64:ff9b:1:a:1:203::", "internal network 10.0.0.0/8 (private)"],
  ["64:ff9b:1:0:a:102:300:0", "internal network 10.0.0.0/8 (private)"],
  ["64:ff9b:1::", "internal network 127.0.0.0/8 (loopback)"]
]

const openIpv6 = [
  "2606:4700::1111",
  "2001:4860:4860::8888",
  "2001:1::1",
  "2003::1",
  "fbff::1",
  "::8.8.8.8",
  "64:ff9b:1:fffe::808:808",
  "64:ff9b:1:808:8:800::"
]

describe("InternalNetworks", () => {
  it.effect.each(closedIpv4)("closes %s in every form", ([address, rule]) =>
    Effect.gen(function*() {
      for (const form of [address, ...forms(address)]) assert.strictEqual(yield* judge({}, form), rule, form)
    }))

  it.effect.each(openIpv4)("leaves %s open in every form", (address) =>
    Effect.gen(function*() {
      for (const form of [address, ...forms(address)]) assert.strictEqual(yield* judge({}, form), "open", form)
    }))

  it.effect.each(closedIpv6)("closes %s", ([address, rule]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* judge({}, address), rule)
    }))

  it.effect.each(openIpv6)("leaves %s open", (address) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* judge({}, address), "open")
    }))

  it.effect("closes the five destinations of A33, one of them by its resolved address", () =>
    Effect.gen(function*() {
      for (const address of ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254"]) {
        assert.notStrictEqual(yield* judge({}, address), "open", address)
      }
      const policy = yield* AccessPolicy
      yield* policy.authorize(request("localhost"))
      for (const address of NetAddress.loopbackAddresses) {
        const denied = yield* Effect.flip(policy.authorizeAddress(request("localhost"), address))
        assert.strictEqual(denied._tag, "AccessDenied")
      }
    }).pipe(Effect.provide(InternalNetworks.layer())))

  it.effect("closes both spellings of A34 under the IPv4 network's own name", () =>
    Effect.gen(function*() {
      for (const spelling of ["::ffff:127.0.0.1", "::ffff:7f00:1"]) {
        assert.strictEqual(yield* judge({}, spelling), "internal network 127.0.0.0/8 (loopback)")
      }
      assert.strictEqual(yield* judge({}, "::ffff:a9fe:a9fe"), "internal network 169.254.0.0/16 (link-local)")
    }))

  it.effect("judges a literal with a zone, and lets names through to their addresses", () =>
    Effect.gen(function*() {
      const policy = yield* InternalNetworks.make({ ownAddresses })
      const denied = yield* Effect.flip(policy.authorize(request("fe80::1%eth0")))
      assert.strictEqual(denied.rule, "internal network fe80::/10 (link-local)")
      assert.strictEqual(denied.message, "denied: internal network fe80::/10 (link-local)")
      yield* policy.authorize(request("metadata.google.internal"))
    }))

  it.effect.each(["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])(
    "lets a client at %s go anywhere",
    (client) =>
      Effect.gen(function*() {
        const local = NetAddress.inetAddressUnsafe(ip(client), 40000)
        for (const address of ["127.0.0.1", "::1", "10.0.0.1", "203.0.113.5", "0.0.0.0", "8.8.8.8"]) {
          assert.strictEqual(yield* judge({}, address, request(address, local)), "open", address)
        }
      })
  )

  it.effect.each(["10.0.0.7", "203.0.113.5", "::ffff:10.0.0.7", "64:ff9b::7f00:1", "::2"])(
    "takes a client at %s for one from elsewhere",
    (client) =>
      Effect.gen(function*() {
        const from = request("127.0.0.1", NetAddress.inetAddressUnsafe(ip(client), 40000))
        assert.strictEqual(yield* judge({}, "127.0.0.1", from), "internal network 127.0.0.0/8 (loopback)")
      })
  )

  it.effect("takes a client without an address for one from elsewhere", () =>
    Effect.gen(function*() {
      const from: AccessRequest = { ...request("127.0.0.1"), client: undefined }
      assert.strictEqual(yield* judge({}, "127.0.0.1", from), "internal network 127.0.0.0/8 (loopback)")
    }))

  it.effect("opens everything with allowPrivate", () =>
    Effect.gen(function*() {
      for (const [address] of [...closedIpv4, ...closedIpv6]) {
        assert.strictEqual(yield* judge({ allowPrivate: true }, address), "open", address)
      }
    }))

  it.effect.each(["10.0.0.0/8", "::ffff:10.0.0.0/104"])(
    "opens %s in every form, and no more",
    (network) =>
      Effect.gen(function*() {
        const allow = [IpNetwork.fromStringUnsafe(network)]
        for (const form of ["10.1.2.3", "10.9.9.9", ...forms("10.1.2.3")]) {
          assert.strictEqual(yield* judge({ allow }, form), "open", form)
        }
        for (const address of ["11.0.0.1", "8.8.8.8"]) {
          assert.strictEqual(yield* judge({ allow }, address), "open", address)
        }
        for (const form of ["127.0.0.1", "192.168.0.1", "203.0.113.5", "::1", ...forms("127.0.0.1")]) {
          assert.notStrictEqual(yield* judge({ allow }, form), "open", form)
        }
      })
  )

  it.effect("opens single addresses, IPv6 networks and own addresses that are listed", () =>
    Effect.gen(function*() {
      const allow = ["127.0.0.1/32", "fd00:1::/32", "203.0.113.0/24"].map(IpNetwork.fromStringUnsafe)
      // "Unspecified" is loopback, and opens with it.
      for (const address of ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "fd00:1::7", "203.0.113.5"]) {
        assert.strictEqual(yield* judge({ allow }, address), "open", address)
      }
      for (const address of ["127.0.0.2", "::1", "::", "fd00:2::7"]) {
        assert.notStrictEqual(yield* judge({ allow }, address), "open", address)
      }
    }))

  it.effect("opens no IPv4 address by an IPv6 network", () =>
    Effect.gen(function*() {
      const allow = [IpNetwork.fromStringUnsafe("::/0")]
      assert.strictEqual(yield* judge({ allow }, "fd00::1"), "open")
      assert.notStrictEqual(yield* judge({ allow }, "10.0.0.1"), "open")
      assert.notStrictEqual(yield* judge({ allow }, "::ffff:10.0.0.1"), "open")
    }))

  it.effect("knows this machine's own addresses", () =>
    Effect.gen(function*() {
      const policy = yield* InternalNetworks.make()
      for (const { address } of Object.values(networkInterfaces()).flatMap((entries = []) => entries)) {
        const denied = yield* Effect.flip(policy.authorizeAddress(request("name.test"), ip(address)))
        assert.match(denied.rule, /^(own address|internal network) /)
      }
    }))

  it.effect("asks for own addresses again after 5 seconds, and no sooner", () =>
    Effect.gen(function*() {
      let own = "203.0.113.5"
      let asked = 0
      const policy = yield* InternalNetworks.make({
        ownAddresses: Effect.sync(() => {
          asked++
          return [ip(own)]
        })
      })
      const judgeNew = Effect.isSuccess(policy.authorizeAddress(request("name.test"), ip("203.0.113.9")))
      assert.isTrue(yield* judgeNew)
      own = "203.0.113.9"
      yield* TestClock.adjust("4999 millis")
      const before = asked
      assert.isTrue(yield* judgeNew)
      assert.strictEqual(asked, before)
      yield* TestClock.adjust("1 millis")
      assert.isFalse(yield* judgeNew)
      assert.strictEqual(asked, before + 1)
    }))

  it.effect("keeps to the last own addresses when they can't be read again", () =>
    Effect.gen(function*() {
      let broken = false
      const policy = yield* InternalNetworks.make({
        ownAddresses: Effect.suspend(() =>
          broken ? Effect.die(new Error("EMFILE")) : Effect.succeed([ip("203.0.113.5")])
        )
      })
      broken = true
      yield* TestClock.adjust("1 minute")
      const denied = yield* Effect.flip(policy.authorizeAddress(request("name.test"), ip("203.0.113.5")))
      assert.strictEqual(denied.rule, "own address 203.0.113.5")
    }))

  it.effect("gives parallel requests one reading of own addresses", () =>
    Effect.gen(function*() {
      let asked = 0
      const policy = yield* InternalNetworks.make({
        ownAddresses: Effect.sync(() => {
          asked++
          return []
        })
      })
      const before = asked
      const one = policy.authorizeAddress(request("name.test"), ip("8.8.8.8"))
      const fiber = yield* Effect.forkChild(Effect.all(Array.from({ length: 100 }, () => one), { concurrency: 100 }))
      yield* Fiber.join(fiber)
      assert.strictEqual(asked, before + 1)
    }))

  const Octet = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
  const interesting = Schema.Literals([0, 10, 100, 127, 169, 172, 192, 198, 203, 224, 255])

  it.effect.prop(
    "gives an IPv4 address and all forms of it the same verdict",
    [Schema.Union([interesting, Octet]), Octet, Octet, Octet],
    ([a, b, c, d]) =>
      Effect.gen(function*() {
        const address = `${a}.${b}.${c}.${d}`
        const verdict = yield* judge({}, address)
        for (const form of forms(address)) assert.strictEqual(yield* judge({}, form), verdict, form)
      }),
    { arbitrary: { runs: 1000 } }
  )

  it.effect.prop(
    "agrees with IpNetwork on every address",
    [Arbitrary.schema(Schema.Array(Octet).check(Schema.isBetweenLength(4, 4)))],
    ([octets]) =>
      Effect.gen(function*() {
        const address = NetAddress.ipv4FromBytesUnsafe(Uint8Array.from(octets))
        const inside = InternalNetworks.internalNetworks.some(([network]) => IpNetwork.contains(network, address))
        const verdict = yield* judge({ ownAddresses: Effect.succeed([]) }, NetAddress.formatIp(address))
        assert.strictEqual(verdict !== "open", inside)
      }),
    { arbitrary: { runs: 1000 } }
  )
})
