/** Where clients' traffic leaves from: by the dialer's options, by the policy's word, of all kinds. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { AccessPolicy, type AccessRequest } from "../../src/policy/AccessPolicy.ts"
import { Authenticator } from "../../src/policy/Authenticator.ts"
import * as Users from "../../src/policy/Users.ts"
import { Dialer } from "../../src/transport/Dialer.ts"
import * as Egress from "../../src/transport/Egress.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { ask, AU, C4, connect, connectThrough, G0, hex, readReply } from "../support/RawClient.ts"
import { target } from "../support/Targets.ts"
import { associated, U4, udpEcho } from "../support/Udp.ts"

describe("the dialer's egress", () => {
  /** Whom the target sees. */
  const seen = Effect.fnUntraced(function*(options: Parameters<typeof Dialer.layer>[0], services?: Layer.Layer<never>) {
    const from: Array<string | undefined> = []
    const { port: origin } = yield* target((socket) => {
      from.push(socket.remoteAddress)
      socket.end("x")
    })
    const dialer = Dialer.layer(options).pipe(Layer.provide(NodeTransport.layer()))
    const { port } = yield* proxy({ services: services === undefined ? dialer : Layer.merge(dialer, services) })
    return { from, origin, port }
  })

  it.live("leaves from each address in turn", () =>
    Effect.gen(function*() {
      const egress = ["127.0.0.2", "127.0.0.3"].map(NetAddress.ipFromStringUnsafe)
      const { from, origin, port } = yield* seen({ egress })
      for (let i = 0; i < 4; i++) {
        const client = yield* connectThrough(port, origin)
        yield* client.readToEnd
      }
      assert.deepStrictEqual(from, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"])
    }))

  it.live("stays with one address for a user", () =>
    Effect.gen(function*() {
      const egress = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(NetAddress.ipFromStringUnsafe)
      const users = Layer.succeed(Authenticator, {
        required: true,
        authenticate: ({ username }) => Effect.succeed({ name: username })
      })
      const { from, origin, port } = yield* seen({ egress, egressBy: "user" }, users)
      for (const user of ["ann", "ann", "ann", "bob", "cy", "di", "eve"]) {
        const client = yield* connectThrough(port, origin, AU(user, "x"))
        yield* client.readToEnd
      }
      assert.strictEqual(new Set(from.slice(0, 3)).size, 1)
      assert.isAbove(new Set(from).size, 1)
    }))

  it.live("refuses what no address can reach, and says that one is not of this machine", () =>
    Effect.gen(function*() {
      const other = yield* seen({ egress: [NetAddress.ipFromStringUnsafe("::1")] })
      assert.strictEqual((yield* ask(other.port, C4(other.origin)))[1], 3)
      const foreign = yield* seen({ egress: [NetAddress.ipFromStringUnsafe("192.0.2.1")] })
      assert.strictEqual((yield* ask(foreign.port, C4(foreign.origin)))[1], 3)
      assert.deepStrictEqual([...other.from, ...foreign.from], [])
    }))
})

const from = (address: string) => Egress.make([NetAddress.ipFromStringUnsafe(address)])

/** Goes out from where `choose` says; the dialer would go out from 127.0.0.9. */
const chosenBy = (choose: (request: AccessRequest) => Egress.Egress | undefined) =>
  Layer.merge(
    Layer.succeed(AccessPolicy, {
      authorize: () => AccessPolicy.permit,
      authorizeAddress: (request) => Effect.sync(() => ({ egress: choose(request) }))
    }),
    Dialer.layer({ egress: [NetAddress.ipFromStringUnsafe("127.0.0.9")] }).pipe(Layer.provide(NodeTransport.layer()))
  )

const origin = Effect.gen(function*() {
  const seen: Array<string | undefined> = []
  const { port } = yield* target((socket) => {
    seen.push(socket.remoteAddress)
    socket.end("x")
  })
  return { port, seen }
})

describe("the policy's egress", () => {
  it.live("is chosen by listener", () =>
    Effect.gen(function*() {
      const { port: to, seen } = yield* origin
      const services = chosenBy(({ listener }) => listener?.startsWith("127.0.0.1:") ? from("127.0.0.2") : undefined)
      for (const listen of ["127.0.0.1:0", "127.0.0.8:0"]) {
        const { port, server } = yield* proxy({ listen, services })
        assert.deepStrictEqual(server.listening.map(ListenAddress.format), [listen.replace(":0", `:${port}`)])
        const client = yield* connect(port, { host: listen.replace(":0", "") })
        yield* client.send(G0, C4(to))
        yield* client.readToEnd
      }
      assert.deepStrictEqual(seen, ["127.0.0.2", "127.0.0.9"])
    }))

  it.live("is chosen by user, protocol, command and destination", () =>
    Effect.gen(function*() {
      const { port: to, seen } = yield* origin
      const asked: Array<unknown> = []
      const services = Layer.merge(
        chosenBy(({ command, destination, protocol, user }) => {
          asked.push([user, protocol, command, destination.port === to])
          return user === "ann" ? from("127.0.0.3") : undefined
        }),
        Layer.succeed(Authenticator, {
          required: true,
          authenticate: ({ username }) => Effect.succeed({ name: username })
        })
      )
      const { port } = yield* proxy({ services })
      for (const user of ["ann", "bob"]) yield* (yield* connectThrough(port, to, AU(user, "x"))).readToEnd
      assert.deepStrictEqual(seen, ["127.0.0.3", "127.0.0.9"])
      assert.deepStrictEqual(asked, [["ann", "socks5", "connect", true], ["bob", "socks5", "connect", true]])
    }))

  it.live("is where datagrams leave from, the same for all of an association", () =>
    Effect.gen(function*() {
      const [mine, other] = [yield* udpEcho(), yield* udpEcho()]
      const egress = Egress.make(["127.0.0.2", "127.0.0.3"].map(NetAddress.ipFromStringUnsafe))
      const { port } = yield* proxy({
        services: chosenBy(({ destination }) => destination.port === other.port ? from("127.0.0.4") : egress)
      })
      const hosts: Array<string | undefined> = []
      for (let round = 0; round < 2; round++) {
        const { exchange } = yield* associated(port)
        for (const to of [mine, mine, other]) {
          yield* exchange(U4(to.port, "x"))
          hosts.push(to.received.at(-1)?.host)
        }
      }
      assert.deepStrictEqual(hosts, [
        "127.0.0.2",
        "127.0.0.2",
        "127.0.0.4",
        "127.0.0.3",
        "127.0.0.3",
        "127.0.0.4"
      ])
    }))

  it.live("is where BIND waits, for the peer knows the client by it", () =>
    Effect.gen(function*() {
      const { port } = yield* proxy({ services: chosenBy(() => from("127.0.0.5")) })
      const bind = (ip: string) =>
        Effect.gen(function*() {
          const client = yield* connect(port)
          yield* client.send(G0, hex(`05 02 00 01 ${ip} 0000`))
          yield* client.read(2)
          return (yield* readReply(client)).subarray(0, 8)
        })
      assert.deepStrictEqual(yield* bind("7f000001"), hex("05 00 00 01 7f 00 00 05"))
      // Of somebody who isn't known yet only the dialer can tell.
      assert.deepStrictEqual(yield* bind("00000000"), hex("05 00 00 01 7f 00 00 09"))
    }))
})

describe("a session's tag", () => {
  it.live("keeps the address, and is no part of the name", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const { port: to } = yield* target((socket) => {
        seen.push(socket.remoteAddress)
        socket.end("x")
      })
      const egress = Array.from({ length: 50 }, (_, index) => NetAddress.ipFromStringUnsafe(`127.0.1.${index + 1}`))
      const dialer = Dialer.layer({ egress, egressBy: "session" }).pipe(Layer.provide(NodeTransport.layer()))
      const user = Users.userFromString("ann:sesame")
      assert(user._tag === "Success")
      const users = Layer.orDie(Users.layer({ users: [user.success], sessions: true }))
      const { port, records } = yield* proxy({ services: Layer.merge(dialer, users) })
      const visit = (name: string) =>
        Effect.scoped(Effect.gen(function*() {
          const client = yield* connectThrough(port, to, AU(name, "sesame"))
          yield* client.readToEnd
          return seen.at(-1)
        }))
      const one = yield* Effect.replicateEffect(visit("ann+1"), 5)
      assert.strictEqual(new Set(one).size, 1)
      const many = yield* Effect.forEach(["ann+2", "ann+3", "ann+4", "ann+5"], visit)
      assert.isAbove(new Set(many).size, 1)
      const untagged = yield* Effect.replicateEffect(visit("ann"), 5)
      assert.strictEqual(new Set(untagged).size, 5)
      yield* Effect.flip(visit("bob+1"))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 15)))
      assert.deepInclude(records[0], { user: "ann", session: "1" })
      assert.strictEqual(records.find((record) => record.user === "bob+1")?.reason, "authentication failed")
    }))
})
