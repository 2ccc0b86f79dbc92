import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import * as AddressWords from "../../src/policy/AddressWords.ts"
import { NetworkSet } from "../../src/policy/NetworkSet.ts"

const network = IpNetwork.fromStringUnsafe
const words = (address: string) => AddressWords.fromIp(NetAddress.ipFromStringUnsafe(address))
const setOf = (...networks: ReadonlyArray<string>) => NetworkSet.of(networks.map(network))

const placesOf = (set: NetworkSet, address: string) => {
  const found: Array<readonly [place: number, bits: number]> = []
  set.each(words(address), (place, bits) => found.push([place, bits]))
  return found
}

/** Few bits differ, so that networks nest and fork. */
const Octet = Schema.Literals([0, 1, 2, 128, 192, 255])
const Address = Schema.Tuple([Octet, Octet, Octet, Octet])
const Bits = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 32 }))
const Ipv4Networks = Schema.Array(Schema.Tuple([Address, Bits])).check(Schema.isMaxLength(40))

const ipv4 = (octets: typeof Address.Type) => NetAddress.ipv4FromBytesUnsafe(Uint8Array.from(octets))

/** The same bits in an IPv6 address, behind 40 others that are not all 0. */
const ipv6 = (octets: typeof Address.Type) =>
  NetAddress.ipv6FromBytesUnsafe(Uint8Array.from([0x20, 1, 0x0d, 0xb8, 7, ...octets, ...Array<number>(7).fill(0)]))

describe("NetworkSet", () => {
  it("is empty at first", () => {
    const set = new NetworkSet()
    assert.strictEqual(set.size, 0)
    assert.isFalse(set.has(words("192.0.2.1")))
    assert.isFalse(set.has(words("::1")))
  })

  it("finds all networks around an address, the widest first", () => {
    const set = setOf("10.0.0.0/8", "10.1.2.0/24", "0.0.0.0/0", "10.1.0.0/16", "10.1.2.3/32", "10.2.0.0/16")
    assert.deepStrictEqual(placesOf(set, "10.1.2.3"), [[2, 0], [0, 8], [3, 16], [1, 24], [4, 32]])
    assert.deepStrictEqual(placesOf(set, "10.1.2.4"), [[2, 0], [0, 8], [3, 16], [1, 24]])
    assert.deepStrictEqual(placesOf(set, "11.1.2.3"), [[2, 0]])
    assert.strictEqual(set.longest(words("10.2.255.255")), 16)
    assert.strictEqual(set.longest(words("2001:db8::1")), -1)
  })

  it("holds a network once", () => {
    const set = setOf("10.0.0.0/8", "192.0.2.0/24")
    assert.strictEqual(set.add(network("192.0.2.0/24")), 1)
    assert.strictEqual(set.add(network("10.0.0.0/9")), 2)
    assert.strictEqual(set.size, 3)
  })

  it("takes IPv4-mapped IPv6 for the IPv4 that it is, in networks and in addresses", () => {
    const set = setOf("::ffff:10.0.0.0/104", "2001:db8::/32")
    assert.isTrue(set.has(words("10.1.2.3")))
    assert.isTrue(set.has(words("::ffff:10.1.2.3")))
    assert.isFalse(set.has(words("::ffff:11.1.2.3")))
    assert.isTrue(set.has(words("2001:db8:ffff::1")))
    assert.isFalse(set.has(words("2001:db9::1")))
    // Not IPv4, though all of IPv4 lies in it.
    assert.isFalse(setOf("::/0").has(words("10.1.2.3")))
  })

  for (const [name, make, offset] of [["IPv4", ipv4, 0], ["IPv6", ipv6, 40]] as const) {
    it.effect.prop(
      `says what each network says by itself: ${name}`,
      [Ipv4Networks, Schema.Array(Address).check(Schema.isMaxLength(20))],
      ([pairs, addresses]) =>
        Effect.sync(() => {
          const set = new NetworkSet()
          const byPlace = new Map<number, IpNetwork.IpNetwork>()
          for (const [octets, bits] of pairs) {
            const added = IpNetwork.fromAddressUnsafe(make(octets), bits + offset)
            byPlace.set(set.add(added), added)
          }
          assert.strictEqual(set.size, byPlace.size)
          for (const octets of addresses) {
            const address = make(octets)
            const expected = [...byPlace].filter(([, added]) => IpNetwork.contains(added, address))
              .map(([place, { prefixLength }]) => [place, prefixLength] as const)
              .sort(([, a], [, b]) => a - b)
            assert.deepStrictEqual(placesOf(set, NetAddress.formatIp(address)), expected)
            assert.strictEqual(set.longest(AddressWords.fromIp(address)), expected.at(-1)?.[1] ?? -1)
          }
        })
    )
  }
})
