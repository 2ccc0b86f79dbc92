import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as PortRange from "../../src/transport/PortRange.ts"
import { ListenError } from "../../src/transport/Transport.ts"

/** Binds to all ports but some; `tried` are those that were asked for. */
const makeBind = (used: (port: number) => boolean, code = "EADDRINUSE") => {
  const tried: Array<number> = []
  const bind = (port: number) => {
    tried.push(port)
    const address = NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, port)
    return used(port) ? Effect.fail(new ListenError({ address, code })) : Effect.succeed(port)
  }
  return { bind, tried }
}

describe("PortRange", () => {
  it.effect("is any port where there is none", () =>
    Effect.gen(function*() {
      const { bind } = makeBind(() => false)
      assert.strictEqual(yield* PortRange.make(undefined)(bind), 0)
    }))

  it.effect("gives each port once, without asking for those that are taken, and gives it back with the scope", () =>
    Effect.gen(function*() {
      const within = PortRange.make({ from: 10, to: 19 })
      const held: Array<number> = []
      const { bind, tried } = makeBind((port) => port % 2 === 0 || held.includes(port))
      const scope = yield* Scope.make()
      for (let count = 0; count < 5; count++) held.push(yield* Scope.provide(within(bind), scope))
      assert.sameMembers(held, [11, 13, 15, 17, 19])
      tried.splice(0)
      assert.strictEqual((yield* Effect.flip(within(bind))).code, "EADDRINUSE")
      // One more at the end, so that there is an error to fail with.
      assert.isAtMost(tried.filter((port) => port % 2 === 1).length, 1)
      yield* Scope.close(scope, Exit.void)
      held.splice(0)
      assert.oneOf(yield* within(bind), [11, 13, 15, 17, 19])
    }))

  it.effect("is searched for a while only, and only for a port that is not in use", () =>
    Effect.gen(function*() {
      const busy = makeBind(() => true)
      yield* Effect.flip(PortRange.make({ from: 1, to: 65_535 })(busy.bind))
      assert.strictEqual(busy.tried.length, 129)
      assert.strictEqual(new Set(busy.tried).size, 129)
      const forbidden = makeBind(() => true, "EACCES")
      assert.strictEqual((yield* Effect.flip(PortRange.make({ from: 1, to: 9 })(forbidden.bind))).code, "EACCES")
      assert.strictEqual(forbidden.tried.length, 1)
    }))
})
