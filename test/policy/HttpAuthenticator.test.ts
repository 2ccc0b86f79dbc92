import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Http from "node:http"
import { text } from "node:stream/consumers"
import { inspect } from "node:util"
import type { Authenticator } from "../../src/policy/Authenticator.ts"
import * as HttpAuthenticator from "../../src/policy/HttpAuthenticator.ts"
import { listen } from "../support/HttpOrigin.ts"
import { within } from "../support/Polling.ts"

const canary = "S3cr3t-canary"

interface Asked {
  readonly method: string | undefined
  readonly path: string | undefined
  readonly authorization: string | undefined
  readonly type: string | undefined
  readonly body: unknown
}

type Answer = readonly [status: number, body: string]

/** A login service, and what it was asked. `undefined` is no answer. */
const service = Effect.fnUntraced(function*(answer: (asked: Asked) => Answer | undefined) {
  const asked: Array<Asked> = []
  const given = { up: 0 }
  const server = Http.createServer((request, response) => {
    response.once("close", () => {
      if (!response.writableFinished) given.up++
    })
    void text(request).then((body) => {
      const { authorization, "content-type": type } = request.headers
      const what = { method: request.method, path: request.url, authorization, type, body: JSON.parse(body) }
      asked.push(what)
      const [status, content] = answer(what) ?? [0, ""]
      if (status !== 0) response.writeHead(status, { location: "/elsewhere" }).end(content)
    })
  })
  const port = yield* listen(server)
  return { asked, given, server, url: `http://127.0.0.1:${port}/login` }
})

const login = (
  authenticator: Authenticator["Service"],
  username: string,
  password = canary,
  client: NetAddress.InetAddress | undefined = NetAddress.inetAddressFromIpStringUnsafe("192.0.2.9", 4321)
) => authenticator.authenticate({ username, password: Redacted.make(password), client })

const refusal = (authenticator: Authenticator["Service"], username: string, password = canary) =>
  Effect.flip(login(authenticator, username, password))

describe("HttpAuthenticator", () => {
  it.live("posts user, password and client, and takes what the service knows of the user", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(() => [
        200,
        JSON.stringify({ groups: ["staff"], limits: "heavy", egress: ["192.0.2.7", "2001:db8::/64"], more: true })
      ])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url, token: Redacted.make("t0ken") })
      assert.isTrue(authenticator.required)
      const { egress, ...identity } = yield* login(authenticator, "ann")
      assert.deepStrictEqual(identity, { name: "ann", groups: ["staff"], limits: "heavy" })
      const sources = egress?.choose(undefined)
      assert.strictEqual(sources?.ipv4 && NetAddress.formatIp(sources.ipv4), "192.0.2.7")
      assert.isDefined(sources?.ipv6)
      assert.deepStrictEqual(asked, [{
        method: "POST",
        path: "/login",
        authorization: "Bearer t0ken",
        type: "application/json",
        body: { user: "ann", password: canary, client: "192.0.2.9" }
      }])
    }))

  it.live("lets a user in of whom nothing more is known, and one whose address is unknown", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(({ body }) => [200, JSON.stringify(body).includes("ann") ? "{}" : ""])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url })
      assert.deepStrictEqual(yield* login(authenticator, "ann"), { name: "ann" })
      const request = { username: "bob", password: Redacted.make("two"), client: undefined }
      assert.deepStrictEqual(yield* authenticator.authenticate(request), { name: "bob" })
      assert.deepStrictEqual(asked.map(({ authorization, body }) => [authorization, body]), [
        [undefined, { user: "ann", password: canary, client: "192.0.2.9" }],
        [undefined, { user: "bob", password: "two" }]
      ])
    }))

  it.live("gives turns of egress that go on from one login to the next", () =>
    Effect.gen(function*() {
      const { url } = yield* service(
        () => [200, JSON.stringify({ egress: { from: ["192.0.2.7", "192.0.2.8"], by: "rotate" } })]
      )
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url, cacheFor: 0 })
      const seen: Array<string> = []
      for (const name of ["ann", "bob", "ann"]) {
        const { egress } = yield* login(authenticator, name)
        const ipv4 = egress?.choose(undefined).ipv4
        seen.push(ipv4 === undefined ? "" : NetAddress.formatIp(ipv4))
      }
      assert.deepStrictEqual(seen, ["192.0.2.7", "192.0.2.8", "192.0.2.7"])
    }))

  it.live("refuses on 401, each time anew, and is not to blame for it", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(() => [401, "{\"groups\":[\"staff\"]}"])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url })
      for (let time = 0; time < 7; time++) {
        const error = yield* refusal(authenticator, "ann")
        assert.deepStrictEqual([error.message, error.blameless], ["authentication failed", undefined])
        assert.notInclude(inspect(error, { depth: null, showHidden: true }), canary)
      }
      assert.strictEqual(asked.length, 7)
    }))

  it.live("does not ask about an empty password, nor about a name alone", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(() => [200, "{}"])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url })
      const error = yield* refusal(authenticator, "ann", "")
      assert.strictEqual(error.message, "authentication failed: the password is empty")
      assert.isUndefined(authenticator.identify)
      assert.strictEqual(asked.length, 0)
    }))

  it.live.each<readonly [answer: Answer, problem: string]>([
    [[500, "{}"], "answered 500"],
    [[204, ""], "answered 204"],
    [[403, "{}"], "answered 403"],
    [[302, "{}"], "answered 302"],
    ...[`${canary}`, `["${canary}"]`, "null", `"${canary}"`].map((body): [Answer, string] => [
      [200, body],
      "answered with something other than a JSON object; write {} where nothing more is known"
    ]),
    ...([
      [`"groups":"staff","more":"${canary}"`, "groups: \"staff\" is not a list of texts; write [\"staff\"]"],
      ["\"groups\":[1]", "groups: [1] is not a list of texts; write [\"staff\"]"],
      ["\"limits\":null", "limits: null is not the name of a class of limits; write \"heavy\""],
      ["\"expiresIn\":\"2s\"", "expiresIn: \"2s\" is not a number of seconds, 0 or more; write 60 for a minute"],
      ["\"expiresIn\":-1", "expiresIn: -1 is not a number of seconds, 0 or more; write 60 for a minute"],
      [
        "\"egress\":\"192.0.2.7\"",
        "egress: \"192.0.2.7\" is not a list of addresses and networks, or {from, by} with by one of rotate, user, session; " +
        "write [\"192.0.2.7\"]"
      ],
      [
        "\"egress\":{\"from\":[\"192.0.2.7\"],\"by\":\"name\"}",
        "egress: {\"from\":[\"192.0.2.7\"],\"by\":\"name\"} is not a list of addresses and networks, " +
        "or {from, by} with by one of rotate, user, session; write [\"192.0.2.7\"]"
      ],
      ["\"egress\":[]", "egress: is empty; name an address, or leave it out"],
      ["\"egress\":[\"eth0\"]", "egress: \"eth0\" is not a network; write an address, or 192.0.2.0/24"],
      [
        `"limits":[${"1,".repeat(100)}1]`,
        `limits: [${"1,".repeat(100).slice(0, 79)}… is not the name of a class of limits; write "heavy"`
      ]
    ] as const).map(([field, problem]): [Answer, string] => [
      [200, `{${field}}`],
      `answered with what can't be used: ${problem}`
    ]),
    [[200, `{"groups":["${"x".repeat(70_000)}"]}`], "answered with too much"]
  ])("lets nobody in on %j", ([answer, problem]) =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(() => answer)
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url })
      const error = yield* refusal(authenticator, "ann")
      assert.strictEqual(error.message, `authentication failed: the login service ${problem}`)
      assert.isTrue(error.blameless)
      assert.notInclude(inspect(error, { depth: null, showHidden: true }), canary)
      // Nothing went to another place.
      assert.deepStrictEqual(asked.map(({ path }) => path), ["/login"])
    }))

  it.live("lets nobody in without an answer in time, and none that can't be asked", () =>
    Effect.gen(function*() {
      const { given, server, url } = yield* service(() => undefined)
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url, timeout: "100 millis" })
      const late = yield* refusal(authenticator, "ann")
      assert.strictEqual(late.message, "authentication failed: the login service gave no answer within 100ms")
      // The request is given up with it.
      assert.isTrue(yield* within(Effect.sync(() => given.up === 1)))
      server.closeAllConnections()
      server.close()
      const gone = yield* refusal(authenticator, "ann")
      assert.strictEqual(gone.message, "authentication failed: the login service can't be asked (ECONNREFUSED)")
    }))

  it.live("asks once about those who log in at the same time, and not again for a while", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(() => [200, "{}"])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url })
      const storm = Array.from({ length: 30 }, () => login(authenticator, "ann"))
      yield* Effect.all(storm, { concurrency: "unbounded" })
      yield* login(authenticator, "ann")
      assert.strictEqual(asked.length, 1)
      // Another client is another question.
      yield* login(authenticator, "ann", canary, NetAddress.inetAddressFromIpStringUnsafe("192.0.2.10", 1))
      yield* login(authenticator, "ann", "another")
      assert.strictEqual(asked.length, 3)
    }))

  it.live("asks again once an answer has expired", () =>
    Effect.gen(function*() {
      const { asked, url } = yield* service(() => [200, "{\"expiresIn\":0.1}"])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url })
      yield* login(authenticator, "ann")
      yield* login(authenticator, "ann")
      assert.strictEqual(asked.length, 1)
      yield* Effect.sleep("150 millis")
      yield* login(authenticator, "ann")
      assert.strictEqual(asked.length, 2)
    }))

  it.effect("leaves a service alone that fails again and again, and says so once", () => {
    const lines: Array<unknown> = []
    return Effect.gen(function*() {
      let broken = true
      const { asked, url } = yield* service(() => broken ? [503, ""] : [200, "{}"])
      const authenticator = yield* HttpAuthenticator.makeWithFetch({ url, cacheFor: 0 })
      const messages: Array<string> = []
      for (let time = 0; time < 7; time++) messages.push((yield* refusal(authenticator, "ann")).message)
      assert.deepStrictEqual(messages, [
        ...Array.from({ length: 5 }, () => "authentication failed: the login service answered 503"),
        ...Array.from({ length: 2 }, () => "authentication failed: the login service is down")
      ])
      assert.strictEqual(asked.length, 5)
      broken = false
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* login(authenticator, "ann")).name, "ann")
      yield* Effect.yieldNow
      assert.deepStrictEqual(lines, ["Warn login service is down", "Info login service is back"])
    }).pipe(
      Effect.provide(Logger.layer([
        Logger.make<unknown, void>(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
      ]))
    )
  })
})
