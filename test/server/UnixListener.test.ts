import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as IpNetwork from "effect/net/IpNetwork"
import { existsSync, lstatSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs"
import * as Net from "node:net"
import { join } from "node:path"
import { SocksServer } from "../../src/server/SocksServer.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as MemoryTransport from "../../src/transport/MemoryTransport.ts"
import * as Certificates from "../support/Certificates.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { C4, G0, hex, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import { connect } from "../support/UnixClient.ts"

const echoes = Effect.fnUntraced(function*(path: string, port: number) {
  const client = yield* connect(path)
  yield* client.send(G0, C4(port))
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  assert.strictEqual((yield* readReply(client))[1], 0)
  yield* client.send("ping")
  assert.strictEqual((yield* client.read(4)).toString(), "ping")
  yield* client.end
  assert.strictEqual((yield* client.readToEnd).length, 0)
}, Effect.scoped)

/** A socket's file whose process has left without removing it. */
const leaveStale = (path: string) =>
  Effect.callback<void>((resume) => {
    const server = Net.createServer().listen(`${path}.moved`, () => {
      renameSync(`${path}.moved`, path)
      server.close(() => resume(Effect.void))
    })
  })

/** Why a path can't be listened on. */
const problemWith = (path: string) =>
  Effect.map(Effect.flip(Effect.scoped(proxy({ listen: ListenAddress.unix(path) }))), ({ code }) => code)

describe("a listener on a Unix socket", () => {
  it.live("serves clients that count as local, for the file's owner and group, and removes the file", () =>
    Effect.gen(function*() {
      // On loopback, where clients from elsewhere may not go.
      const target = yield* echo()
      const path = join(yield* Certificates.directory, "sluice.sock")
      const listen = ListenAddress.unix(path)
      yield* Effect.scoped(Effect.gen(function*() {
        const { records, server } = yield* proxy({ listen })
        assert.deepStrictEqual(server.listening.map(ListenAddress.format), [`unix:${path}`])
        assert.deepStrictEqual(server.addresses, [])
        assert.strictEqual(lstatSync(path).mode & 0o777, 0o660)
        yield* echoes(path, target.port)
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.deepInclude(records[0], { client: `unix:${path}`, reason: "done", bytesUp: 4, bytesDown: 4 })
      }))
      assert.isFalse(existsSync(path))
    }))

  it.live("takes no client for a load balancer at 127.0.0.1, and each for one where all are", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const path = join(yield* Certificates.directory, "sluice.sock")
      const listen = ListenAddress.unix(path)
      yield* Effect.scoped(Effect.gen(function*() {
        const { records } = yield* proxy({ listen, proxyProtocol: [IpNetwork.fromStringUnsafe("127.0.0.0/8")] })
        yield* echoes(path, origin.port)
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.strictEqual(records[0]?.client, `unix:${path}`)
      }))
      const { records } = yield* proxy({ listen, proxyProtocol: ["unix"] })
      const client = yield* connect(path)
      yield* client.send("PROXY TCP4 127.0.0.7 127.0.0.1 4711 1080\r\n", G0, C4(origin.port), "ping")
      yield* client.read(16)
      yield* client.end
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { client: "127.0.0.7:4711", reason: "done" })
    }))

  it.live("is for transports that have one", () =>
    Effect.gen(function*() {
      const layer = SocksServer.layer({ listen: [ListenAddress.unix("/a")] }).pipe(
        Layer.provide(SocksServer.defaultsWithoutTransport),
        Layer.provide(MemoryTransport.layer())
      )
      const error = yield* Effect.flip(Layer.build(layer))
      assert.strictEqual(error.message, "can't listen on unix:/a: ENOTSUP")
    }))

  it.live("takes the place of a process that is gone", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const path = join(yield* Certificates.directory, "sluice.sock")
      yield* leaveStale(path)
      assert.isTrue(lstatSync(path).isSocket())
      yield* proxy({ listen: ListenAddress.unix(path) })
      yield* echoes(path, target.port)
    }))

  it.live("leaves alone what is there for another reason", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const directory = yield* Certificates.directory
      const [live, file, link] = ["live.sock", "file", "link"].map((name) => join(directory, name))
      yield* proxy({ listen: ListenAddress.unix(live ?? "") })
      writeFileSync(file ?? "", "precious")
      symlinkSync("nowhere", link ?? "")

      assert.strictEqual(yield* problemWith(live ?? ""), "EADDRINUSE")
      yield* echoes(live ?? "", target.port)
      assert.strictEqual(yield* problemWith(file ?? ""), "ENOTSOCK")
      assert.strictEqual(readFileSync(file ?? "", "utf8"), "precious")
      assert.strictEqual(yield* problemWith(link ?? ""), "ENOTSOCK")
      assert.strictEqual(yield* problemWith(directory), "ENOTSOCK")
      assert.strictEqual(yield* problemWith(join(directory, "x".repeat(108))), "ENAMETOOLONG")
      assert.strictEqual(yield* problemWith(join(directory, "none", "sluice.sock")), "EACCES")
    }))
})
