import { assert, describe, it } from "@effect/vitest"
import { Ajv } from "ajv"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parse as parseYaml } from "yaml"
import * as Config from "../../src/config/Config.ts"
import * as ConfigFile from "../../src/config/ConfigFile.ts"
import * as Example from "../../src/config/Example.ts"
import { fields } from "./JsonSchemaFields.ts"

type Json = Readonly<Record<string, unknown>>

const schema: Json = Config.jsonSchema()

const isMap = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

const mapAt = (map: Json, key: string): Json => {
  const value = map[key]
  return isMap(value) ? value : {}
}

const validate = new Ajv().compile(schema)

/** As an editor sees the text. */
const isValid = (text: string): boolean => validate(parseYaml(text))

const programTakes = (text: string) =>
  Effect.map(Effect.result(ConfigFile.parse("sluice.yaml", text)), Result.isSuccess)

describe("the JSON Schema", () => {
  it("takes the example", () => {
    const uncommented = Example.example().replaceAll(/^# /gm, "")
    assert.isTrue(isValid(uncommented), JSON.stringify(validate.errors))
    assert.isTrue(isValid(uncommented.replaceAll(/^# /gm, "")), JSON.stringify(validate.errors))
  })

  it.each([
    "{}",
    "users: users.txt",
    "bans: off",
    "upstreams: { a: { proxies: [{ url: socks5://a, user: ann, passwordEnv: X }, [socks5://b]] } }"
  ])("takes %s", (text) => {
    assert.isTrue(isValid(text))
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
    "upstreams: { a: { proxies: [{ url: socks5://a, passwordEnv: a-b }] } }",
    "userOptions: { a: { kind: other } }",
    "tests: [{ connect: \"a.test:1\" }]"
  ])("refuses %s", (text) => {
    assert.isFalse(isValid(text))
  })

  it.effect.each(fields)(
    "takes of $name what the program takes, and refuses what it refuses",
    ({ refuses, takes, within }) =>
      Effect.gen(function*() {
        for (const [values, wanted] of [[takes, true], [refuses, false]] as const) {
          for (const value of values) {
            const text = within(value)
            assert.deepStrictEqual([text, yield* programTakes(text)], [text, wanted])
            assert.deepStrictEqual([text, isValid(text)], [text, wanted])
          }
        }
      })
  )

  it.effect.prop(
    "takes whatever the program takes",
    [
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: fields.length - 1 })),
      Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 }))).check(Schema.isMaxLength(6)),
      Schema.Boolean
    ],
    ([index, picks, quoted]) =>
      Effect.gen(function*() {
        const { parts = [], within } = fields[index] ?? {}
        const value = picks.map((pick) => parts[pick % parts.length] ?? "").join("")
        const text = within?.(quoted ? JSON.stringify(value) : value) ?? ""
        if (yield* programTakes(text)) assert.isTrue(isValid(text), text)
      }),
    { arbitrary: { runs: 3000 } }
  )

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
    const open: Array<Json> = []
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
