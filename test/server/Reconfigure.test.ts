/** Other options for a server that runs, and other rules for those whom it serves. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { Authenticator, type Identity } from "../../src/policy/Authenticator.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { AU, C4, CD, connect, connectThrough, G0, hex, probe } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import { associated, U4, udpEcho } from "../support/Udp.ts"

const at = NetAddress.inetAddressFromStringUnsafe

const port = (address: ListenAddress.ListenAddress) => ListenAddress.inetOf(address)?.port ?? 0

describe("reconfigure", () => {
  it.live("keeps the listeners that are still wanted, opens others and closes the rest", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port: kept, server } = yield* proxy()
      const running = yield* connectThrough(kept, origin.port)
      yield* server.reconfigure({ listen: [at("127.0.0.1:0"), at("127.0.0.2:0")] })
      const [first, second] = server.listening
      assert(first !== undefined && second !== undefined)
      assert.strictEqual(port(first), kept)
      assert.isTrue(yield* probe(kept, origin.port))
      const other = yield* connect(port(second), { host: "127.0.0.2" })
      yield* other.send(G0, C4(origin.port), "ping")
      assert.strictEqual((yield* other.read(16)).subarray(12).toString(), "ping")

      yield* server.reconfigure({ listen: [at("127.0.0.2:0")] })
      assert.deepStrictEqual(server.listening.map(ListenAddress.format), [`127.0.0.2:${port(second)}`])
      const refused = yield* Effect.flip(connect(kept))
      assert.strictEqual(refused.code, "ECONNREFUSED")
      // Who came by the one that is closed goes on.
      yield* running.send("ping")
      assert.strictEqual((yield* running.read(4)).toString(), "ping")
    }))

  it.live("takes other protocols and limits for those who come from now on", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port, server } = yield* proxy()
      const running = yield* connectThrough(port, origin.port)
      const listen = [at("127.0.0.1:0")]
      yield* server.reconfigure({ listen, protocols: ["http"], maxConnections: 2 })
      assert.strictEqual(server.addresses[0]?.port, port)
      const stranger = yield* connect(port)
      yield* stranger.send(G0)
      assert.strictEqual((yield* stranger.readToEnd).length, 0)
      const tooMany = yield* connect(port)
      assert.strictEqual((yield* Effect.exit(tooMany.readToEnd))._tag === "Success", true)
      assert.strictEqual(yield* server.refused, 1)
      yield* running.send("ping")
      assert.strictEqual((yield* running.read(4)).toString(), "ping")
    }))

  it.live("leaves everything as it was when a listener can't be had", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port, server } = yield* proxy()
      const error = yield* Effect.flip(
        server.reconfigure({
          listen: [at("127.0.0.3:0"), at("127.0.0.1:0"), at(`127.0.0.1:${origin.port}`)],
          protocols: []
        })
      )
      assert.strictEqual(error.code, "EADDRINUSE")
      assert.deepStrictEqual(server.listening.map(ListenAddress.format), [`127.0.0.1:${port}`])
      assert.isTrue(yield* probe(port, origin.port))
    }))

  it.live("gives a port from one kind of listener to another, and back when that fails", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port: free } = yield* Effect.scoped(echo())
      const { server } = yield* proxy({ listen: `127.0.0.1:${free}` })
      const tls = ListenAddress.tls({ address: at(`127.0.0.1:${free}`), cert: "/nowhere/cert", key: "/nowhere/key" })
      const error = yield* Effect.flip(server.reconfigure({ listen: [tls] }))
      assert.strictEqual(error.code, "ECERT")
      assert.isTrue(yield* probe(free, origin.port))
      yield* server.reconfigure({ listen: [at(`0.0.0.0:${free}`)] })
      assert.deepStrictEqual(server.listening.map(ListenAddress.format), [`0.0.0.0:${free}`])
      assert.isTrue(yield* probe(free, origin.port))
    }))
})

/** A policy that can be told to deny. */
const changing = () => {
  const denied = new Set<string>()
  const judge = (what: string) =>
    Effect.suspend(() =>
      denied.has(what) ? Effect.fail(new AccessDenied({ rule: `rule ${what}` })) : AccessPolicy.permit
    )
  const layer = Layer.succeed(AccessPolicy, {
    authorize: ({ destination, user }) => Effect.andThen(judge(String(destination.port)), judge(user ?? "")),
    authorizeAddress: (_, address) => judge(NetAddress.formatIp(address))
  })
  return { denied, layer }
}

describe("rejudge", () => {
  it.live("ends those who would not be let there any more, and nobody else", () =>
    Effect.gen(function*() {
      const [one, two] = yield* Effect.all([echo(), echo()])
      const { denied, layer } = changing()
      const { port, records, server, sessions } = yield* proxy({ services: layer })
      const [ended, stays] = [yield* connectThrough(port, one.port), yield* connectThrough(port, two.port)]
      assert.strictEqual(yield* server.rejudge, 0)
      denied.add(String(one.port))
      assert.strictEqual(yield* server.rejudge, 1)
      yield* Effect.exit(ended.readToEnd)
      yield* stays.send("ping")
      assert.strictEqual((yield* stays.read(4)).toString(), "ping")
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.reason, `denied: rule ${one.port}`)
      assert.strictEqual(yield* sessions.count, 1)
      denied.add("127.0.0.1")
      assert.strictEqual(yield* server.rejudge, 1)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      assert.strictEqual(records[1]?.reason, "denied: rule 127.0.0.1")
    }))

  it.live("judges a name by the address that was dialled for it", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { denied, layer } = changing()
      const { port, records, server } = yield* proxy({ services: layer })
      const client = yield* connect(port)
      yield* client.send(G0, CD("localhost", origin.port), "ping")
      assert.strictEqual((yield* client.read(16)).subarray(12).toString(), "ping")
      denied.add("127.0.0.1")
      assert.strictEqual(yield* server.rejudge, 1)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
    }))

  it.live("ends those whose user is gone, and takes what else became of one", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const users = new Map<string, Identity>([["ann", { name: "ann" }], ["bob", { name: "bob" }]])
      const groups: Array<unknown> = []
      const services = Layer.merge(
        Layer.succeed(Authenticator, {
          required: true,
          authenticate: ({ username }) => Effect.succeed({ name: username }),
          recheck: ({ name }) => Effect.sync(() => users.get(name))
        }),
        Layer.succeed(AccessPolicy, {
          authorize: (request) => Effect.andThen(Effect.sync(() => groups.push(request.groups)), AccessPolicy.permit),
          authorizeAddress: () => AccessPolicy.permit
        })
      )
      const { port, records, server } = yield* proxy({ services })
      const clients = yield* Effect.forEach(["ann", "bob"], (user) => connectThrough(port, origin.port, AU(user, "x")))
      users.delete("ann")
      users.set("bob", { name: "bob", groups: ["staff"] })
      assert.strictEqual(yield* server.rejudge, 1)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { user: "ann", reason: "the user may not log in any more" })
      assert.deepStrictEqual(groups, [undefined, undefined, ["staff"]])
      yield* clients[1]?.send("ping") ?? Effect.void
      assert.strictEqual((yield* clients[1]?.read(4) ?? Effect.succeed("")).toString(), "ping")
    }))

  it.live("stops datagrams to where they may not go any more, and no others", () =>
    Effect.gen(function*() {
      const [one, two] = yield* Effect.all([udpEcho(), udpEcho()])
      const { denied, layer } = changing()
      const { port, records, server } = yield* proxy({ services: layer })
      yield* Effect.scoped(Effect.gen(function*() {
        const { exchange, send } = yield* associated(port)
        for (const to of [one, two]) yield* exchange(U4(to.port, "x"))
        denied.add(String(one.port))
        assert.strictEqual(yield* server.rejudge, 0)
        yield* send(U4(one.port, "y"))
        yield* exchange(U4(two.port, "y"))
        assert.deepStrictEqual([one, two].map(({ received }) => received.length), [1, 2])
        denied.clear()
        yield* server.rejudge
        yield* exchange(U4(one.port, "z"))
      }))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepStrictEqual(records[0]?.datagrams?.dropped, { denied: 1 })
    }))

  it.live("goes on when a service breaks", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      let broken = false
      const policy = Layer.succeed(AccessPolicy, {
        authorize: () => broken ? Effect.die("a bug") : AccessPolicy.permit,
        authorizeAddress: () => AccessPolicy.permit
      })
      const { port, server } = yield* proxy({ services: policy })
      const client = yield* connectThrough(port, origin.port)
      broken = true
      assert.strictEqual(yield* server.rejudge, 0)
      yield* client.send("ping")
      assert.deepStrictEqual(yield* client.read(4), hex("70696e67"))
    }))
})
