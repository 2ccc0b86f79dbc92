import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Ground from "../../src/probe/Ground.ts"
import * as Login from "../../src/probe/Login.ts"
import { probing, socks5 } from "./Hostile.ts"

const withLogin = (url: string) => url.replace("//", "//ann:S3cr3t@")

/** The methods, and the verdicts on login, wrong password and no login. */
const look = Effect.fnUntraced(function*(url: string) {
  const given = yield* probing(url)
  const { advice, detail, verdict } = yield* Login.methods(given)
  const logins = yield* Login.logins(given, Ground.nowhere)
  return { methods: { verdict, detail }, advice, logins: logins.map(({ verdict }) => verdict) }
})

describe("the login of a proxy", () => {
  it.live("may be none whatever is offered: that is told, and no reason to stop", () =>
    Effect.gen(function*() {
      const url = yield* socks5({ select: () => 0 })
      const methods = { verdict: "warn", detail: "no authentication; takes it whatever is offered" }
      const bare = yield* look(url)
      assert.deepStrictEqual([bare.methods, bare.advice], [methods, "clients that don't offer that break off"])
      const { logins, ...given } = yield* look(withLogin(url))
      assert.deepStrictEqual(given.methods, methods)
      // No password was ever sent, so nothing can be said of it.
      assert.deepStrictEqual(logins, ["warn", "skipped", "warn"])
    }))

  it.live("may be by password whatever is offered", () =>
    Effect.gen(function*() {
      const url = yield* socks5({
        select: () => 2,
        asked: (request, client) => client.end(Buffer.from([1, request.includes("S3cr3t") ? 0 : 1]))
      })
      const bare = yield* look(url)
      assert.deepStrictEqual(bare.methods, {
        verdict: "fail",
        detail: "asks for a login: user name and password; takes it whatever is offered"
      })
      const given = yield* look(withLogin(url))
      assert.strictEqual(given.methods.verdict, "warn")
      assert.deepStrictEqual(given.logins, ["ok", "ok", "ok"])
    }))

  it.live("is a bad answer when it is a method that is not known", () =>
    Effect.gen(function*() {
      const { methods } = yield* look(yield* socks5({ select: () => 0x48 }))
      assert.deepStrictEqual(methods, {
        verdict: "fail",
        detail: "bad answer: takes method 72, which was not offered"
      })
    }))
})
