import { assert, describe, it } from "@effect/vitest"
import { amount } from "../../src/probe/Throughput.ts"
import { reply } from "../../src/probe/Trouble.ts"

describe("the words of a probe", () => {
  it("shows amounts without exponents", () => {
    assert.deepStrictEqual(
      [1, 24, 99_999, 100_000, 12_340_000, 99_990_000, 812_000_000, 1_045_000_000].map(amount),
      ["0.00100 kB", "0.0240 kB", "100 kB", "0.100 MB", "12.3 MB", "100 MB", "812 MB", "1045 MB"]
    )
  })

  it("shows a reply code of SOCKS5 in two hex digits, and one of SOCKS4 in decimal", () => {
    assert.deepStrictEqual(
      [reply(5), reply(0x10), reply(0xff), reply(91, "socks4")],
      [
        "reply 05 (connection refused)",
        "reply 10 (unassigned)",
        "reply ff (unassigned)",
        "reply 91 (request rejected or failed)"
      ]
    )
  })
})
