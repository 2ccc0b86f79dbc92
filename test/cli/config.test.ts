import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../../src/cli/main.ts"
import * as Example from "../../src/config/Example.ts"
import * as Cli from "../support/Cli.ts"

const folder = mkdtempSync(join(tmpdir(), "sluice-config-"))

const write = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const endingOf = (args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.provideService(
    run(args),
    ConfigProvider.ConfigProvider,
    ConfigProvider.fromEnvRecord(env, { preserveEmptyStrings: true })
  )

describe("sluice config", () => {
  it.live("prints the JSON Schema", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Cli.run(["config", "schema"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      const schema = JSON.parse(stdout)
      assert.strictEqual(schema.$schema, "http://json-schema.org/draft-07/schema#")
      assert.includeMembers(Object.keys(schema.properties), ["listen", "users", "rules", "tests"])
      assert.isFalse(schema.additionalProperties)
    }))

  it.live("prints an example that is fine as it is, and with all of it uncommented", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Cli.run(["config", "example"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.strictEqual(stdout, `${Example.example()}\n`)
      const commented = write("commented.yaml", stdout)
      assert.deepStrictEqual(yield* Cli.run(["check", commented]), {
        code: 0,
        stdout: `${commented} is fine: 0 rules, 0 tests passed\n`,
        stderr: ""
      })
      const whole = write("whole.yaml", stdout.replaceAll(/^# /gm, ""))
      const checked = yield* Cli.run(["check", whole])
      assert.deepStrictEqual([checked.code, checked.stderr], [0, ""])
      // Its upstreams and its service are nowhere, and its addresses those of documentation.
      const [last, ...warnings] = checked.stdout.trim().split("\n").toReversed()
      assert.strictEqual(last, `${whole} is fine: 4 rules, 3 tests passed`)
      for (const warning of warnings) {
        assert.match(
          warning,
          /whole\.yaml:\d+:\d+ (?:(?:upstreams?|auth).*: can't resolve|\S*egress: this machine has no address 192\.0\.2\.)/
        )
      }
    }))
})

describe("--config", () => {
  it.effect("names the file and the place of each mistake, and exits with 2", () =>
    Effect.gen(function*() {
      const path = write("bad.yaml", "lisen: 1\nworkers: 0\n")
      const ending = {
        code: 2,
        complaint: `${path}:1:1 lisen: no such key; did you mean listen?`,
        more: [`${path}:2:1 workers: "0" is not a whole number from 1 to 1024, or auto`]
      }
      assert.deepStrictEqual(yield* endingOf(["serve", "--config", path]), ending)
      assert.deepStrictEqual(yield* endingOf(["serve"], { SLUICE_CONFIG: path }), ending)
    }))

  it.effect("names what can't be read", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* endingOf(["serve", "--config", "/nonexistent.yaml"]), {
        code: 2,
        complaint: "/nonexistent.yaml: no such file; correct the path"
      })
      assert.deepStrictEqual(yield* endingOf(["serve", "--config="]), {
        code: 2,
        complaint: "--config: is empty; give the path of a file"
      })
    }))

  it.effect("says where in the file it was that an address was given", () =>
    Effect.gen(function*() {
      const path = write("listen.yaml", "workers: 1\nlisten: [\"127.0.0.1:1\", \"localhost:1\"]\n")
      assert.deepStrictEqual(yield* endingOf(["serve", "--config", path]), {
        code: 2,
        complaint: `${path}:2:1 listen: 127.0.0.1:1 is given twice; give it once`
      })
    }))

  it.effect("loses to flags and variables", () =>
    Effect.gen(function*() {
      const path = write("precedence.yaml", "listen: [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n")
      const twice = "127.0.0.1:2 is given twice; give it once"
      assert.deepStrictEqual(
        yield* endingOf(["serve", "--config", path, "--listen", "127.0.0.1:2", "--listen", "127.0.0.1:2"]),
        { code: 2, complaint: `--listen: ${twice}` }
      )
      assert.deepStrictEqual(
        yield* endingOf(["serve", "--config", path], { SLUICE_LISTEN: "127.0.0.1:2 127.0.0.1:2" }),
        { code: 2, complaint: `SLUICE_LISTEN: ${twice}` }
      )
    }))

  it.live("tells each mistake on a line of its own", () =>
    Effect.gen(function*() {
      const path = write("two.yaml", "lisen: 1\nworkers: 0\n")
      const { code, stderr, stdout } = yield* Cli.run(["serve", "--config", path])
      assert.deepStrictEqual([code, stdout], [2, ""])
      assert.strictEqual(
        stderr,
        `sluice: ${path}:1:1 lisen: no such key; did you mean listen?\n` +
          `sluice: ${path}:2:1 workers: "0" is not a whole number from 1 to 1024, or auto\n`
      )
    }))

  it.live("serves what the file says", () =>
    Effect.gen(function*() {
      const path = write("serve.yaml", "protocols: [http]\nlogFormat: json\n")
      const cli = yield* Cli.serve({ args: ["--config", path] })
      assert.include(cli.stdout(), "listening on http://127.0.0.1:")
      assert.strictEqual(yield* cli.stop, 0)
      assert.match(cli.stderr(), /^\{.*"stopped".*\}$/m)
    }))
})
