import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Schema from "effect/Schema"
import * as Codec from "../../src/protocol/Codec.ts"
import * as Greeting from "../../src/protocol/Greeting.ts"
import * as MethodSelection from "../../src/protocol/MethodSelection.ts"
import * as PasswordReply from "../../src/protocol/PasswordReply.ts"
import * as PasswordRequest from "../../src/protocol/PasswordRequest.ts"
import * as Reply from "../../src/protocol/Reply.ts"
import * as Request from "../../src/protocol/Request.ts"
import * as Socks4Reply from "../../src/protocol/Socks4Reply.ts"
import * as Socks4Request from "../../src/protocol/Socks4Request.ts"
import * as UdpHeader from "../../src/protocol/UdpHeader.ts"
import { concat, hex, holds, toHex } from "./Frames.ts"

// Chai's assertions cost more than what they would judge here, millions of times over.
const check = (condition: boolean, message: string): void => {
  if (!condition) assert.fail(message)
}

// The likely ones first: zeros, an address type, a letter, the second bytes of UTF-8.
const candidates = [0x00, 0x01, 0x61, 0x80, 0x90, 0xa0, ...Array.from({ length: 256 }, (_, byte) => byte)]

/** Adds bytes, whichever are allowed, until the message is whole: proof that "more" was no empty promise. */
const complete = <A>(codec: Codec.Codec<A>, prefix: Uint8Array): void => {
  let length = prefix.length
  const bytes = new Uint8Array(Math.max(codec.maxLength, length))
  bytes.set(prefix)
  while (length <= codec.maxLength) {
    const decoded = codec.decode(bytes.subarray(0, length))
    if (decoded._tag === "Done") return
    if (decoded._tag === "Failed") break
    const letters = length + decoded.atLeast
    bytes.fill(0x61, length, letters)
    if (codec.decode(bytes.subarray(0, letters))._tag !== "Failed") {
      length = letters
      continue
    }
    const end = ++length
    const follows = candidates.some((byte) => {
      bytes[end - 1] = byte
      return codec.decode(bytes.subarray(0, end))._tag !== "Failed"
    })
    check(follows, `nothing can follow ${toHex(bytes.subarray(0, end - 1))}`)
  }
  assert.fail(`${codec.name} can't be completed after ${toHex(prefix)}`)
}

/**
 * What must hold for any bytes at all, at each of their prefixes: the same end
 * wherever it is noticed, at the first byte that settles it, and no wish for
 * bytes past it.
 */
const assertSound = <A>(codec: Codec.Codec<A>, equals: (a: A, b: A) => boolean, bytes: Uint8Array) => {
  const whole = codec.decode(bytes)
  let wanted = 1
  let seen = 0
  let ended = codec.decode(bytes.subarray(0, 0))
  while (ended._tag === "More" && seen <= bytes.length) {
    check(ended.atLeast >= 1 && seen + ended.atLeast >= wanted, "wants less than before")
    wanted = seen + ended.atLeast
    check(wanted <= (whole._tag === "Done" ? whole.size : codec.maxLength), "wants bytes past the message")
    seen++
    ended = codec.decode(bytes.subarray(0, seen))
  }
  if (whole._tag === "More") {
    check(seen > bytes.length, "ended before, but not at last")
    complete(codec, bytes)
    return
  }
  check(seen <= bytes.length, "more and more wanted")
  if (whole._tag === "Done") {
    check(seen === whole.size, "not done at its last byte")
    check(toHex(codec.encode(whole.value)) === toHex(bytes.subarray(0, seen)), "encodes to other bytes")
  } else {
    complete(codec, bytes.subarray(0, seen - 1))
  }
  check(
    ended._tag === "Done" && whole._tag === "Done"
      ? ended.size === whole.size && equals(ended.value, whole.value)
      : ended._tag === "Failed" && whole._tag === "Failed" &&
        Equal.equals(ended.error.reason, whole.error.reason),
    "ends in another way when more bytes follow"
  )
}

const Edit = Schema.Struct({
  kind: Schema.Literals(["set", "insert", "delete"]),
  at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 520 })),
  byte: Codec.Byte
})

const mutate = (bytes: Uint8Array, edits: ReadonlyArray<typeof Edit.Type>): Uint8Array => {
  const out = Array.from(bytes)
  for (const { at, byte, kind } of edits) {
    const index = at % (out.length + 1)
    if (kind === "set" && index < out.length) out[index] = byte
    else if (kind === "delete") out.splice(index, 1)
    else out.splice(index, 0, byte)
  }
  return Uint8Array.from(out)
}

const timeout = 60_000

const bytesArbitrary = Arbitrary.schema(Schema.Uint8Array)

const editsArbitrary = Arbitrary.schema(Schema.Array(Edit).check(Schema.isBetweenLength(1, 4)))

const properties = <A>(codec: Codec.Codec<A>, model: Schema.Codec<A, unknown>) => {
  const equals = Schema.toEquivalence(model)
  const arbitrary = Arbitrary.schema(model)
  const first = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte))
    .find((bytes) => codec.decode(bytes)._tag === "More") ?? assert.fail("no first byte is legal")

  describe(codec.name, () => {
    it.effect(
      "comes back from its bytes, and shares no memory with them",
      () =>
        holds(Arbitrary.all([arbitrary, bytesArbitrary]), ([value, rest]) => {
          const frame = codec.encode(value)
          check(frame.length <= codec.maxLength, "too long")
          const padded = concat(hex("ff ff ff"), frame, rest)
          const decoded = codec.decode(padded.subarray(3))
          padded.fill(0xaa)
          check(decoded._tag === "Done" && decoded.size === frame.length && equals(decoded.value, value), "another")
        }),
      timeout
    )

    it.effect("is the same however its bytes are split", () =>
      holds(arbitrary, (value) => {
        const frame = codec.encode(value)
        // A decoder is called on all bytes so far: these are all splits in two, and, in their turn, byte by byte.
        for (let at = 0; at < frame.length; at++) {
          const part = codec.decode(frame.subarray(0, at))
          check(part._tag === "More" && part.atLeast >= 1 && at + part.atLeast <= frame.length, `split at ${at}`)
          const whole = codec.decode(frame)
          check(whole._tag === "Done" && whole.size === frame.length && equals(whole.value, value), `split at ${at}`)
        }
        // A reader that asks for no more than it is told to gets there too.
        let taken = 0
        for (let reads = 0; reads <= frame.length && taken < frame.length; reads++) {
          const decoded = codec.decode(frame.subarray(0, taken))
          taken += decoded._tag === "More" ? decoded.atLeast : assert.fail("ended too early")
        }
        check(taken === frame.length, "asked for too much")
      }), timeout)

    it.effect(
      "is sound on any bytes",
      () =>
        holds(Arbitrary.all([bytesArbitrary, Arbitrary.schema(Codec.Byte)]), ([bytes, second]) => {
          assertSound(codec, equals, bytes)
          // One that starts well, and one that is an address, or text, from its fourth or third byte on.
          assertSound(codec, equals, concat(first, bytes))
          assertSound(codec, equals, concat(first, Uint8Array.of(second), hex("00 03"), bytes))
        }),
      timeout
    )

    it.effect(
      "is sound on almost legal bytes",
      () =>
        holds(Arbitrary.all([arbitrary, editsArbitrary, bytesArbitrary]), ([value, edits, rest]) => {
          assertSound(codec, equals, mutate(concat(codec.encode(value), rest), edits))
        }),
      timeout
    )

    it.effect("is a schema over complete frames", () =>
      Effect.gen(function*() {
        const schema = Codec.schema(codec, model)
        const decode = Schema.decodeUnknownEffect(schema)
        const [value] = yield* Arbitrary.sampleEffect(arbitrary, { count: 1 })
        const frame = yield* Schema.encodeUnknownEffect(schema)(value)
        assert.deepStrictEqual(yield* decode(frame), value)
        const long = yield* Effect.flip(decode(concat(frame, hex("00"))))
        assert.include(String(long), "1 bytes left over")
        const short = yield* Effect.flip(decode(frame.subarray(0, -1)))
        assert.include(String(short), "at least 1 bytes missing")
      }))
  })
}

properties(Greeting.codec, Greeting.Greeting)
properties(MethodSelection.codec, MethodSelection.MethodSelection)
properties(PasswordRequest.codec, PasswordRequest.PasswordRequest)
properties(PasswordReply.codec, PasswordReply.PasswordReply)
properties(Request.codec, Request.Request)
properties(Reply.codec, Reply.Reply)
properties(UdpHeader.codec, UdpHeader.UdpHeader)
properties(Socks4Request.codec, Socks4Request.Socks4Request)
properties(Socks4Reply.codec, Socks4Reply.Socks4Reply)
