import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { timingSafeEqual } from "node:crypto"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Users from "../../src/policy/Users.ts"

const canary = "S3cr3t-canary"

const user = (name: string, password: string): Users.User => ({ name, password: Redacted.make(password) })

const login = (service: Authenticator["Service"], username: string, password: string) =>
  service.authenticate({ username, password: Redacted.make(password), client: undefined })

const refused = Effect.fnUntraced(
  function*(service: Authenticator["Service"], username: string, password: string) {
    const error = yield* Effect.flip(login(service, username, password))
    assert.strictEqual(error._tag, "AuthenticationFailed")
    assert.strictEqual(error.message, "authentication failed")
    return error
  }
)

const fileWith = Effect.fnUntraced(function*(lines: ReadonlyArray<string>) {
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "sluice-users-"))),
    (path) => Effect.promise(() => rm(path, { recursive: true }))
  )
  const path = join(folder, "users.txt")
  yield* Effect.promise(() => writeFile(path, `${lines.join("\n")}\n`))
  return path
})

const hashed = (name: string, password: string) =>
  Effect.map(PasswordHash.hash(Redacted.make(password)), (hash) => `${name}:${hash}`)

const assertSilent = (value: unknown) => {
  for (const shown of [inspect(value, { depth: null, showHidden: true }), String(value), JSON.stringify(value) ?? ""]) {
    for (const encoding of ["utf8", "hex", "base64"] as const) {
      assert.notInclude(shown, Buffer.from(canary).toString(encoding))
    }
  }
}

describe("Users from flags", () => {
  it.effect("lets each user in with their own password, and with nothing else", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [user("ann", "one"), user("bob", "two")] })
      assert.isTrue(service.required)
      assert.strictEqual((yield* login(service, "ann", "one")).name, "ann")
      assert.strictEqual((yield* login(service, "bob", "two")).name, "bob")
      for (
        const [name, password] of [
          ["ann", "two"],
          ["ann", "One"],
          ["ann", "onE"],
          ["ann", "on"],
          ["ann", "onee"],
          ["ann", "one\0"],
          ["ann", ""],
          ["Ann", "one"],
          ["", "one"],
          ["", ""],
          ["eve", "one"]
        ] as const
      ) {
        yield* refused(service, name, password)
      }
    }))

  it.effect("lets nobody in when there are no users", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [] })
      assert.isTrue(service.required)
      yield* refused(service, "", "")
      yield* refused(service, "ann", "one")
    }))

  it.effect("takes an empty password only where one was configured", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [user("ann", ""), user("bob", "two")] })
      assert.strictEqual((yield* login(service, "ann", "")).name, "ann")
      yield* refused(service, "bob", "")
      yield* refused(service, "eve", "")
    }))

  it.effect("takes a name alone only where the empty password was configured", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [user("ann", ""), user("bob", "two")] })
      assert.strictEqual((yield* service.identify?.("ann", undefined) ?? Effect.succeed({ name: "" })).name, "ann")
      for (const name of ["bob", "eve", "Ann", "", "two"]) {
        const error = yield* Effect.flip(service.identify?.(name, undefined) ?? Effect.succeed({ name: "" }))
        assert.strictEqual(error._tag, "AuthenticationFailed")
      }
      // What is wrong for the name stays wrong for the login.
      yield* refused(service, "ann", "two")
    }))

  it.effect("keeps the last of two passwords for one name", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [user("ann", "old"), user("ann", "new")] })
      assert.strictEqual((yield* login(service, "ann", "new")).name, "ann")
      yield* refused(service, "ann", "old")
    }))

  it.effect("does the same work for every outcome (A35)", () =>
    Effect.gen(function*() {
      const sizes: Array<number> = []
      const service = yield* Users.make({ users: [user("ann", canary), user("bob", "two"), user("cid", "three")] }, {
        equal: (a, b) => {
          sizes.push(a.length, b.length)
          return timingSafeEqual(a, b)
        }
      })
      for (
        const [name, password] of [
          ["ann", canary],
          ["ann", `X${canary.slice(1)}`],
          ["ann", `${canary.slice(0, -1)}X`],
          ["ann", ""],
          ["ann", "x".repeat(255)],
          ["cid", "wrong"],
          ["eve", canary],
          ["", ""]
        ] as const
      ) {
        sizes.length = 0
        yield* Effect.exit(login(service, name, password))
        // For each of three users the name and the password, two digests of 32 bytes each.
        assert.deepStrictEqual(sizes, Array.from({ length: 12 }, () => 32), `${name} ${password.length}`)
      }
    }))
})

describe("Users from a file", () => {
  it.live("lets users in by their hashes", () =>
    Effect.gen(function*() {
      const file = yield* fileWith(["# users", yield* hashed("ann", canary), yield* hashed("bob", "")])
      const service = yield* Authenticator.pipe(Effect.provide(Users.layer({ users: [], file })))
      assert.isTrue(service.required)
      assert.strictEqual((yield* login(service, "ann", canary)).name, "ann")
      assert.strictEqual((yield* login(service, "bob", "")).name, "bob")
      yield* refused(service, "ann", "")
      yield* refused(service, "ann", canary.toLowerCase())
      yield* refused(service, "bob", canary)
      yield* refused(service, "", "")
      // An unknown name is verified against somebody's hash: it must not get in with their password.
      for (let index = 0; index < 8; index++) {
        yield* refused(service, `eve${index}`, index % 2 === 0 ? canary : "")
      }
    }))

  it.live("lets in users of both kinds", () =>
    Effect.gen(function*() {
      const file = yield* fileWith([yield* hashed("ann", "one")])
      const service = yield* Users.make({ users: [user("bob", "two"), user("cid", "")], file })
      assert.strictEqual((yield* login(service, "ann", "one")).name, "ann")
      assert.strictEqual((yield* login(service, "bob", "two")).name, "bob")
      assert.strictEqual((yield* login(service, "cid", "")).name, "cid")
      yield* refused(service, "ann", "two")
      yield* refused(service, "bob", "one")
      yield* refused(service, "bob", "")
      yield* refused(service, "eve", "one")
    }))

  it.live("verifies one hash for every outcome, of whichever kind the user is (A35)", () =>
    Effect.gen(function*() {
      const verified: Array<string> = []
      const file = yield* fileWith([yield* hashed("ann", canary)])
      const service = yield* Users.make({ users: [user("bob", canary)], file }, {
        verify: (encoded, password) => {
          verified.push(encoded.slice(0, encoded.lastIndexOf("$") - 22))
          return PasswordHash.verify(encoded, password)
        }
      })
      for (const name of ["ann", "bob", "eve", "", "a".repeat(255)]) {
        for (const password of [canary, `X${canary.slice(1)}`, `${canary.slice(0, -1)}X`, ""]) {
          verified.length = 0
          yield* Effect.exit(login(service, name, password))
          assert.deepStrictEqual(verified, ["$argon2id$v=19$m=19456,t=2,p=1$"], `${name} ${password.length}`)
        }
      }
    }))

  it.live("gives an unknown name the cost of the same user each time, and not of one user only", () =>
    Effect.gen(function*() {
      const cheap = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"
      const costly = cheap.replace("t=1", "t=2")
      const verified: Array<string> = []
      const file = yield* fileWith([`ann:${cheap}`, `bob:${costly}`])
      const service = yield* Users.make({ users: [], file }, {
        verify: (encoded) => {
          verified.push(encoded)
          // Even a verifier that finds the password right lets no unknown name in.
          return Effect.succeed(true)
        }
      })
      for (let index = 0; index < 64; index++) {
        verified.length = 0
        yield* refused(service, `eve${index}`, "one")
        yield* refused(service, `eve${index}`, "two")
        assert.strictEqual(verified.length, 2)
        assert.strictEqual(verified[0], verified[1])
      }
      verified.length = 0
      for (let index = 0; index < 64; index++) yield* refused(service, `eve${index}`, "one")
      assert.sameMembers([...new Set(verified)], [cheap, costly])
    }))

  it.live("refuses a name that both kinds have", () =>
    Effect.gen(function*() {
      const file = yield* fileWith(["", yield* hashed("ann", canary)])
      const error = yield* Effect.flip(Layer.build(Users.layer({ users: [user("ann", canary)], file })))
      assert.strictEqual(error.message, `${file}:2: name "ann" is taken by --user; remove one of them`)
      assertSilent(error)
    }))

  it.live("lets nobody in when the file has no users", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [], file: yield* fileWith(["# nobody"]) })
      assert.isTrue(service.required)
      yield* refused(service, "ann", "one")
    }))

  it.live("fails to start over a bad line or a missing file", () =>
    Effect.gen(function*() {
      const file = yield* fileWith([`ann:${canary}`])
      const bad = yield* Effect.flip(Layer.build(Users.layer({ users: [], file })))
      assert.strictEqual(bad.message, `${file}:1: password of "ann" is not hashed; run: sluice hash`)
      assertSilent(bad)
      const missing = yield* Effect.flip(Layer.build(Users.layer({ users: [], file: `${file}.none` })))
      assert.strictEqual(missing.field, "file")
    }))

  it.live("finishes a storm of logins", () =>
    Effect.gen(function*() {
      const service = yield* Users.make({ users: [user("bob", "two")], file: yield* fileWith(["# nobody"]) })
      const names = yield* Effect.all(Array.from({ length: 40 }, () => login(service, "bob", "two")), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(names.map(({ name }) => name), Array.from({ length: 40 }, () => "bob"))
    }))
})

describe("Secrets of users", () => {
  it.live("show in no value, whichever way it is printed", () =>
    Effect.gen(function*() {
      const users = [Result.getOrThrow(Users.userFromString(`ann:${canary}`))]
      const file = yield* fileWith([yield* hashed("bob", canary)])
      assertSilent(users)
      for (const options of [{ users }, { users, file }]) {
        const layer = Users.layer(options)
        const service = yield* Users.make(options)
        for (const value of [options, layer, service, login(service, "ann", canary)]) assertSilent(value)
        assertSilent(yield* refused(service, "ann", `${canary}!`))
        assertSilent(yield* Effect.exit(login(service, "eve", canary)))
      }
    }))
})

describe("userFromString", () => {
  it("splits at the first colon", () => {
    const parsed = Result.getOrThrow(Users.userFromString("ann:a:b:c"))
    assert.strictEqual(parsed.name, "ann")
    assert.strictEqual(Redacted.value(parsed.password), "a:b:c")
  })

  it.each([
    [canary, "no colon after the user name; write NAME:PASSWORD"],
    [`:${canary}`, "user name is empty; write NAME:PASSWORD"],
    ["ann:", "password of \"ann\" is empty; write NAME:PASSWORD"],
    [`${"n".repeat(256)}:${canary}`, "user name is longer than 255 bytes; write NAME:PASSWORD"],
    [`#ann:${canary}`, "user name starts with #, as comments do; write NAME:PASSWORD"],
    [`a\nb:${canary}`, "user name has control characters; write NAME:PASSWORD"],
    [
      `ann:${canary.repeat(20)}`,
      "password of \"ann\" is longer than 255 bytes; choose a shorter one"
    ]
  ])("refuses %j", (text, message) => {
    const result = Users.userFromString(text)
    assert.deepStrictEqual(Result.isFailure(result) ? result.failure : undefined, message)
    assertSilent(result)
  })
})
