import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { parse as parseYaml } from "yaml"
import * as Config from "../../src/config/Config.ts"
import * as ConfigFile from "../../src/config/ConfigFile.ts"
import * as Example from "../../src/config/Example.ts"

type JsonSchema = Readonly<Record<string, unknown>>

const schema: JsonSchema = Config.jsonSchema()

const isMap = (value: unknown): value is JsonSchema =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const mapAt = (map: JsonSchema, key: string): JsonSchema => {
  const value = map[key]
  return isMap(value) ? value : {}
}

const schemasAt = (map: JsonSchema, key: string): ReadonlyArray<JsonSchema> | undefined => {
  const value = map[key]
  return Array.isArray(value) ? value.filter(isMap) : undefined
}

const isOfType = (value: unknown, type: unknown): boolean => {
  if (type === "object") return isMap(value)
  if (type === "array") return Array.isArray(value)
  return type === undefined || typeof value === type
}

/** What the keywords that are in use mean (draft 07); others are of no matter, but for the descriptions. */
const isValid = (value: unknown, rules: JsonSchema): boolean => {
  const { $ref, additionalProperties, enum: words, items, required, type } = rules
  if (typeof $ref === "string") {
    return isValid(value, mapAt(mapAt(schema, "definitions"), $ref.replace("#/definitions/", "")))
  }
  if (!isOfType(value, type) || (Array.isArray(words) && !words.includes(value))) return false
  const [any, all, one] = ["anyOf", "allOf", "oneOf"].map((key) => schemasAt(rules, key))
  if (any?.some((one) => isValid(value, one)) === false) return false
  if (all?.every((one) => isValid(value, one)) === false) return false
  if (one !== undefined && one.filter((one) => isValid(value, one)).length !== 1) return false
  if (Array.isArray(value)) return !isMap(items) || value.every((item) => isValid(item, items))
  if (!isMap(value)) return true
  const properties = mapAt(rules, "properties")
  return (!Array.isArray(required) || required.every((key) => String(key) in value)) &&
    Object.entries(value).every(([key, item]) =>
      key in properties
        ? isValid(item, mapAt(properties, key))
        : isMap(additionalProperties)
        ? isValid(item, additionalProperties)
        : additionalProperties !== false
    )
}

const example = Example.example()
const uncommented = example.replaceAll(/^# /gm, "")

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
      const keys = Object.keys(parseYaml(uncommented))
      assert.sameMembers(keys, Object.keys(mapAt(schema, "properties")))
    }))

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
})

describe("the JSON Schema", () => {
  it("takes the example", () => {
    assert.isTrue(isValid(parseYaml(uncommented), schema))
  })

  it.each([
    "{}",
    "workers: 2",
    "openProxy: true",
    "listen: 127.0.0.1:1080",
    "users: users.txt",
    "rules: [{ ports: 80, action: deny }]",
    "upstreams: { a: { proxies: [{ url: socks5://a, user: ann, passwordEnv: X }, [socks5://b]] } }"
  ])("takes %s", (text) => {
    assert.isTrue(isValid(parseYaml(text), schema))
  })

  it.each([
    "[]",
    "lisen: 1",
    "workers: [2]",
    "openProxy: {}",
    "logLevel: loud",
    "users: [{ nam: ann }]",
    "rules: [{ ports: 80 }]",
    "rules: [{ action: maybe }]",
    "rules: [{ action: deny, not: { too: a } }]",
    "limits: { user: { ups: 10MB/s } }",
    "upstreams: { a: { proxies: [[[socks5://b]]] } }",
    "userOptions: { a: { kind: other } }",
    "tests: [{ connect: \"a.test:1\" }]"
  ])("refuses %s", (text) => {
    assert.isFalse(isValid(parseYaml(text), schema))
  })

  it("describes every key, closes every map, and says what is the default", () => {
    assert.strictEqual(schema["$schema"], "http://json-schema.org/draft-07/schema#")
    const properties = mapAt(schema, "properties")
    for (const [key, rules] of Object.entries(properties)) {
      assert.isTrue(isMap(rules) && typeof rules["description"] === "string" && rules["description"].length > 0, key)
    }
    for (const { choices, default: value, key, kind } of Config.settings) {
      const rules = mapAt(properties, key)
      if (value !== undefined) assert.deepStrictEqual(rules["default"], kind === "switch" ? value === "true" : value)
      if (choices !== undefined) assert.deepStrictEqual(rules["enum"], choices)
    }
    const open: Array<JsonSchema> = []
    const walk = (value: unknown): void => {
      if (Array.isArray(value)) return value.forEach(walk)
      if (!isMap(value)) return
      if (
        "properties" in value && isMap(value["properties"]) && value["type"] === "object" &&
        value["additionalProperties"] !== false
      ) open.push(value)
      Object.values(value).forEach(walk)
    }
    walk(schema)
    assert.deepStrictEqual(open, [])
  })
})
