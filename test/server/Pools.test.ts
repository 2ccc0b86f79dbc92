/** Which way out a request takes where there are several: the policy's word, the client's, or what there is for all. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Chain from "../../src/client/Chain.ts"
import * as UpstreamPool from "../../src/client/UpstreamPool.ts"
import * as UpstreamPools from "../../src/client/UpstreamPools.ts"
import { Upstreams } from "../../src/client/Upstreams.ts"
import { AccessPolicy, type AccessRequest } from "../../src/policy/AccessPolicy.ts"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import { SocksServer } from "../../src/server/SocksServer.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { ask, AU, C4, CD, connectThrough, hex } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import { associated, U4, udpEcho } from "../support/Udp.ts"

const pool = (port: number) =>
  Effect.map(
    Layer.build(
      UpstreamPool.layer({ chains: [Result.getOrThrow(Chain.fromInput([`socks5h://127.0.0.1:${port}`]))] }).pipe(
        Layer.provide(SocksServer.defaults)
      )
    ),
    (context) => Effect.runSync(Effect.provide(Upstreams, context))
  )

/** A proxy before two others, `one` and `two`, of which `one` is for all; `via` says by which of them. */
const setup = Effect.fnUntraced(function*(via: (request: AccessRequest) => string | undefined) {
  const [one, two] = yield* Effect.all([proxy(), proxy()])
  const pools = new Map([["one", yield* pool(one.port)], ["two", yield* pool(two.port)]])
  const verdict = (request: AccessRequest) => Effect.sync(() => ({ via: via(request) }))
  const first = yield* proxy({
    services: Layer.mergeAll(
      Layer.succeed(UpstreamPools.UpstreamPools, UpstreamPools.make(pools, pools.get("one"))),
      Layer.succeed(AccessPolicy, { authorize: verdict, authorizeAddress: verdict }),
      Layer.succeed(Authenticator, {
        required: false,
        authenticate: ({ username }) => Effect.succeed({ name: username, pool: username === "ann" ? "two" : undefined })
      })
    )
  })
  return { one, two, ...first }
})

const bind = (port: string) => hex(`05 02 00 01 7f000001 ${port}`)

describe("pools of upstreams", () => {
  it.live("are chosen by request, and `direct` is none of them", () =>
    Effect.gen(function*() {
      const origin = yield* Effect.all([echo(), echo(), echo()])
      const [usual, other, direct] = origin.map(({ port }) => port)
      const { one, port, records, two } = yield* setup(({ destination }) =>
        destination.port === other ? "two" : destination.port === direct ? "direct" : undefined
      )
      for (const to of [usual, other, direct]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* connectThrough(port, to ?? 0)
          yield* client.send("ping")
          assert.strictEqual((yield* client.read(4)).toString(), "ping")
        }))
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      assert.deepStrictEqual(one.records.map(({ destination }) => destination), [`127.0.0.1:${usual}`])
      assert.deepStrictEqual(two.records.map(({ destination }) => destination), [`127.0.0.1:${other}`])
    }))

  it.live("get names as they are, and the client may choose where the policy does not", () =>
    Effect.gen(function*() {
      const { port: to } = yield* echo()
      const { one, port, two } = yield* setup(() => undefined)
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* connectThrough(port, to, AU("ann", "x"))
        yield* client.send("ping")
        yield* client.read(4)
      }))
      assert.strictEqual((yield* ask(port, CD("localhost", to)))[1], 0)
      assert.isTrue(yield* within(Effect.sync(() => one.records.length + two.records.length === 2)))
      assert.deepStrictEqual(two.records.map(({ destination }) => destination), [`127.0.0.1:${to}`])
      assert.deepStrictEqual(one.records.map(({ destination }) => destination), [`localhost:${to}`])
    }))

  it.live("that nobody knows are no way around the others", () =>
    Effect.gen(function*() {
      const { accepted, port: to } = yield* echo()
      const { port, records } = yield* setup(() => "three")
      assert.strictEqual((yield* ask(port, C4(to)))[1], 1)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.reason, "internal error")
      assert.strictEqual(accepted(), 0)
    }))

  it.live("take datagrams each to its own destinations, in one association", () =>
    Effect.gen(function*() {
      const targets = yield* Effect.all([udpEcho(), udpEcho(), udpEcho()])
      const [, other, direct] = targets.map(({ port }) => port)
      const { one, port, two } = yield* setup(({ destination }) =>
        destination.port === other ? "two" : destination.port === direct ? "direct" : undefined
      )
      yield* Effect.scoped(Effect.gen(function*() {
        const { exchange } = yield* associated(port)
        for (const to of [...targets, ...targets]) {
          assert.deepStrictEqual((yield* exchange(U4(to.port, "x"))).bytes, U4(to.port, "x"))
        }
      }))
      assert.isTrue(yield* within(Effect.sync(() => one.records.length + two.records.length === 2)))
      for (const { datagrams } of [...one.records, ...two.records]) assert.deepInclude(datagrams, { up: 2, down: 2 })
    }))

  it.live("are not passed by a BIND", () =>
    Effect.gen(function*() {
      const { port } = yield* setup(({ destination }) => destination.port === 1 ? "direct" : undefined)
      assert.strictEqual((yield* ask(port, bind("0000")))[1], 7)
      assert.strictEqual((yield* ask(port, bind("0001")))[1], 0)
    }))
})
