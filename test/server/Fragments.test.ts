import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { Fragments, limit, maxSize } from "../../src/server/Fragments.ts"

const text = (bytes: Uint8Array | undefined) => bytes === undefined ? undefined : Buffer.from(bytes).toString()

/** Adds pieces at the same time, and gives what the last one came to. */
const joined = (...pieces: ReadonlyArray<readonly [fragment: number, data: string, to?: string, at?: number]>) => {
  const fragments = new Fragments()
  let dropped = 0
  let whole: string | undefined
  for (const [fragment, data, to = "a", at = 0] of pieces) {
    const added = fragments.add(fragment, to, Buffer.from(data), at)
    dropped += added.dropped
    whole = text(added.whole)
  }
  return { whole, dropped, waiting: fragments.waiting }
}

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("Fragments", () => {
  it("joins those that come in order", () => {
    assert.deepStrictEqual(joined([1, "x"], [2, "y"]), { whole: undefined, dropped: 0, waiting: true })
    assert.deepStrictEqual(joined([1, "x"], [2, "y"], [0x83, "z"]), { whole: "xyz", dropped: 0, waiting: false })
    assert.deepStrictEqual(joined([0x81, "x"]), { whole: "x", dropped: 0, waiting: false })
    assert.deepStrictEqual(joined([1, ""], [0x82, ""]), { whole: "", dropped: 0, waiting: false })
  })

  it("lets one through that stands alone, and gives up what waits", () => {
    assert.deepStrictEqual(joined([0, "x"]), { whole: "x", dropped: 0, waiting: false })
    assert.deepStrictEqual(joined([1, "x"], [2, "y"], [0, "z"]), { whole: "z", dropped: 2, waiting: false })
    assert.deepStrictEqual(joined([1, "x"], [0, "z"], [0x82, "y"]), { whole: undefined, dropped: 2, waiting: false })
  })

  it.each(
    [
      ["a gap", [[1, "x"], [0x83, "z"]], 2, false],
      ["no first one", [[2, "y"]], 1, false],
      ["an end without a position", [[1, "x"], [0x80, "y"]], 2, false],
      ["a lower one", [[1, "x"], [2, "y"], [3, "z"], [2, "y"]], 4, false],
      ["the same one again", [[1, "x"], [2, "y"], [2, "y"]], 3, false],
      ["a new first one, which begins anew", [[1, "x"], [2, "y"], [1, "x"]], 2, true],
      ["another destination", [[1, "x"], [0x82, "y", "b"]], 2, false],
      ["a first one for another destination", [[1, "x"], [1, "y", "b"]], 1, true],
      ["5 seconds", [[1, "x"], [0x82, "y", "a", limit]], 2, false]
    ] as const
  )("gives up at %s", (_, pieces, dropped, waiting) => {
    assert.deepStrictEqual(joined(...pieces), { whole: undefined, dropped, waiting })
  })

  it("waits for nearly 5 seconds, from the first fragment on", () => {
    assert.strictEqual(joined([1, "x"], [2, "y", "a", 3000], [0x83, "z", "a", limit - 1]).whole, "xyz")
    const fragments = new Fragments()
    fragments.add(1, "a", Buffer.from("x"), 0)
    fragments.add(2, "a", Buffer.from("y"), limit - 1)
    assert.strictEqual(fragments.expire(limit - 1), 0)
    assert.strictEqual(fragments.expire(limit), 2)
    assert.isFalse(fragments.waiting)
  })

  it("holds no more than a datagram has room for", () => {
    const fragments = new Fragments()
    const half = Buffer.alloc(maxSize / 2)
    assert.strictEqual(fragments.add(1, "a", half, 0).dropped, 0)
    assert.strictEqual(fragments.add(2, "a", half, 0).dropped, 0)
    assert.strictEqual(fragments.add(0x83, "a", Buffer.alloc(1), 0).whole?.length, 2 * half.length + 1)
    fragments.add(1, "a", half, 0)
    fragments.add(2, "a", half, 0)
    assert.deepStrictEqual(fragments.add(0x83, "a", Buffer.alloc(2), 0), { whole: undefined, dropped: 3 })
    assert.deepStrictEqual(fragments.add(1, "a", Buffer.alloc(maxSize + 1), 0), { whole: undefined, dropped: 1 })
    assert.isFalse(fragments.waiting)
  })

  it.prop(
    "joins any payload that was cut, whatever came before",
    [
      Schema.Array(Schema.Tuple([int(0, 255), Schema.Uint8Array])),
      Schema.Array(Schema.Uint8Array).check(Schema.isBetweenLength(1, 127))
    ],
    ([noise, parts]) => {
      const fragments = new Fragments()
      for (const [fragment, data] of noise) fragments.add(fragment, "a", data, 0)
      let whole: Uint8Array | undefined
      for (const [index, part] of parts.entries()) {
        const end = index === parts.length - 1 ? 0x80 : 0
        whole = fragments.add(end | (index + 1), "a", part, 0).whole
      }
      assert.strictEqual(text(whole), Buffer.concat(parts).toString())
      assert.isFalse(fragments.waiting)
    }
  )

  it.prop(
    "loses account of no fragment, and makes nothing of what did not come in order and in time",
    [Schema.Array(Schema.Tuple([
      Schema.Literals([0, 1, 2, 3, 4, 0x80, 0x81, 0x82, 0x83, 0x84, 0xff]),
      Schema.Literals(["a", "b"]),
      int(0, 3000)
    ]))],
    ([steps]) => {
      const fragments = new Fragments()
      /** What is waiting, said the plain way: who, and when. */
      let sequence: Array<readonly [number, string, number]> = []
      let now = 0
      let dropped = 0
      let accounted = 0
      for (const [index, [fragment, to, later]] of steps.entries()) {
        now += later
        const added = fragments.add(fragment, to, Buffer.from(`${index},`), now)
        dropped += added.dropped
        const inTime = sequence.filter(() => now - (sequence[0]?.[2] ?? now) < limit)
        const goesOn = (fragment & 0x7f) === inTime.length + 1 && inTime.every(([, other]) => other === to)
        const next = goesOn ? [...inTime, [index, to, now] as const] : [[index, to, now] as const]
        const expected = fragment === 0
          ? `${index},`
          : (goesOn || fragment === 0x81) && fragment >= 0x80
          ? next.map(([number]) => `${number},`).join("")
          : undefined
        assert.strictEqual(text(added.whole), expected)
        sequence = expected === undefined && (goesOn || fragment === 1) ? next : []
        accounted += expected === undefined ? 0 : fragment === 0 ? 1 : next.length
        assert.strictEqual(accounted + dropped + sequence.length, index + 1)
        assert.strictEqual(fragments.waiting, sequence.length > 0)
      }
    }
  )
})
