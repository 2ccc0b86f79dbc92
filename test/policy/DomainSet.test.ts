import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Domain from "../../src/policy/Domain.ts"
import { DomainSet } from "../../src/policy/DomainSet.ts"

const domain = (text: string): Domain.Domain => Result.getOrThrow(Domain.fromString(text))
const setOf = (...texts: ReadonlyArray<string>) => DomainSet.of(texts.map(domain))

const Label = Schema.Literals(["a", "b", "ab", "ba", "x-y"])
const Labels = Schema.Array(Label).check(Schema.isBetweenLength(1, 4))
const Entries = Schema.Array(Schema.Tuple([Labels, Schema.Boolean])).check(Schema.isMaxLength(30))

const Pattern = Schema.Array(Schema.Literals(["a", "b", ".", "*", "?"])).check(Schema.isMaxLength(8))
const Text = Schema.Array(Schema.Literals(["a", "b", "."])).check(Schema.isMaxLength(10))

describe("Domain", () => {
  const cases: ReadonlyArray<readonly [text: string, domain: Domain.Domain]> = [
    ["db.corp", { _tag: "Domain", kind: "exact", text: "db.corp" }],
    ["DB.Corp.", { _tag: "Domain", kind: "exact", text: "db.corp" }],
    [".Corp", { _tag: "Domain", kind: "suffix", text: "corp" }],
    ["*.DB.*", { _tag: "Domain", kind: "glob", text: "*.db.*" }],
    ["_sip.db?.corp.", { _tag: "Domain", kind: "glob", text: "_sip.db?.corp" }],
    ["bücher.example", { _tag: "Domain", kind: "exact", text: "xn--bcher-kva.example" }],
    [".bücher.example", { _tag: "Domain", kind: "suffix", text: "xn--bcher-kva.example" }]
  ]
  for (const [text, expected] of cases) {
    it(`reads ${text}`, () => assert.deepStrictEqual(Domain.fromString(text), Result.succeed(expected)))
  }

  const wrong: ReadonlyArray<readonly [text: string, problem: string]> = [
    ["", "is no domain (domain name must not be empty)"],
    [".", "is no domain (domain name must not be empty)"],
    ["a..b", "is no domain (domain name labels must not be empty)"],
    ["a b", "is no domain (invalid domain name)"],
    ["bü*.example", "has characters that no name has; write IDN as xn--…"],
    ["*..corp", "has an empty label"],
    [`*${"a".repeat(253)}`, "is longer than 253 characters"]
  ]
  for (const [text, problem] of wrong) {
    it(`refuses ${JSON.stringify(text.slice(0, 20))}`, () =>
      assert.deepStrictEqual(Domain.fromString(text), Result.fail(problem)))
  }

  it("prints what it reads", () => {
    for (const text of ["db.corp", ".corp", "*.db.*"]) assert.strictEqual(Domain.format(domain(text)), text)
  })

  it("matches globs with any text for a star, dots too", () => {
    for (const name of ["x.db.corp", "a.b.db.c.d", ".db."]) assert.isTrue(Domain.globMatches("*.db.*", name), name)
    for (const name of ["db.corp", "x.dbs.corp", "x.db", ""]) assert.isFalse(Domain.globMatches("*.db.*", name), name)
    assert.isTrue(Domain.globMatches("db?.corp", "db1.corp"))
    assert.isFalse(Domain.globMatches("db?.corp", "db.corp"))
  })

  it.effect.prop("matches globs as a regular expression does", [Pattern, Text], ([pattern, text]) =>
    Effect.sync(() => {
      const glob = pattern.join("")
      const source = glob.replaceAll(".", "\\.").replaceAll("?", ".").replaceAll("*", ".*")
      assert.strictEqual(
        Domain.globMatches(glob, text.join("")),
        new RegExp(`^${source}$`).test(text.join("")),
        `${glob} ${text.join("")}`
      )
    }))

  it("is not slow for a glob that makes a regular expression slow", () => {
    assert.isFalse(Domain.globMatches(`${"*a".repeat(60)}*b`, "a".repeat(253)))
  })
})

describe("DomainSet", () => {
  it("finds names, and what is below suffixes", () => {
    const set = setOf("exact.test", ".example.com", ".corp")
    assert.strictEqual(set.size, 3)
    assert.strictEqual(set.find("exact.test"), "exact.test")
    assert.strictEqual(set.find("example.com"), ".example.com")
    assert.strictEqual(set.find("a.b.example.com"), ".example.com")
    assert.strictEqual(set.find("corp"), ".corp")
    for (const name of ["a.exact.test", "test", "badexample.com", "example.com.evil.test", "com", "c", "", "xcorp"]) {
      assert.strictEqual(set.find(name), undefined, name)
    }
  })

  it("is empty without domains", () => {
    assert.strictEqual(setOf().size, 0)
    assert.isFalse(setOf().has("example.com"))
    assert.isFalse(setOf().has(""))
  })

  it("holds a domain once, and tells a name from the suffix", () => {
    assert.strictEqual(setOf("a.test", "a.test", ".a.test", "A.TEST.").size, 2)
    assert.isFalse(setOf("a.test").has("b.a.test"))
  })

  it("holds names of all lengths", () => {
    const longest = `${`${"l".repeat(63)}.`.repeat(3)}${"l".repeat(61)}`
    const set = setOf("x", longest, `.${longest}`)
    assert.strictEqual(longest.length, 253)
    assert.strictEqual(set.size, 3)
    assert.isTrue(set.has(longest))
    assert.isTrue(set.has("x"))
    assert.isFalse(set.has(`${"l".repeat(62)}${longest.slice(62)}x`))
  })

  it("has all of a hundred thousand names, and none besides", () => {
    const names = Array.from({ length: 100_000 }, (_, index) => `host-${index}.ads${index % 7}.example`)
    const set = DomainSet.of(names.map((text) => ({ _tag: "Domain", kind: "exact", text })))
    assert.strictEqual(set.size, names.length)
    assert.isTrue(names.every((name) => set.has(name)))
    assert.isFalse(names.some((name) => set.has(`x${name}`) || set.has(name.slice(1)) || set.has(`${name}s`)))
  })

  it.effect.prop(
    "says what a look at each domain says",
    [Entries, Schema.Array(Labels)],
    ([entries, names]) =>
      Effect.sync(() => {
        const domains = entries.map(([labels, isSuffix]): Domain.Domain => ({
          _tag: "Domain",
          kind: isSuffix ? "suffix" : "exact",
          text: labels.join(".")
        }))
        const set = DomainSet.of(domains)
        assert.strictEqual(set.size, new Set(domains.map(Domain.format)).size)
        for (const labels of names) {
          const name = labels.join(".")
          const expected = domains.some(({ kind, text }) =>
            name === text || (kind === "suffix" && name.endsWith(`.${text}`))
          )
          assert.strictEqual(set.has(name), expected, name)
        }
      })
  )
})
