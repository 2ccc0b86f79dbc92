import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as TimeWindow from "../../src/policy/TimeWindow.ts"

/** Named as in a configuration file. */
const window = (days: string | undefined, hours: string | undefined, zone = "UTC") =>
  Result.getOrThrow(TimeWindow.make({
    days: days === undefined ? undefined : Result.getOrThrow(TimeWindow.daysFromString(days)),
    hours: hours === undefined ? undefined : Result.getOrThrow(TimeWindow.hoursFromString(hours)),
    zone
  }))

/** 2026-11-23 is a Monday. */
const at = (text: string) => Date.parse(text)

const holds = (given: TimeWindow.TimeWindow, ...times: ReadonlyArray<string>) =>
  times.map((time) => given.holds(at(time)))

describe("TimeWindow", () => {
  it("reads days and ranges of days, which may wrap", () => {
    assert.deepStrictEqual(TimeWindow.daysFromString("sat"), Result.succeed([6]))
    assert.deepStrictEqual(TimeWindow.daysFromString("Mon-Fri"), Result.succeed([1, 2, 3, 4, 5]))
    assert.deepStrictEqual(TimeWindow.daysFromString("fri-mon"), Result.succeed([5, 6, 0, 1]))
    const problem = "is no day; write mon, tue, wed, thu, fri, sat, sun or a range as mon-fri"
    for (const text of ["", "monday", "mon-", "mon-tue-wed"]) {
      assert.deepStrictEqual(TimeWindow.daysFromString(text), Result.fail(problem), text)
    }
  })

  it("reads hours", () => {
    assert.deepStrictEqual(TimeWindow.hoursFromString("08:00-18:30"), Result.succeed({ from: 480, to: 1110 }))
    assert.deepStrictEqual(TimeWindow.hoursFromString("0:00-24:00"), Result.succeed({ from: 0, to: 1440 }))
    const problem = "is no range of hours; write 08:00-18:00"
    for (const text of ["", "8-18", "08:00", "08:60-09:00", "24:00-06:00", "25:00-26:00", "08:00-09:00-10:00"]) {
      assert.deepStrictEqual(TimeWindow.hoursFromString(text), Result.fail(problem), text)
    }
  })

  it("refuses zones that there aren't", () => {
    assert.deepStrictEqual(
      TimeWindow.make({ zone: "Europe/Atlantis" }),
      Result.fail("is no time zone; write one of IANA's names, as Europe/Berlin")
    )
  })

  it("holds from the first minute to before the last", () => {
    assert.deepStrictEqual(
      holds(
        window("mon-fri", "08:00-18:00"),
        "2026-11-23T07:59:59.999Z",
        "2026-11-23T08:00:00Z",
        "2026-11-23T17:59:59.999Z",
        "2026-11-23T18:00:00Z",
        "2026-11-22T12:00:00Z"
      ),
      [false, true, true, false, false]
    )
  })

  it("contains windows of the same zone, and is apart from others", () => {
    const night = window("mon", "22:00-06:00")
    for (
      const [outer, inner, contains, isApart] of [
        [window("mon-fri", undefined), window("tue", "08:00-09:00"), true, false],
        [window("tue", undefined), window("mon-fri", undefined), false, false],
        [night, window("tue", "00:00-05:59"), true, false],
        [night, window("mon", "00:00-05:59"), false, true],
        [night, night, true, false],
        [window("mon-tue", undefined), night, true, false],
        [window("mon", undefined), night, false, false],
        [window(undefined, "00:00-24:00"), window("mon", undefined, "Asia/Tokyo"), true, false],
        [window("mon", undefined), window("mon", undefined, "Asia/Tokyo"), false, false],
        [window("mon", undefined), window("wed", undefined, "Asia/Tokyo"), false, false]
      ] as const
    ) {
      assert.deepStrictEqual(
        [outer.contains(inner), outer.isApartFrom(inner)],
        [contains, isApart],
        `${outer}, ${inner}`
      )
    }
  })

  it("knows when no time is outside", () => {
    assert.isTrue(window(undefined, "00:00-24:00").isAlways)
    assert.isTrue(window("mon-sun", undefined).isAlways)
    assert.isFalse(window("mon-sat", undefined).isAlways)
    assert.isFalse(window(undefined, "08:00-07:59").isAlways)
  })

  it("goes on after midnight, as part of the day that it began on", () => {
    assert.deepStrictEqual(
      holds(
        window("fri", "22:00-06:00"),
        "2026-11-27T05:00:00Z",
        "2026-11-27T22:00:00Z",
        "2026-11-28T05:59:00Z",
        "2026-11-28T06:00:00Z",
        "2026-11-28T23:00:00Z"
      ),
      [false, true, true, false, false]
    )
    // From Saturday into Sunday, the first of the week.
    assert.deepStrictEqual(holds(window("sat", "23:00-01:00"), "2026-11-29T00:30:00Z"), [true])
  })

  it("holds on every day, or all day, where nothing else is said", () => {
    assert.deepStrictEqual(holds(window(undefined, "08:00-09:00"), "2026-11-22T08:30:00Z"), [true])
    assert.deepStrictEqual(
      holds(window("sun", undefined), "2026-11-22T00:00:00Z", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z"),
      [true, true, false]
    )
  })

  it("goes by the clock of its zone, summer and winter", () => {
    const berlin = window("mon-fri", "08:00-18:00", "Europe/Berlin")
    assert.deepStrictEqual(
      holds(berlin, "2026-07-06T06:00:00Z", "2026-07-06T16:00:00Z", "2026-11-23T06:30:00Z", "2026-11-23T07:00:00Z"),
      [true, false, false, true]
    )
    // On 2026-10-25 at 01:00Z the clock goes back from 3 to 2.
    const night = window("sun", "02:00-03:00", "Europe/Berlin")
    assert.deepStrictEqual(
      holds(night, "2026-10-24T23:59:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:59:00Z", "2026-10-25T02:00:00Z"),
      [false, true, true, false]
    )
    assert.deepStrictEqual(holds(window("mon", "00:00-01:00", "+05:30"), "2026-11-22T18:30:00Z"), [true])
  })

  it("says what it is, and how a time looks there", () => {
    const berlin = window("mon-fri", "08:00-18:00", "Europe/Berlin")
    assert.strictEqual(String(berlin), "mon, tue, wed, thu, fri 08:00-18:00")
    assert.strictEqual(String(window(undefined, "08:00-18:00")), "08:00-18:00")
    assert.strictEqual(berlin.show(at("2026-11-22T11:30:00Z")), "sun 12:30 in Europe/Berlin")
  })
})
