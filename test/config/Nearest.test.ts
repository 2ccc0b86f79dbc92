import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Config from "../../src/config/Config.ts"
import { hint, nearest } from "../../src/config/Nearest.ts"

const names = Config.settings.map(({ key }) => key)

describe("the nearest name", () => {
  it("is the one that was meant", () => {
    const cases = [
      "lisen",
      "conectTimeout",
      "connect-timeout",
      "connect_timeout",
      "LISTEN",
      "egres",
      "logLevl",
      "maxConnection"
    ]
    assert.deepStrictEqual(cases.map((name) => nearest(name, names)), [
      "listen",
      "connectTimeout",
      "connectTimeout",
      "connectTimeout",
      "listen",
      "egress",
      "logLevel",
      "maxConnections"
    ])
  })

  it("is none where nothing is near", () => {
    for (const name of ["", "x", "xyzzy", "password", "x".repeat(100_000)]) {
      assert.isUndefined(nearest(name, names), name)
    }
    assert.strictEqual(hint("xyzzy", names), "")
    assert.strictEqual(hint("lisen", names), "; did you mean listen?")
  })

  it.prop(
    "is found over any one mistake",
    [
      Schema.Literals(["protocols", "bindTimeout", "drainTimeout", "allowPrivate"]),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 8 })),
      Schema.Literals(["", "q", "qq"])
    ],
    ([name, at, text]) => {
      assert.strictEqual(nearest(name.slice(0, at) + text + name.slice(at + 1), names), name)
    }
  )
})
