import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"

const salt = "c2FsdHNhbHRzYWx0c2FsdA"
const digest = "ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"

describe("PasswordHash", () => {
  it.live("makes argon2id hashes with OWASP's parameters, and knows their passwords", () =>
    Effect.gen(function*() {
      const encoded = yield* PasswordHash.hash(Redacted.make("S3cr3t-canary"))
      assert.match(encoded, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
      assert.isTrue(PasswordHash.isHash(encoded))
      assert.isUndefined(PasswordHash.problemOf(encoded))
      assert.isTrue(yield* PasswordHash.verify(encoded, Redacted.make("S3cr3t-canary")))
      for (const wrong of ["", "s3cr3t-canary", "S3cr3t-canarY", "S3cr3t-canary ", "S3cr3t-canary\0"]) {
        assert.isFalse(yield* PasswordHash.verify(encoded, Redacted.make(wrong)), wrong)
      }
    }))

  it.live("salts: the same password never gives the same hash", () =>
    Effect.gen(function*() {
      const password = Redacted.make("pässwörd 🔑")
      const [one, other] = yield* Effect.all([PasswordHash.hash(password), PasswordHash.hash(password)])
      assert.notStrictEqual(one, other)
      assert.isTrue(yield* PasswordHash.verify(one, password))
      assert.isTrue(yield* PasswordHash.verify(other, password))
    }))

  it.live("takes the empty password for one like any other", () =>
    Effect.gen(function*() {
      const encoded = yield* PasswordHash.hash(Redacted.make(""))
      assert.isTrue(yield* PasswordHash.verify(encoded, Redacted.make("")))
      assert.isFalse(yield* PasswordHash.verify(encoded, Redacted.make("x")))
    }))

  it.each([
    "",
    "plain",
    "$argon2id$",
    `$argon2id$v=19$m=64,t=2,p=1$${salt}`,
    `$argon2id$v=19$m=64,t=2,p=1$${salt}$`,
    `$argon2id$v=19$m=64,t=2,p=1$${salt}$c2hvcnQ`,
    `$argon2id$v=19$m=64,t=2,p=1$${salt}$${digest}:`,
    `$argon2id$v=19$m=64,t=0,p=1$${salt}$${digest}`,
    `$argon2id$v=19$m=1,t=2,p=1$${salt}$${digest}`,
    `$argon2i$v=19$m=64,t=2,p=1$${salt}$${digest}`,
    "$2y$10$abcdefghijklmnopqrstuv"
  ])("sees that %j is malformed", (text) => {
    assert.strictEqual(PasswordHash.problemOf(text), "malformed")
  })

  it("refuses hashes that would stop the proxy", () => {
    for (const parameters of ["m=4294967295,t=1,p=1", "m=1048577,t=1,p=1", "m=64,t=65,p=1", "m=64,t=4294967295,p=1"]) {
      assert.include(PasswordHash.problemOf(`$argon2id$v=19$${parameters}$${salt}$${digest}`) ?? "", "too costly")
    }
    assert.isUndefined(PasswordHash.problemOf(`$argon2id$v=19$m=1048576,t=64,p=4$${salt}$${digest}`))
  })

  it.live("finishes a storm of logins, of which half are abandoned", () =>
    Effect.gen(function*() {
      const password = Redacted.make("storm")
      const encoded = yield* PasswordHash.hash(password)
      const fibers = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.forkChild(PasswordHash.verify(encoded, password))
      )
      yield* Effect.yieldNow
      const [abandoned, kept] = [fibers.slice(0, 10), fibers.slice(10)]
      yield* Fiber.interruptAll(abandoned)
      assert.deepStrictEqual(yield* Fiber.joinAll(kept), kept.map(() => true))
    }))
})
