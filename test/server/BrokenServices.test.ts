/** A service of somebody's own that dies is no reason to leave the client without an answer, or the log without a line. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as NetAddress from "effect/net/NetAddress"
import { AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import { ConnectionLog } from "../../src/server/ConnectionLog.ts"
import { SocksServer } from "../../src/server/SocksServer.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import { Resolver } from "../../src/transport/Resolver.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { AU, C4, CD, connect, G0, G2, hex, probe } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const bug = Effect.die(new Error("a bug"))
const throws = () => {
  throw new Error("a bug")
}

/** What was logged at level error: the message, and the defects. */
const errors = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    if (logLevel === "Error") lines.push(`${String(message)}: ${Cause.pretty(cause)}`)
  })
  return { lines, layer: Logger.layer([logger]) }
}

const authenticator = (authenticate: Authenticator["Service"]["authenticate"]) =>
  Layer.succeed(Authenticator, { required: true, authenticate })

const open: AccessPolicy["Service"] = {
  authorize: () => AccessPolicy.permit,
  authorizeAddress: () => AccessPolicy.permit
}

const failure = hex("05 00 05 01 00 01 00 00 00 00 00 00")

describe("a service that dies", () => {
  const requests: ReadonlyArray<readonly [string, Uint8Array, Layer.Layer<never>]> = [
    ["policy, of a request", C4(80), Layer.succeed(AccessPolicy, { ...open, authorize: () => bug })],
    ["policy, of an address", C4(80), Layer.succeed(AccessPolicy, { ...open, authorizeAddress: () => bug })],
    ["policy, by throwing", C4(80), Layer.succeed(AccessPolicy, { ...open, authorize: throws })],
    ["resolver", CD("a.test", 80), Layer.succeed(Resolver, { resolve: () => bug })],
    ["dialer", C4(80), Layer.succeed(Dialer, { dial: () => bug })],
    ["dialer, by throwing", C4(80), Layer.succeed(Dialer, { dial: throws })]
  ]
  it.live.each(requests)("gets its client a general failure: %s", ([, request, services]) =>
    Effect.gen(function*() {
      const log = errors()
      yield* Effect.gen(function*() {
        const { port, records } = yield* proxy({ services })
        const client = yield* connect(port)
        yield* client.send(G0, request)
        assert.deepStrictEqual(yield* client.readToEnd, failure)
        yield* client.end
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.deepInclude(records[0], { reply: 1, reason: "internal error" })
      }).pipe(Effect.provide(log.layer))
      assert.strictEqual(log.lines.length, 1)
      assert.match(log.lines[0] ?? "", /^session died: Error: a bug/)
    }))

  const ways: ReadonlyArray<readonly [string, () => Effect.Effect<never>]> = [
    ["dies", () => bug],
    ["throws", throws]
  ]

  it.live.each(ways)(
    "gets its client a failed login: an authenticator that %s",
    ([, authenticate]) =>
      Effect.gen(function*() {
        const log = errors()
        yield* Effect.gen(function*() {
          const { port, records } = yield* proxy({ services: authenticator(authenticate) })
          const client = yield* connect(port)
          yield* client.send(G2, AU("ann", "secret"))
          assert.deepStrictEqual(yield* client.readToEnd, hex("05 02 01 01"))
          yield* client.end
          assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
          assert.deepInclude(records[0], { user: "ann", reason: "internal error" })
        }).pipe(Effect.provide(log.layer))
        assert.match(log.lines.join("\n"), /^session died: Error: a bug/)
        assert.notInclude(log.lines.join("\n"), "secret")
      })
  )

  it.live.each(ways)(
    "disturbs no connection, but is heard of: a connection log that %s",
    ([, ended]) =>
      Effect.gen(function*() {
        const log = errors()
        const origin = yield* echo()
        yield* Effect.gen(function*() {
          const context = yield* Layer.build(
            SocksServer.layer({ listen: [NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")], drainTimeout: 0 })
              .pipe(
                Layer.provide(Layer.succeed(ConnectionLog, { ended })),
                Layer.provide(SocksServer.defaults)
              )
          )
          const port = Context.get(context, SocksServer).addresses[0]?.port ?? 0
          assert.isTrue(yield* probe(port, origin.port))
          assert.isTrue(yield* probe(port, origin.port))
          assert.isTrue(yield* within(Effect.sync(() => log.lines.length === 2)))
        }).pipe(Effect.provide(log.layer))
        assert.match(log.lines[0] ?? "", /^connection log died: Error: a bug/)
      })
  )
})
