import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type * as Tls from "node:tls"
import * as Users from "../../src/policy/Users.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as Certificates from "../support/Certificates.ts"
import { within } from "../support/Polling.ts"
import { proxy, type ProxyOptions } from "../support/Proxy.ts"
import { AU, C4, connect, G0, G2, hex, type RawClient, readReply } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

const anyPort = NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")

/** A proxy behind TLS, and the files that it reads. */
const secured = Effect.fnUntraced(function*(options: ProxyOptions = {}, clients?: Certificates.Pair) {
  const directory = yield* Certificates.directory
  const pair = yield* Certificates.make(directory, "server", "server")
  const listen = ListenAddress.tls({
    address: anyPort,
    ...pair,
    ...clients !== undefined && { clientCa: clients.cert }
  })
  return { ...yield* proxy({ ...options, listen }), directory, pair }
})

const asks = Effect.fnUntraced(function*(client: RawClient, port: number) {
  yield* client.send(G0, C4(port))
  assert.deepStrictEqual(yield* client.read(2), hex("05 00"))
  assert.strictEqual((yield* readReply(client))[1], 0)
  yield* client.send("ping")
  assert.strictEqual((yield* client.read(4)).toString(), "ping")
})

const users = Users.layer({ users: [{ name: "bob", password: Redacted.make("secret") }] }).pipe(Layer.orDie)

describe("a listener with TLS", () => {
  it.live.each(["TLSv1.2", "TLSv1.3"] as const)(
    "serves over %s, and names itself",
    (version) =>
      Effect.gen(function*() {
        const target = yield* echo()
        const { pair, port, records, server } = yield* secured()
        assert.deepStrictEqual(server.listening.map(ListenAddress.format), [`tls://127.0.0.1:${port}`])
        assert.deepStrictEqual(server.addresses.map(NetAddress.formatInet), [`127.0.0.1:${port}`])
        yield* Effect.scoped(Effect.gen(function*() {
          const client = yield* Certificates.connect(port, pair, { minVersion: version, maxVersion: version })
          yield* asks(client, target.port)
          yield* client.end
          assert.strictEqual((yield* client.readToEnd).length, 0)
        }))
        assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
        assert.deepInclude(records[0], { reason: "done", bytesUp: 4, bytesDown: 4, user: undefined })
      })
  )

  it.live("does not go below 1.2", () =>
    Effect.gen(function*() {
      const { pair, port, records } = yield* secured()
      const old: Tls.ConnectionOptions = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" }
      const error = yield* Effect.flip(Certificates.connect(port, pair, old))
      assert.match(error.code, /PROTOCOL_VERSION/)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.looksLike, "no TLS")
    }))

  it.live("gives a client that says nothing, or something else, no more time and room than any other", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const { pair, port, records } = yield* secured({ handshakeTimeout: 300, maxConnections: 1 })
      const silent = yield* connect(port)
      assert.strictEqual((yield* (yield* connect(port)).readToEnd).length, 0)
      assert.strictEqual((yield* silent.readToEnd).length, 0)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { looksLike: "no TLS", reason: "no TLS: handshake timeout" })

      let ended = 1
      for (const bytes of [G0, Buffer.from("GET / HTTP/1.1\r\n\r\n"), hex("16 03 01 00 05 01 00 00 01 00")]) {
        const stranger = yield* connect(port)
        yield* stranger.send(bytes)
        yield* Effect.exit(stranger.readToEnd)
        // There is room for one.
        assert.isTrue(yield* within(Effect.sync(() => records.length > ended)))
        ended++
      }
      const left = yield* connect(port)
      yield* left.end
      assert.strictEqual((yield* left.readToEnd).length, 0)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 5)))
      for (const { looksLike, reason } of records) {
        assert.strictEqual(looksLike, "no TLS")
        assert.match(reason, /^no TLS: /)
      }
      yield* asks(yield* Certificates.connect(port, pair), target.port)
    }))

  it.live("sends a client of plain SOCKS away in a second", () =>
    Effect.gen(function*() {
      const { port, records } = yield* secured()
      const client = yield* connect(port)
      yield* client.send(G0)
      yield* Effect.exit(client.readToEnd)
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.strictEqual(records[0]?.reason, "no TLS: client connection failed (ERR_SSL_NO_RECORD)")
    }))

  it.live("knows a client by its certificate, and asks it for no login", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const own = yield* Certificates.directory
      const authority = yield* Certificates.make(own, "authority", "authority")
      const { pair, port, records } = yield* secured({ services: users }, authority)
      const ann = yield* Certificates.make(own, "ann", "ann", authority)
      yield* Effect.scoped(
        Effect.flatMap(Certificates.connect(port, pair, { own: ann }), (client) => asks(client, target.port))
      )
      assert.isTrue(yield* within(Effect.sync(() => records.length === 1)))
      assert.deepInclude(records[0], { user: "ann", reply: 0 })

      // One that insists on a login is still who it is.
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* Certificates.connect(port, pair, { own: ann })
        yield* client.send(G2, AU("bob", "wrong"))
        assert.deepStrictEqual(yield* client.read(4), hex("05 02 01 00"))
      }))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      assert.strictEqual(records[1]?.user, "ann")

      const connectOverHttp = `CONNECT 127.0.0.1:${target.port} HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\n\r\n`
      yield* Effect.scoped(Effect.gen(function*() {
        const client = yield* Certificates.connect(port, pair, { own: ann })
        yield* client.send(connectOverHttp)
        assert.strictEqual((yield* client.read(12)).toString(), "HTTP/1.1 200")
      }))
      assert.isTrue(yield* within(Effect.sync(() => records.length === 3)))
      assert.deepInclude(records[2], { protocol: "http", user: "ann" })

      // A certificate without a name is nobody's.
      const nameless = yield* Certificates.make(own, "nameless", "", authority)
      const client = yield* Certificates.connect(port, pair, { own: nameless })
      yield* client.send(G0)
      assert.deepStrictEqual(yield* client.read(2), hex("05 ff"))
    }))

  it.live("lets nobody in without a certificate by the right authority", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const own = yield* Certificates.directory
      const authority = yield* Certificates.make(own, "authority", "authority")
      const other = yield* Certificates.make(own, "other", "authority")
      const mallory = yield* Certificates.make(own, "mallory", "ann", other)
      const alone = yield* Certificates.make(own, "alone", "ann")
      const { pair, port, records } = yield* secured({}, authority)
      for (const certificate of [undefined, mallory, alone]) {
        for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
          const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
            const client = yield* Certificates.connect(port, pair, {
              minVersion: version,
              maxVersion: version,
              ...certificate !== undefined && { own: certificate }
            })
            // With 1.3, the client learns of it only when it reads.
            yield* client.send(G0, C4(target.port))
            return yield* client.read(2)
          })))
          assert.strictEqual(exit._tag, "Failure")
        }
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 6)))
      for (const { reason } of records) assert.match(reason, /^no TLS: client connection failed \(ERR_/)
      assert.strictEqual(target.accepted(), 0)
    }))

  it.live("resumes sessions of clients with certificates", () =>
    Effect.gen(function*() {
      const target = yield* echo()
      const own = yield* Certificates.directory
      const authority = yield* Certificates.make(own, "authority", "authority")
      const ann = yield* Certificates.make(own, "ann", "ann", authority)
      const { pair, port, records } = yield* secured({}, authority)
      let session: Buffer | undefined
      for (const resumed of [false, true]) {
        const client = yield* Certificates.connect(port, pair, { own: ann, ...session !== undefined && { session } })
        // It is a TLS socket, which the raw client does not know.
        const socket = client.socket as Tls.TLSSocket
        socket.on("session", (ticket) => session = ticket)
        yield* asks(client, target.port)
        assert.strictEqual(socket.isSessionReused(), resumed)
        yield* client.end
        yield* client.readToEnd
      }
      assert.isTrue(yield* within(Effect.sync(() => records.length === 2)))
      assert.deepStrictEqual(records.map(({ user }) => user), ["ann", "ann"])
    }))

  it.live("says which file won't do", () =>
    Effect.gen(function*() {
      const directory = yield* Certificates.directory
      const pair = yield* Certificates.make(directory, "server", "server")
      const { key: otherKey } = yield* Certificates.make(directory, "other", "other")
      const [missing, text, empty] = ["missing", "text", "empty"].map((name) => join(directory, name))
      writeFileSync(text ?? "", "not a certificate")
      writeFileSync(empty ?? "", "")
      const cases: ReadonlyArray<readonly [files: Partial<ListenAddress.Tls>, problem: string]> = [
        [{ cert: missing ?? "" }, `cert ${missing}: no such file; correct the path`],
        [{ key: missing ?? "" }, `key ${missing}: no such file; correct the path`],
        [{ cert: text ?? "" }, `cert ${text} has no certificate in PEM`],
        [{ cert: empty ?? "" }, `cert ${empty} has no certificate in PEM`],
        [{ key: empty ?? "" }, `key ${empty} is empty, or can't be read`],
        [{ key: otherKey }, `key ${otherKey} is not that of cert ${pair.cert}`],
        [{ clientCa: text ?? "" }, `clientCa ${text} has no certificate in PEM`],
        [{ cert: directory }, `cert ${directory}: is a directory; name a file`]
      ]
      for (const [files, problem] of cases) {
        const listen: ListenAddress.Tls = { ...ListenAddress.tls({ address: anyPort, ...pair }), ...files }
        const error = yield* Effect.flip(Effect.scoped(proxy({ listen })))
        assert.deepStrictEqual([error.code, error.problem], ["ECERT", problem])
        assert.strictEqual(error.message, `can't listen on tls://127.0.0.1:0: ${problem}`)
      }
      const error = yield* Effect.flip(
        Effect.scoped(proxy({ listen: ListenAddress.tls({ address: anyPort, cert: pair.cert, key: text ?? "" }) }))
      )
      assert.match(error.problem ?? "", /^key \S+ can't be used with cert \S+ \(ERR_\w+\)$/)
    }))
})
