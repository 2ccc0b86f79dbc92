/** What the protocol tests share: bytes as hex, and properties run as often as the environment asks. */
import { assert } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import type { Codec, Decoded } from "../../src/protocol/Codec.ts"
import type { ProtocolErrorReason } from "../../src/protocol/ProtocolError.ts"

/** `05 01 00`, or the same without spaces. */
export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"))

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex").replaceAll(/..(?=.)/g, "$& ")

export const ascii = (text: string): string => Buffer.from(text, "latin1").toString("hex")

export const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => Uint8Array.from(Buffer.concat(parts))

/** Runs of each property: 1,000, or `SLUICE_PROPERTY_RUNS`. */
export const runs = Number(process.env["SLUICE_PROPERTY_RUNS"] ?? 1000)

/** Checks a property, whose assertions throw, and fails with the smallest counterexample and its replay token. */
export const holds = <A>(arbitrary: Arbitrary.Arbitrary<A>, property: (value: A) => void) =>
  Arbitrary.checkEffect(
    arbitrary,
    (value) =>
      Effect.try({
        try: () => {
          property(value)
          return true
        },
        catch: (error) => error
      }),
    // Ten is the default, and leaves long fields to chance; 255 costs four times as much as this.
    { runs, size: 64 }
  ).pipe(Effect.map((result) => {
    assert.isUndefined(Arbitrary.formatCheckFailure(result))
    assert.strictEqual(result._tag === "Passed" ? result.runs : 0, runs)
  }))

/** The value of a complete message, which must take all bytes. */
export const decodeAll = <A>(codec: Codec<A>, bytes: Uint8Array): A => {
  const decoded = codec.decode(bytes)
  if (decoded._tag !== "Done") return assert.fail(`${codec.name}: ${JSON.stringify(decoded)}`)
  assert.strictEqual(decoded.size, bytes.length)
  return decoded.value
}

/** The reason with which bytes are refused. */
export const reasonOf = <A>(decoded: Decoded<A>): ProtocolErrorReason =>
  decoded._tag === "Failed" ? decoded.error.reason : assert.fail(`expected a failure, got ${JSON.stringify(decoded)}`)

/** Asserts that bytes are refused, with a reason that has these fields. */
export const assertRefused = <A>(decoded: Decoded<A>, expected: object): void =>
  assert.deepInclude<object>(reasonOf(decoded), expected)
