/** Something in clear before TLS, at the connection itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import type { Connection } from "../../src/transport/Connection.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import * as Certificates from "../support/Certificates.ts"
import { type ClientError, G0, type RawClient } from "../support/RawClient.ts"

const at = (text: string) => NetAddress.inetAddressFromStringUnsafe(text)

/** A connection that nobody reads from but TLS. */
const dial = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => Net.connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true })),
    (socket) => Effect.sync(() => void socket.destroy())
  )

describe("a connection that is to begin with TLS later", () => {
  const clear = Buffer.from("in clear")

  /** One that says something, each part in a packet of its own. */
  const saying = Effect.fnUntraced(function*(port: number, ...parts: ReadonlyArray<Uint8Array>) {
    const socket = yield* dial(port)
    for (const part of parts) {
      yield* Effect.callback<void>((resume) => void socket.write(part, () => resume(Effect.void)))
      yield* Effect.sleep(50)
    }
    return socket
  })

  /** Listens, and serves one client: what it says in clear has been pulled, and what follows has come, too. */
  const accepted = Effect.fnUntraced(
    function*(dialled: (port: number, pair: Certificates.Pair) => Effect.Effect<void>) {
      const pair = yield* Certificates.make(yield* Certificates.directory, "server", "server")
      const listenOn = NodeTransport.make().listenOn ?? assert.fail()
      const client = yield* Deferred.make<Connection>()
      const listener = yield* listenOn(ListenAddress.tls({ address: at("127.0.0.1:0"), ...pair }), {
        admit: () => true,
        accept: (connection) => Deferred.doneUnsafe(client, Effect.succeed(connection)),
        failed: () => {}
      }, { clearFirst: () => true })
      yield* dialled(ListenAddress.inetOf(listener.address)?.port ?? 0, pair)
      const connection = yield* Effect.acquireRelease(Deferred.await(client), (connection) => connection.close)
      const [bytes] = yield* connection.pull
      assert.deepStrictEqual(Buffer.from(bytes), clear)
      // It reads ahead of the pulls.
      yield* Effect.sleep(100)
      return { connection, begin: connection.beginTls ?? assert.fail() }
    }
  )

  it.live("gives TLS what it has read too early, and nobody else", () =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const client = yield* Deferred.make<RawClient, ClientError>()
      const { begin, connection } = yield* accepted(Effect.fnUntraced(function*(port, pair) {
        const socket = yield* saying(port, clear)
        const secured = Deferred.complete(client, Certificates.connect(port, pair, { socket }))
        yield* Effect.forkIn(Effect.asVoid(secured), scope, { startImmediately: true })
      }, Scope.provide(scope)))
      assert.isTrue(connection.insecure)
      yield* begin(new Uint8Array(0))
      const peer = yield* Deferred.await(client)
      yield* peer.send("ping")
      assert.strictEqual(Buffer.from((yield* connection.pull)[0]).toString(), "ping")
      assert.isFalse(connection.insecure)
      yield* connection.write(Buffer.from("pong"))
      assert.strictEqual((yield* peer.read(4)).toString(), "pong")
    }))

  it.live.each(["end", "resetAndDestroy"] as const)(
    "never begins with one that has left: %s",
    (how) =>
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        const { begin, connection } = yield* accepted(Effect.fnUntraced(function*(port) {
          const socket = yield* saying(port, clear, G0)
          socket[how]()
        }, Scope.provide(scope)))
        const exit = yield* Effect.exit(Effect.andThen(begin(G0), connection.pull))
        assert.strictEqual(exit._tag, "Failure")
        assert.isTrue(connection.insecure)
      })
  )
})
