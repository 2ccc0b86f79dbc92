import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
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
    assert.deepStrictEqual(rows[3]?.slice(1, 4), ["`--listen HOST:PORT`", "`SLUICE_LISTEN`", "`127.0.0.1:1080`"])
    const switched = rows.find((row) => row[1] === "`--open-proxy`")
    assert.deepStrictEqual(switched?.slice(1, 4), ["`--open-proxy`", "`SLUICE_OPEN_PROXY`", "off"])
  })

  it("is the README's table", () => {
    const sections = [...readFileSync(readme, "utf8").matchAll(/^<!-- flags -->\n(.*?)^<!-- \/flags -->$/gms)]
    assert.strictEqual(sections.length, 1, "README.md has one section between <!-- flags --> and <!-- /flags -->")
    assert.strictEqual(sections[0]?.[1]?.trim(), flagsTable(), "put what flagsTable() returns into README.md")
  })
})
