import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as NetAddress from "effect/net/NetAddress"
import * as TestClock from "effect/testing/TestClock"
import { copyFileSync, rmSync, writeFileSync } from "node:fs"
import type { TLSSocket } from "node:tls"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import * as NodeTransport from "../../src/transport/NodeTransport.ts"
import * as Certificates from "../support/Certificates.ts"

const anyPort = NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")

const replace = (from: Certificates.Pair, to: Certificates.Pair): void => {
  copyFileSync(from.cert, to.cert)
  copyFileSync(from.key, to.key)
}

describe("certificates", () => {
  it.effect("are read anew when their files change, and a pair that won't do leaves the one before", () =>
    Effect.gen(function*() {
      const directory = yield* Certificates.directory
      const first = yield* Certificates.make(directory, "first", "first")
      const second = yield* Certificates.make(directory, "second", "second")
      const used = yield* Certificates.make(directory, "used", "unused")
      replace(first, used)

      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => {
        lines.push(String(message))
      })
      const address = ListenAddress.tls({ address: anyPort, ...used })
      const { listenOn } = NodeTransport.make()
      assert.isDefined(listenOn)
      const listener = yield* listenOn(address, {
        admit: () => true,
        accept: (connection) => void Effect.runFork(Effect.ignore(connection.pull)),
        failed: () => {}
      }).pipe(Effect.provide(Logger.layer([logger])))
      const port = ListenAddress.inetOf(listener.address)?.port ?? 0

      /** The name in the certificate that a new client is shown. */
      const shown = Effect.scoped(
        Effect.map(
          Certificates.connect(port, used, { rejectUnauthorized: false }),
          // It is a TLS socket, which the raw client does not know.
          ({ socket }) => (socket as TLSSocket).getPeerCertificate().subject.CN
        )
      )
      const later = TestClock.adjust("6 seconds")

      assert.strictEqual(yield* shown, "first")
      replace(second, used)
      assert.strictEqual(yield* shown, "first")
      yield* later
      assert.strictEqual(yield* shown, "second")
      assert.deepStrictEqual(lines, ["certificate read anew"])

      // As it is while the two files are being replaced.
      copyFileSync(first.cert, used.cert)
      yield* later
      assert.strictEqual(yield* shown, "second")
      yield* later
      assert.strictEqual(yield* shown, "second")
      assert.deepStrictEqual(lines.splice(1), ["certificate not read anew: the one before stays"])
      copyFileSync(first.key, used.key)
      yield* later
      assert.strictEqual(yield* shown, "first")
      assert.deepStrictEqual(lines.splice(1), ["certificate read anew"])

      for (const spoil of [() => rmSync(used.key), () => writeFileSync(used.cert, "nothing")]) {
        spoil()
        yield* later
        assert.strictEqual(yield* shown, "first")
        assert.deepStrictEqual(lines.splice(1), ["certificate not read anew: the one before stays"])
      }
      replace(second, used)
      yield* later
      assert.strictEqual(yield* shown, "second")
      assert.deepStrictEqual(lines.splice(1), ["certificate read anew"])
    }))
})
