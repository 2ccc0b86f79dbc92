import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as UserFields from "../../src/policy/UserFields.ts"
import * as UsersFile from "../../src/policy/UsersFile.ts"
import * as UsersFileEdit from "../../src/policy/UsersFileEdit.ts"

const hash = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"
const fresh = hash.replace("$ZGln", "$AAAA")

const edit = (name: string, fields: UserFields.UserFields = {}): UsersFileEdit.Edit => ({
  path: "users",
  name,
  hash: Redacted.make(fresh),
  fields
})

const made = (edited: UsersFileEdit.Edited) => Result.getOrThrow(edited)

const problem = (edited: UsersFileEdit.Edited) => Result.isFailure(edited) ? edited.failure : "none"

describe("Adding a user", () => {
  it("appends a line, whatever the last one ends with", () => {
    assert.strictEqual(made(UsersFileEdit.add("", edit("ann"))), `ann:${fresh}\n`)
    assert.strictEqual(made(UsersFileEdit.add("# us\n", edit("ann"))), `# us\nann:${fresh}\n`)
    assert.strictEqual(made(UsersFileEdit.add(`bob:${hash}`, edit("ann"))), `bob:${hash}\nann:${fresh}\n`)
    assert.strictEqual(
      made(UsersFileEdit.add(`# us\r\nbob:${hash}\r\n`, edit("ann"))),
      `# us\r\nbob:${hash}\r\nann:${fresh}\r\n`
    )
  })

  it("puts a further password below the others of the user", () => {
    const text = `ann:${hash}:groups=staff\n# the rest\nbob:${hash}\n`
    assert.strictEqual(
      made(UsersFileEdit.add(text, edit("ann", { label: "phone", expires: Date.UTC(2027, 0, 1) }))),
      `ann:${hash}:groups=staff\nann:${fresh}:label=phone expires=2027-01-01\n# the rest\nbob:${hash}\n`
    )
  })

  it("takes no name or label that is taken, and nothing that would make a bad file", () => {
    const text = `ann:${hash}:label=phone groups=staff\nbob:${hash}\n`
    assert.strictEqual(
      problem(UsersFileEdit.add(text, edit("bob"))),
      "user \"bob\" is there already; sluice user passwd changes the password, --label adds one"
    )
    assert.strictEqual(
      problem(UsersFileEdit.add(text, edit("ann", { label: "phone" }))),
      "\"ann\" has a password \"phone\" already; choose another --label"
    )
    assert.strictEqual(
      problem(UsersFileEdit.add(text, edit("ann", { label: "tablet", groups: ["crawlers"] }))),
      "users:2: groups= of \"ann\" stands on line 1 already; remove one of them"
    )
    assert.strictEqual(
      problem(UsersFileEdit.add(`${text}broken\n`, edit("eve"))),
      "users:3: no colon after the name; write NAME:HASH, and for the hash run: sluice hash"
    )
  })
})

describe("Changing a password", () => {
  it("keeps everything but the hash and what is given", () => {
    const text = `# us\r\nann:${hash}:expires=2027-01-01 groups=staff\r\n\r\nbob:${hash}\n`
    assert.strictEqual(
      made(UsersFileEdit.replace(text, edit("ann", { limits: "heavy" }))),
      `# us\r\nann:${fresh}:expires=2027-01-01 groups=staff limits=heavy\r\n\r\nbob:${hash}\n`
    )
    assert.strictEqual(made(UsersFileEdit.replace(`bob:${hash}`, edit("bob"))), `bob:${fresh}`)
  })

  it("takes back what is lifted", () => {
    const text = `ann:${hash}:expires=2027-01-01 groups=staff egress=192.0.2.1 egress-by=user\n`
    const lifted = (...keys: ReadonlyArray<UserFields.Key>) =>
      made(UsersFileEdit.replace(text, { ...edit("ann"), lifted: new Set(keys) }))
    assert.strictEqual(lifted("groups", "egress"), `ann:${fresh}:expires=2027-01-01\n`)
    assert.strictEqual(lifted("expires", "limits", "egress-by"), `ann:${fresh}:groups=staff egress=192.0.2.1\n`)
  })

  it("needs to know which of several", () => {
    const text = `ann:${hash}:label=a\nann:${hash}:label=b\n`
    assert.strictEqual(
      problem(UsersFileEdit.replace(text, edit("ann"))),
      "\"ann\" has several passwords (a, b); say which one by --label"
    )
    assert.strictEqual(
      problem(UsersFileEdit.replace(text, edit("ann", { label: "c" }))),
      "\"ann\" has no password \"c\" but a, b; give one of these to --label"
    )
    assert.strictEqual(
      problem(UsersFileEdit.replace(text, edit("bob"))),
      "there is no user \"bob\"; sluice user list shows who there is"
    )
    assert.strictEqual(
      made(UsersFileEdit.replace(text, edit("ann", { label: "b" }))),
      `ann:${hash}:label=a\nann:${fresh}:label=b\n`
    )
    // The one without a label is meant where none is given.
    assert.strictEqual(
      made(UsersFileEdit.replace(`ann:${hash}\nann:${hash}:label=b\n`, edit("ann"))),
      `ann:${fresh}\nann:${hash}:label=b\n`
    )
  })
})

describe("Removing", () => {
  const text =
    `# us\nann:${hash}:groups=staff expires=2027-01-01\nbob:${hash}\nann:${hash}:label=phone limits=heavy\n# end`

  it("takes all lines of a user, and leaves the others as they are", () => {
    assert.strictEqual(made(UsersFileEdit.remove(text, { path: "users", name: "ann" })), `# us\nbob:${hash}\n# end`)
    assert.strictEqual(
      problem(UsersFileEdit.remove(text, { path: "users", name: "eve" })),
      "there is no user \"eve\"; sluice user list shows who there is"
    )
  })

  it("takes one password, and leaves the user what is the user's", () => {
    const labelled = text.replace(":groups", ":label=laptop groups")
    assert.strictEqual(
      made(UsersFileEdit.remove(labelled, { path: "users", name: "ann", label: "laptop" })),
      `# us\nbob:${hash}\nann:${hash}:label=phone groups=staff limits=heavy\n# end`
    )
    assert.strictEqual(
      made(UsersFileEdit.remove(text, { path: "users", name: "ann", label: "phone" })),
      `# us\nann:${hash}:expires=2027-01-01 groups=staff limits=heavy\nbob:${hash}\n# end`
    )
    assert.strictEqual(
      problem(UsersFileEdit.remove(text, { path: "users", name: "bob", label: "phone" })),
      "\"bob\" has no password \"phone\" but one without a label; give one of these to --label"
    )
  })
})

describe("A sequence of edits", () => {
  const step = Schema.Struct({
    what: Schema.Literals(["add", "replace", "remove"]),
    name: Schema.Literals(["ann", "bob", "cid"]),
    label: Schema.Literals(["", "a", "b"]),
    groups: Schema.Literals(["", "staff"])
  })

  it.effect.prop(
    "leaves a good file with all comments, and changes nobody else",
    [Schema.Array(step)],
    ([steps]) =>
      Effect.sync(() => {
        let text = `# first\nzoe:${hash}\n\n  # last`
        for (const { groups, label, name, what } of steps) {
          const fields = { ...label !== "" && { label }, ...groups !== "" && { groups: [groups] } }
          const edited = what === "remove"
            ? UsersFileEdit.remove(text, { path: "users", name, ...fields })
            : (what === "add" ? UsersFileEdit.add : UsersFileEdit.replace)(text, edit(name, fields))
          if (Result.isFailure(edited)) continue
          const others = (content: string) =>
            content.split("\n").filter((line) => line !== "" && !line.startsWith(`${name}:`))
          assert.deepStrictEqual(others(edited.success), others(text))
          text = edited.success
          const entries = Result.getOrThrow(UsersFile.parse("users", text))
          const own = entries.filter((entry) => entry.name === name)
          if (what === "remove") assert.isFalse(own.some((entry) => label !== "" && entry.label === label))
          else assert.isTrue(own.some((entry) => Redacted.value(entry.hash) === fresh))
        }
      })
  )
})
