import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import { AuthenticationFailed, Authenticator } from "../../src/policy/Authenticator.ts"
import * as SessionEpochs from "../../src/policy/SessionEpochs.ts"
import * as UserOptions from "../../src/policy/UserOptions.ts"

const declarations: UserOptions.Declarations = {
  session: { kind: "session", stickFor: "10 minutes" },
  sticky: { kind: "session" },
  country: { kind: "pool", values: { de: "pool-de", "south-tyrol": "pool-it" } },
  "country-fast": { kind: "pool", values: { de: "pool-de-fast" } }
}

/** Lets everybody in who has the password, and notes who was asked about. */
const inner = () => {
  const asked: Array<string> = []
  const service = Authenticator.of({
    required: true,
    authenticate: ({ password, username }) => {
      asked.push(username)
      return Redacted.value(password) === "right"
        ? Effect.succeed({ name: username, groups: ["staff"] })
        : Effect.fail(new AuthenticationFailed({ username, why: "for a reason" }))
    }
  })
  return { asked, service }
}

const login = (service: Authenticator["Service"], username: string, password = "right") =>
  service.authenticate({ username, password: Redacted.make(password), client: undefined })

describe("UserOptions", () => {
  it.each<readonly [username: string, parsed: UserOptions.Parsed]>([
    ["ann", { name: "ann" }],
    ["", { name: "" }],
    ["ann+country-de", { name: "ann", pool: "pool-de" }],
    ["ann+country-south-tyrol", { name: "ann", pool: "pool-it" }],
    ["ann+country-fast-de", { name: "ann", pool: "pool-de-fast" }],
    ["ann+sticky-7f3", { name: "ann", session: { tag: "7f3", stickFor: undefined } }],
    [
      "ann+country-de+session-a_B-9.c",
      { name: "ann", pool: "pool-de", session: { tag: "a_B-9.c", stickFor: "10 minutes" } }
    ]
  ])("takes %j apart", (username, parsed) => {
    assert.deepStrictEqual(Result.getOrThrow(UserOptions.parse(declarations, username)), parsed)
  })

  it.each([
    ["ann+", "unknown option \"\" in the user name; known: session, sticky, country, country-fast"],
    ["ann+city-ulm", "unknown option \"city-ulm\" in the user name; known: session, sticky, country, country-fast"],
    ["ann+session", "option \"session\" in the user name has no value; write session-VALUE"],
    ["ann+Session-1", "unknown option \"Session-1\" in the user name; known: session, sticky, country, country-fast"],
    [
      "ann+__proto__-x",
      "unknown option \"__proto__-x\" in the user name; known: session, sticky, country, country-fast"
    ],
    [
      "ann+session-",
      "option \"session-\" in the user name is no session; write a word of letters, digits, _, . and -"
    ],
    [
      "ann+session-a b",
      "option \"session-a b\" in the user name is no session; write a word of letters, digits, _, . and -"
    ],
    ["ann+country-xx", "unknown value of option \"country-xx\" in the user name; known: de, south-tyrol"],
    ["ann+country-toString", "unknown value of option \"country-toString\" in the user name; known: de, south-tyrol"],
    ["ann+sticky-1+session-2", "option \"session\" in the user name says what another one has said"],
    ["ann+country-de+country-de", "option \"country\" in the user name says what another one has said"]
  ])("refuses %j", (username, problem) => {
    assert.deepStrictEqual(UserOptions.parse(declarations, username), Result.fail(problem))
  })

  it.effect("asks about the name alone, and never about one with an unknown option", () =>
    Effect.gen(function*() {
      const { asked, service } = inner()
      const options = UserOptions.wrap(declarations, service)
      assert.deepStrictEqual(yield* login(options, "ann+country-de+sticky-1"), {
        name: "ann",
        groups: ["staff"],
        pool: "pool-de",
        session: "1"
      })
      assert.deepStrictEqual(yield* login(options, "ann"), { name: "ann", groups: ["staff"] })
      assert.deepStrictEqual(asked, ["ann", "ann"])
      const error = yield* Effect.flip(login(options, "ann+city-ulm"))
      assert.strictEqual(
        error.message,
        "authentication failed: unknown option \"city-ulm\" in the user name; known: session, sticky, country, country-fast"
      )
      assert.deepStrictEqual(asked, ["ann", "ann"])
      const wrong = yield* Effect.flip(login(options, "ann+sticky-1", "wrong"))
      assert.deepStrictEqual([wrong.username, wrong.why], ["ann+sticky-1", "for a reason"])
    }))

  it.effect("has no way without a password where there was none", () =>
    Effect.sync(() => {
      assert.isUndefined(UserOptions.wrap(declarations, inner().service).identify)
    }))

  it.effect("keeps a session the same for its time after each use", () =>
    Effect.gen(function*() {
      const options = UserOptions.wrap(declarations, inner().service)
      const session = (name: string) => Effect.map(login(options, name), ({ session }) => session)
      const first = yield* session("ann+session-7f3")
      assert.match(first ?? "", /^7f3~[0-9a-z]+$/)
      for (let use = 0; use < 5; use++) {
        yield* TestClock.adjust("9 minutes")
        assert.strictEqual(yield* session("ann+session-7f3"), first)
      }
      yield* TestClock.adjust("10 minutes")
      const second = yield* session("ann+session-7f3")
      assert.match(second ?? "", /^7f3~[0-9a-z]+$/)
      assert.notStrictEqual(second, first)
      assert.strictEqual(yield* session("ann+session-7f3"), second)
    }))

  it.effect("is not kept the same by a wrong password", () =>
    Effect.gen(function*() {
      const options = UserOptions.wrap(declarations, inner().service)
      const { session } = yield* login(options, "ann+session-1")
      yield* TestClock.adjust("9 minutes")
      yield* Effect.flip(login(options, "ann+session-1", "wrong"))
      yield* TestClock.adjust("9 minutes")
      assert.notStrictEqual((yield* login(options, "ann+session-1")).session, session)
    }))
})

describe("SessionEpochs", () => {
  it.effect("agree in all processes where a session begins in the same stretch of time", () =>
    Effect.gen(function*() {
      const [one, other] = [SessionEpochs.make(), SessionEpochs.make()]
      yield* TestClock.adjust("20 minutes")
      const tag = yield* one.tag("ann", "1", "10 minutes")
      yield* TestClock.adjust("9 minutes")
      assert.strictEqual(yield* other.tag("ann", "1", "10 minutes"), tag)
    }))

  it.effect("are bounded: the session that was not used longest is forgotten", () =>
    Effect.gen(function*() {
      const epochs = SessionEpochs.make(2)
      const first = yield* epochs.tag("ann", "1", "10 minutes")
      const second = yield* epochs.tag("ann", "2", "10 minutes")
      yield* TestClock.adjust("599 seconds")
      yield* epochs.tag("ann", "1", "10 minutes")
      // Another stretch has begun, so that who is forgotten gets another tag.
      yield* TestClock.adjust("2 seconds")
      yield* epochs.tag("ann", "3", "10 minutes")
      assert.strictEqual(yield* epochs.tag("ann", "1", "10 minutes"), first)
      assert.notStrictEqual(yield* epochs.tag("ann", "2", "10 minutes"), second)
    }))
})
