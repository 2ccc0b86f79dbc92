import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import { spawn } from "node:child_process"
import type { Connection } from "../../src/transport/Connection.ts"
import { NodeConnection } from "../../src/transport/NodeConnection.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"

const python = "/usr/bin/python3"

/** Prints the options of the socket that it has inherited as descriptor 3. */
const program = `
import json, socket
with socket.socket(fileno=3) as inherited:
    option = lambda level, name: inherited.getsockopt(level, name)
    print(json.dumps({
        "noDelay": option(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0,
        "keepAlive": option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0,
        "keepAliveSeconds": option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    }))
`

const Options = Schema.fromJsonString(
  Schema.Struct({ noDelay: Schema.Boolean, keepAlive: Schema.Boolean, keepAliveSeconds: Schema.Int })
)

const descriptorOf = (connection: Connection): number => {
  assert.instanceOf(connection, NodeConnection)
  // libuv's handle is not in the types.
  const { _handle } = connection.socket as { readonly _handle?: { readonly fd?: number } | null }
  return _handle?.fd ?? assert.fail("the socket has no descriptor")
}

/** What the kernel says. Node's own child processes inherit descriptors; those of Effect only pipes to them. */
const optionsOf = (connection: Connection) =>
  Effect.callback<string>((resume) => {
    const child = spawn(python, ["-c", program], { stdio: ["ignore", "pipe", "inherit", descriptorOf(connection)] })
    let output = ""
    child.stdout?.on("data", (data: Buffer) => {
      output += data.toString()
    })
    child.on("error", (error) =>
      resume(Effect.die(new Error(`${python} is missing: install the Debian package python3`, { cause: error }))))
    child.on("close", () =>
      resume(Effect.succeed(output)))
  }).pipe(Effect.flatMap(Schema.decodeEffect(Options)), Effect.orDie)

for (const plainReads of [false, true]) {
  it.live(`accepted and dialled sockets have no-delay and keepalive, ${plainReads ? "plain reads" : "onread"}`, () =>
    Effect.gen(function*() {
      const transport = NodeTransport.make({ plainReads, keepAlive: "90 seconds" })
      const accepted = yield* Queue.unbounded<Connection>()
      const expected = { noDelay: true, keepAlive: true, keepAliveSeconds: 90 }
      for (const host of ["127.0.0.1:0", "[::1]:0"]) {
        const { address } = yield* transport.listen(NetAddress.inetAddressFromStringUnsafe(host), {
          admit: () => true,
          accept: (connection) => void Queue.offerUnsafe(accepted, connection),
          failed: assert.fail
        })
        const dialled = yield* transport.connect(address)
        const client = yield* Effect.acquireRelease(Queue.take(accepted), ({ close }) => close)
        assert.deepStrictEqual(yield* optionsOf(dialled), expected, `dialled, ${host}`)
        assert.deepStrictEqual(yield* optionsOf(client), expected, `accepted, ${host}`)
      }
    }))
}
