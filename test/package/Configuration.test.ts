/** What docs/configuration.md shows is what the program takes. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cli from "../support/Cli.ts"
import * as Program from "../support/Program.ts"

const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8")

const examples = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, text = ""], index) => [index + 1, text] as const)

/** A folder with an example in it, and what the example names. */
const folderWith = (text: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "sluice-docs-"))
      writeFileSync(join(folder, "sluice.yaml"), text.replace(/^listen:.*\n/m, "listen: 127.0.0.1:0\n"))
      writeFileSync(join(folder, "ads.txt"), "0.0.0.0 ads.example # an ad\n")
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

describe("docs/configuration.md", () => {
  it("has examples", () => {
    assert.isAtLeast(examples.length, 7)
  })

  it.live.each(examples)("example %i is fine, and can be served by", ([, text]) =>
    Effect.gen(function*() {
      const folder = yield* folderWith(text)
      const checked = yield* Program.run(process.execPath, [Cli.path, "check", "sluice.yaml"], { cwd: folder })
      assert.strictEqual(checked.code, 0, checked.stderr)
      const odd = checked.stdout.split("\n").filter((line) => line.startsWith("warning:"))
      // Those names and addresses are for documentation (RFC 2606, RFC 5737).
      assert.deepStrictEqual(odd.filter((line) => !/can't resolve \S+\.example|no address 192\.0\.2\./.test(line)), [])
      const listens = text.includes("listen:") ? { inherits: 1 } : {}
      const proxy = yield* Cli.serve({ args: ["--config", join(folder, "sluice.yaml")], ...listens })
      assert.strictEqual(yield* proxy.stop, 0)
    }))

  it.live("explains what it says that explain does", () =>
    Effect.gen(function*() {
      const [, text = ""] = examples.find(([, text]) => text.includes("no-databases")) ?? []
      const folder = yield* folderWith(text)
      const [, command = ""] = /\nsluice (explain .*)\n/.exec(page) ?? []
      const explained = yield* Program.run(
        process.execPath,
        [Cli.path, ...command.split(" "), "--resolves-to", "10.20.0.7"],
        { cwd: folder }
      )
      assert.strictEqual(explained.code, 0, explained.stderr)
      assert.include(explained.stdout, "result: allowed by rule databases")
    }))
})
