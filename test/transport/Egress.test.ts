import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import { networkInterfaces } from "node:os"
import * as Egress from "../../src/transport/Egress.ts"

const network = IpNetwork.fromStringUnsafe

const text = (address: NetAddress.IpAddress | undefined) => address && NetAddress.formatIp(address)

const of = (egress: Egress.Egress, user: string, session?: string) => text(egress.choose({ user, session }).ipv6)

describe("Egress", () => {
  it.effect.prop(
    "of a network is inside of it, and neither its first nor its last address",
    [
      Schema.Literals(["192.0.2.0", "2001:db8::"]),
      Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 126 })),
      Schema.String
    ],
    ([base, bits, session]) =>
      Effect.sync(() => {
        const address = NetAddress.ipFromStringUnsafe(base)
        const width = NetAddress.width(address)
        // The base has 9 and 34 bits that are free.
        const prefix = Math.max(width === 32 ? 23 : 32, width - bits)
        if (width - prefix < 2) return
        const from = IpNetwork.makeUnsafe(address, prefix)
        const egress = Egress.make([from], "session")
        for (const user of ["ann", "bob", undefined]) {
          const chosen = egress.choose({ user, session })
          const source = width === 32 ? chosen.ipv4 : chosen.ipv6
          assert(source !== undefined)
          assert.isTrue(IpNetwork.contains(from, source))
          assert.notStrictEqual(text(source), text(IpNetwork.firstAddress(from)))
          assert.notStrictEqual(text(source), text(IpNetwork.lastAddress(from)))
          assert.strictEqual(width === 32 ? chosen.ipv6 : chosen.ipv4, undefined)
        }
      })
  )

  it("spreads over a network by chance, and by session to the same address in each process", () => {
    const sources = [network("2001:db8::/64")]
    const rotating = Egress.make(sources)
    const many = new Set(Array.from({ length: 100 }, () => text(rotating.choose(undefined).ipv6)))
    assert.strictEqual(many.size, 100)
    // All bits are used: the addresses have more than the 32 of a hash between them.
    const halves = [...many].map((address = "") => NetAddress.ipv6ToSegments(ipv6(address)))
    for (const segment of [4, 5, 6, 7] as const) assert.isAbove(new Set(halves.map((all) => all[segment])).size, 50)
    const sticky = () => Egress.make(sources, "session")
    assert.strictEqual(of(sticky(), "ann", "1"), of(sticky(), "ann", "1"))
    assert.notStrictEqual(of(sticky(), "ann", "1"), of(sticky(), "ann", "2"))
    assert.notStrictEqual(of(sticky(), "ann", "1"), of(sticky(), "bob", "1"))
    assert.notStrictEqual(of(sticky(), "ann"), of(sticky(), "ann"))
    // Who names a session wants to keep its address, however others are served.
    assert.strictEqual(of(rotating, "ann", "1"), of(rotating, "ann", "1"))
    assert.notStrictEqual(of(rotating, "ann"), of(rotating, "ann"))
    const byUser = Egress.make(sources, "user")
    assert.strictEqual(of(byUser, "ann", "1"), of(byUser, "ann", "2"))
  })

  it("moves no session but those of an address that is gone, and shares them evenly", () => {
    const sources = Array.from({ length: 10 }, (_, index) => NetAddress.ipFromStringUnsafe(`2001:db8::${index}`))
    const sessions = Array.from({ length: 1000 }, (_, index) => `${index}`)
    const chosen = (from: ReadonlyArray<Egress.Source>) => {
      const egress = Egress.make(from, "session")
      return sessions.map((session) => of(egress, "ann", session))
    }
    const all = chosen(sources)
    for (const source of sources) {
      const count = all.filter((one) => one === text(source)).length
      // Six standard deviations of what chance gives.
      assert.isAbove(count, 100 - 60)
      assert.isBelow(count, 100 + 60)
    }
    assert.deepStrictEqual(chosen(sources.toReversed()), all)
    const [first, ...others] = sources
    chosen(others).forEach((one, index) => {
      if (all[index] === text(first)) assert.notStrictEqual(one, all[index])
      else assert.strictEqual(one, all[index])
    })
  })

  it("gives both addresses of a network of two", () => {
    const egress = Egress.make([network("192.0.2.0/31")])
    const both = new Set(Array.from({ length: 100 }, () => text(egress.choose(undefined).ipv4)))
    assert.sameMembers([...both], ["192.0.2.0", "192.0.2.1"])
  })

  it("of an interface has its addresses, of one that is gone none", () => {
    const egress = Egress.make([Egress.networkInterface("lo")])
    const own = networkInterfaces()["lo"]?.map(({ address }) => address) ?? []
    assert.include(own, text(egress.choose(undefined).ipv4))
    const gone = Egress.make([Egress.networkInterface("none0")])
    assert.deepStrictEqual(gone.choose(undefined), { ipv4: undefined, ipv6: undefined })
  })

  it("is written as it is read", () => {
    const sources = [
      NetAddress.ipFromStringUnsafe("192.0.2.1"),
      network("2001:db8::/64"),
      Egress.networkInterface("eth0")
    ]
    assert.deepStrictEqual(sources.map(Egress.format), ["192.0.2.1", "2001:db8::/64", "eth0"])
  })
})

const ipv6 = (address: string): NetAddress.Ipv6Address => {
  const ip = NetAddress.ipFromStringUnsafe(address)
  assert(NetAddress.isIpv6Address(ip))
  return ip
}
