import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { flagsTable } from "../../src/config/FlagsTable.ts"
import * as Settings from "../../src/config/Settings.ts"

const readme = new URL("../../README.md", import.meta.url)

describe("flagsTable", () => {
  it("has an aligned row for every setting", () => {
    const lines = flagsTable().split("\n")
    assert.strictEqual(lines.length, Settings.all.length + 2)
    assert.strictEqual(new Set(lines.map((line) => line.length)).size, 1)
    for (const { flag, variable } of Settings.all) {
      assert.strictEqual(
        lines.filter((line) => line.startsWith(`| \`--${flag}`) && line.includes(`\`${variable}\``)).length,
        1
      )
    }
  })

  it("shows value, repetition, variable and default", () => {
    const rows = flagsTable().split("\n").map((line) => line.split("|").map((cell) => cell.trim()))
    assert.deepStrictEqual(rows[2]?.slice(1, 4), ["`--listen HOST:PORT`", "`SLUICE_LISTEN`", "`127.0.0.1:1080`"])
    assert.deepStrictEqual(rows[5]?.slice(1, 4), ["`--open-proxy`", "`SLUICE_OPEN_PROXY`", "off"])
  })

  it("is the README's table", () => {
    const text = existsSync(readme) ? readFileSync(readme, "utf8") : ""
    const section = /<!-- flags -->\n([\s\S]*?)<!-- \/flags -->/.exec(text)?.[1]?.trim()
    // Until the README has the section there is nothing to hold it to.
    assert.strictEqual(section ?? flagsTable(), flagsTable(), "put what flagsTable() returns into README.md")
  })
})
