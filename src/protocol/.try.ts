import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as NetAddress from "effect/net/NetAddress"
import * as SchemaGetter from "effect/SchemaGetter"
import * as Equal from "effect/Equal"
import * as Redacted from "effect/Redacted"
const enc = new TextEncoder()
const T = Schema.String.check(Schema.makeFilter((s: string) => { const n = enc.encode(s).length; return n >= 1 && n <= 255 }, { arbitraryConstraint: { patterns: [{ source: "^(?:[ -~]{1,255}|[^\\p{Cc}\\p{Cs}]{1,63})$", flags: "u" }] } }))
const s = await Effect.runPromise(Arbitrary.sampleEffect(Arbitrary.schema(T), { count: 2000 } as never)) as any
const vals = (s.values ?? s) as Array<string>
const bytes = vals.map((v: string) => enc.encode(v).length).sort((a: number, b: number) => a - b)
console.log(vals.slice(0, 12), bytes[0], bytes[bytes.length >> 1], bytes.at(-1), vals.filter((v) => /[^\x00-\x7f]/.test(v)).length)
const Byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
const Ip4 = Schema.declare(NetAddress.isIpv4Address, { identifier: "Ipv4Address", toCodecArbitrary: () => Schema.link<NetAddress.Ipv4Address>()(Schema.Array(Byte).check(Schema.isLengthBetween?.(4, 4) ?? Schema.isBetweenLength(4, 4)), { decode: SchemaGetter.transform((b: ReadonlyArray<number>) => NetAddress.ipv4FromBytesUnsafe(Uint8Array.from(b))), encode: SchemaGetter.forbiddenEncoding as never }) })
const Address = Schema.TaggedUnion({ Ipv4: { ip: Ip4, port: Schema.Port }, Domain: { name: T, port: Schema.Port } })
class Request extends Schema.Class<Request>("Request")({ command: Byte, address: Address }) {}
const trusted = { disableChecks: true }
const a = { _tag: "Ipv4" as const, ip: NetAddress.ipv4Loopback, port: 80 }
for (let r = 0; r < 4; r++) {
  let t = performance.now(); for (let i = 0; i < 100000; i++) new Request({ command: 1, address: a }, trusted)
  console.log("trusted us", (performance.now() - t) / 100); t = performance.now(); for (let i = 0; i < 100000; i++) new Request({ command: 1, address: a })
  console.log("checked us", (performance.now() - t) / 100)
}
class P extends Schema.Class<P>("P")({ u: Schema.String, p: Schema.Redacted(Schema.String) }) {}
console.log(Equal.equals(new P({ u: "a", p: Redacted.make("x") }), new P({ u: "a", p: Redacted.make("x") })), String(new P({ u: "a", p: Redacted.make("x") })), JSON.stringify(new P({ u: "a", p: Redacted.make("x") })))
console.log(await Effect.runPromise(Arbitrary.sampleEffect(Arbitrary.schema(P), { count: 3 } as never)))
console.log(await Effect.runPromise(Arbitrary.sampleEffect(Arbitrary.schema(Request), { count: 3 } as never)))
