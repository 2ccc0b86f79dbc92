/** Rules of a configuration file, in the program itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import { proxy } from "../support/Proxy.ts"
import { ask, C4, CD, G0, hex, port16 } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"
import { associated, U4, UA, udpEcho } from "../support/Udp.ts"
import * as UnixClient from "../support/UnixClient.ts"

const serve = Effect.fnUntraced(function*(text: string) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-rules-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )
  const path = join(folder, "sluice.yaml")
  writeFileSync(path, `listen: 127.0.0.1:0\n${text}`)
  return yield* Cli.serve({ args: ["--config", path], inherits: 1 })
})

const bind = (ip: string) => hex(`05 02 00 01 ${ip} 0000`)

describe("rules:", () => {
  it.live("about commands deny UDP ASSOCIATE and BIND before a port is opened", () =>
    Effect.gen(function*() {
      const { port, takeLine } = yield* serve(
        "rules:\n  - { name: no-ports, commands: [bind, associate], action: deny, reply: 7 }\n"
      )
      for (const request of [UA, bind("00000000"), bind("7f000001")]) {
        assert.strictEqual((yield* ask(port, request))[1], 7)
        assert.match(yield* takeLine(/connection ended/), /reason="denied: rule no-ports"/)
      }
    }))

  it.live("that allow some destinations let associations begin, and the log names what denied the others", () =>
    Effect.gen(function*() {
      const [open, closed] = yield* Effect.all([udpEcho(), udpEcho()])
      const { port, takeLine } = yield* serve(
        `default: deny\nrules:\n  - { name: one, commands: [associate], ports: [${open.port}], action: allow }\n`
      )
      assert.strictEqual((yield* ask(port, bind("00000000")))[1], 2)
      yield* takeLine(/denied: default deny/)
      yield* Effect.scoped(Effect.gen(function*() {
        const { exchange, send } = yield* associated(port)
        yield* send(U4(closed.port, "x"))
        yield* exchange(U4(open.port, "x"))
        assert.strictEqual(closed.received.length, 0)
      }))
      assert.match(yield* takeLine(/connection ended/), / dropped_denied=1 denied_by="default deny"/)
    }))

  it.live("about a Unix socket name it as `listen` does, relative to the file", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const folder = mkdtempSync(join(tmpdir(), "sluice-rules-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
      const path = join(folder, "sluice.yaml")
      writeFileSync(
        path,
        "listen: [127.0.0.1:0, \"unix:s.sock\"]\nrules:\n  - { listeners: [\"unix:s.sock\"], action: deny }\n"
      )
      const { port } = yield* Cli.serve({ args: ["--config", path], inherits: 2 })
      assert.strictEqual((yield* ask(port, C4(origin.port)))[1], 0)
      const client = yield* UnixClient.connect(join(folder, "s.sock"))
      yield* client.send(G0, C4(origin.port))
      assert.strictEqual((yield* client.read(4))[3], 2)
    }))

  it.live("about this host hold for 0.0.0.0 and :: as well, which lead there", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const { port, takeLine } = yield* serve(
        "rules:\n  - { name: nolocal, to: [127.0.0.0/8, \"::1\"], action: deny, reply: 5 }\n"
      )
      const mapped = Buffer.concat([hex("05 01 00 04"), hex("00000000000000000000ffff00000000"), port16(origin.port)])
      const unspecified = Buffer.concat([hex("05 01 00 04"), Buffer.alloc(16), port16(origin.port)])
      for (const request of [C4(origin.port), C4(origin.port, [0, 0, 0, 0]), mapped, unspecified]) {
        assert.strictEqual((yield* ask(port, request))[1], 5)
        assert.match(yield* takeLine(/connection ended/), /reason="denied: rule nolocal"/)
      }
    }))

  it.live("about networks hold for names that a later rule sends elsewhere, too", () =>
    Effect.gen(function*() {
      const origin = yield* echo()
      const upstream = yield* proxy()
      const config = (...rules: ReadonlyArray<string>) =>
        `upstreams: { pool: { proxies: "socks5h://127.0.0.1:${upstream.port}" } }\nrules:\n${
          rules.map((rule) => `  - ${rule}\n`).join("")
        }`
      const nonet = "{ name: nonet, to: [127.0.0.0/8, \"::1/128\"], action: deny }"
      const go = "{ name: go, to: [localhost], via: pool, action: allow }"
      const strict = yield* serve(config(nonet, go))
      assert.strictEqual((yield* ask(strict.port, CD("localhost", origin.port)))[1], 2)
      assert.match(yield* strict.takeLine(/connection ended/), /denied: rule nonet/)
      assert.strictEqual((yield* ask(strict.port, C4(origin.port)))[1], 2)
      assert.strictEqual(upstream.records.length, 0)
      const lax = yield* serve(config(go, nonet))
      assert.strictEqual((yield* ask(lax.port, CD("localhost", origin.port)))[1], 0)
      assert.isTrue(yield* within(Effect.sync(() => upstream.records.length === 1)))
      assert.strictEqual(upstream.records[0]?.destination, `localhost:${origin.port}`)
    }))
})
