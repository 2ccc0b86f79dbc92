import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"

const room = new URL("../../src/protocol/", import.meta.url)

describe("the protocol room", () => {
  const files = readdirSync(room).filter((file) => file.endsWith(".ts"))

  it("has the files that this test believes to read", () => {
    assert.includeMembers(files, ["Address.ts", "Codec.ts", "Request.ts"])
  })

  it.each(files)("%s imports nothing but effect and its own room, and no global of Node", (file) => {
    const source = readFileSync(new URL(file, room), "utf8")
    for (const [, from = ""] of source.matchAll(/\b(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
      assert.match(from, /^(?:effect\/.+|\.\/[A-Za-z0-9]+\.ts)$/)
    }
    assert.notMatch(source, /\b(?:Buffer|process|require|setTimeout|globalThis)\b/)
  })
})
