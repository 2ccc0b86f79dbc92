import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parse as parseYaml } from "yaml"
import * as Config from "../../src/config/Config.ts"
import * as ConfigFile from "../../src/config/ConfigFile.ts"
import * as Example from "../../src/config/Example.ts"

type Json = Readonly<Record<string, unknown>>

const schema: Json = Config.jsonSchema()

const isMap = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

const example = Example.example()
const uncommented = example.replaceAll(/^# /gm, "")
/** With what names files and variables too. */
const all = uncommented.replaceAll(/^# /gm, "")

/** The paths of all keys, without the steps into lists, and with `*` for names of one's own. */
const pathsOfSchema = (rules: unknown, path = ""): ReadonlyArray<string> => {
  if (!isMap(rules)) return []
  const { additionalProperties, allOf, anyOf, items, oneOf, properties } = rules
  return [
    ...[anyOf, oneOf, allOf].flatMap((several) => Array.isArray(several) ? several : []),
    items
  ].flatMap((rules) => pathsOfSchema(rules, path)).concat(
    Object.entries(isMap(properties) ? properties : {}).flatMap(([key, rules]) =>
      [`${path}.${key}`].concat(pathsOfSchema(rules, `${path}.${key}`))
    ),
    pathsOfSchema(additionalProperties, `${path}.*`)
  )
}

const pathsOf = (value: unknown, path = ""): ReadonlyArray<string> => {
  if (Array.isArray(value)) return value.flatMap((item) => pathsOf(item, path))
  if (!isMap(value)) return []
  return Object.entries(value).flatMap(([key, item]) => [`${path}.${key}`].concat(pathsOf(item, `${path}.${key}`)))
}

describe("the example", () => {
  it("has nothing that isn't a comment", () => {
    for (const line of example.split("\n")) assert.match(line, /^$|^##?( |$)/)
  })

  it.effect("is valid once all of it is uncommented", () =>
    Effect.gen(function*() {
      const { config } = yield* ConfigFile.parse("sluice.yaml", uncommented)
      assert.sameMembers(Object.keys(config.settings), Config.settings.map(({ key }) => key))
      assert.isAbove(config.rules.length, 0)
      assert.isAbove(config.tests.length, 0)
      assert.sameMembers(
        Object.keys(parseYaml(uncommented)),
        Object.keys(isMap(schema["properties"]) ? schema["properties"] : {})
      )
    }))

  it.effect("is valid with what is behind two # as well, once what that names is there", () =>
    Effect.gen(function*() {
      const folder = mkdtempSync(join(tmpdir(), "sluice-example-"))
      const [, hash = ""] = /hash: "([^"]*)"/.exec(all) ?? []
      const files = {
        "cleo.hash": hash,
        "desk.hash": hash,
        "auth.token": "token",
        "ads.txt": "0.0.0.0 ads.test",
        "d.password": "sesame",
        "proxy.password": "sesame"
      }
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), `${text}\n`)
      const variables = { DORA_HASH: hash, TABLET_HASH: hash, E_PASSWORD: "sesame", PROXY_PASSWORD: "sesame" }
      const { config } = yield* Effect.provideService(
        ConfigFile.parse(join(folder, "sluice.yaml"), all),
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnvRecord(variables)
      )
      assert.deepStrictEqual(config.users?.map(({ name }) => name), ["ann", "bob", "cleo", "dora"])
      assert.deepStrictEqual(Object.keys(config.lists), ["office", "social", "ads"])
      assert.lengthOf(config.settings.upstream ?? [], 3)
    }))

  it("has every option", () => {
    const shown = pathsOf(parseYaml(all))
    const isShown = (path: string): boolean => {
      const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll("*", "[^.]+")}$`)
      return shown.some((one) => pattern.test(one))
    }
    const wanted = [...new Set(pathsOfSchema(schema))]
    assert.includeMembers(wanted, [".rules.not.when.days", ".limits.groups.*.up", ".upstreams.*.proxies.passwordEnv"])
    assert.deepStrictEqual(wanted.filter((path) => !isShown(path)), [])
  })

  it("has what a rule must not be in the order of what it must be", () => {
    const [rule] = parseYaml(uncommented).rules
    assert.deepStrictEqual(Object.keys(rule).filter((key) => key in rule.not), Object.keys(rule.not))
  })

  it.effect("has the defaults", () =>
    Effect.gen(function*() {
      for (const { default: value, key } of Config.settings) {
        if (value === undefined) continue
        const { config } = yield* ConfigFile.parse("sluice.yaml", `${key}: ${JSON.stringify(value)}`)
        const shown = yield* ConfigFile.parse(
          "sluice.yaml",
          new RegExp(`^${key}: .*$`, "m").exec(uncommented)?.[0] ?? ""
        )
        assert.deepStrictEqual(shown.config.settings, config.settings)
      }
    }))

  it("has the defaults of sections as values, or says them", () => {
    const lines = example.split("\n")
    const missing: Array<string> = []
    const walk = (rules: unknown, key: string): void => {
      if (!isMap(rules)) return
      const { additionalProperties, anyOf, default: value, items, properties } = rules
      if (value !== undefined) {
        const said = lines.some((line, index) =>
          new RegExp(`\\b${key}: `).test(line) &&
          (line.includes(String(value)) || lines.slice(0, index).findLast((line) => line.startsWith("##"))
            ?.includes(`default: ${value}`))
        )
        if (!said && !Array.isArray(value)) missing.push(key)
      }
      for (const [key, rules] of Object.entries(isMap(properties) ? properties : {})) walk(rules, key)
      for (const rules of [...Array.isArray(anyOf) ? anyOf : [], items, additionalProperties]) walk(rules, key)
    }
    walk(schema, "")
    assert.deepStrictEqual(missing, [])
  })
})
