import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createHash, randomBytes } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Build from "../../bench/c10k/Build.ts"
import * as Charts from "../../bench/c10k/Charts.ts"
import * as Generator from "../../bench/c10k/Generator.ts"
import * as Options from "../../bench/c10k/Options.ts"
import * as Page from "../../bench/c10k/Page.ts"
import type * as Results from "../../bench/c10k/Results.ts"
import * as Tables from "../../bench/c10k/Tables.ts"
import * as Children from "../../bench/Children.ts"
import { descriptors } from "../support/ProcessInfo.ts"
import * as RawClient from "../support/RawClient.ts"
import { closedPort, echo, target } from "../support/Targets.ts"

const sources = fileURLToPath(new URL("../../bench/c10k", import.meta.url))

/** Compiled into a directory that goes with the tests. Without gcc all of them fail, and say so. */
class Laboratory extends Context.Service<Laboratory, { readonly relay: Build.Relay; readonly load: string }>()(
  "test/Laboratory"
) {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const out = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-mechanisms-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      return { relay: Build.relay(sources, out), load: Build.load(sources, out) }
    })
  )
}

const start = (mechanism: string) =>
  Effect.acquireRelease(
    Effect.flatMap(
      Laboratory,
      ({ relay }) => Effect.promise(() => Children.startProxy(`${relay.path} --mechanism ${mechanism}`))
    ),
    (proxy) => Effect.promise(proxy.stop)
  )

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

/** Reads all, then says what it was and ends. */
const hashing = target((socket) => {
  const seen = createHash("sha256")
  socket.on("data", (data) => seen.update(data))
  socket.on("end", () => socket.end(seen.digest("hex")))
})

const checks = Effect.fnUntraced(function*(mechanism: string) {
  const proxy = yield* start(mechanism)
  const { port } = proxy.address
  const atRest = yield* descriptors(proxy.pid)
  yield* Effect.scoped(Effect.gen(function*() {
    const origin = yield* echo()

    // All at once, as an impatient client would; and 2 MiB that come back while they are still being sent.
    const impatient = yield* RawClient.connect(port)
    yield* impatient.send(RawClient.G0, RawClient.C4(origin.port), "early")
    assert.deepStrictEqual([...yield* impatient.read(2)], [5, 0])
    assert.strictEqual((yield* RawClient.readReply(impatient))[1], 0)
    assert.strictEqual((yield* impatient.read(5)).toString(), "early")
    const bytes = randomBytes(2 * 1024 * 1024)
    yield* impatient.send(bytes)
    assert.strictEqual(digest(yield* impatient.read(bytes.length)), digest(bytes))

    const hasher = yield* hashing
    const asks = yield* RawClient.connectThrough(port, hasher.port)
    yield* asks.send(bytes)
    yield* asks.end
    assert.strictEqual((yield* asks.readToEnd).toString(), digest(bytes))

    const heard = yield* Deferred.make<string>()
    const saysFirst = yield* target((socket) => {
      socket.end("bye")
      const parts = new Array<Buffer>()
      socket.on("data", (part) => parts.push(part))
      socket.on("end", () => Deferred.doneUnsafe(heard, Effect.succeed(Buffer.concat(parts).toString())))
    })
    const answers = yield* RawClient.connectThrough(port, saysFirst.port)
    assert.strictEqual((yield* answers.readToEnd).toString(), "bye")
    yield* answers.send("goodbye")
    yield* answers.end
    assert.strictEqual(yield* Deferred.await(heard), "goodbye")

    const refused = yield* RawClient.connect(port)
    yield* refused.send(RawClient.G0, RawClient.C4(yield* closedPort))
    yield* refused.read(2)
    assert.strictEqual((yield* RawClient.readReply(refused))[1], 5)
    assert.strictEqual((yield* refused.readToEnd).length, 0)
    const named = yield* RawClient.connect(port)
    yield* named.send(RawClient.G0, RawClient.CD("localhost", 1))
    yield* named.read(2)
    assert.strictEqual((yield* RawClient.readReply(named))[1], 8)
  }))

  const { load } = yield* Laboratory
  const far = yield* Effect.acquireRelease(
    Effect.promise(() => Generator.startTarget(load)),
    (target) => Effect.promise(target.stop)
  )
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => Generator.startClient(load, port, far)),
    (client) => Effect.promise(client.stop)
  )
  const opened = yield* Effect.promise(() => client.open(200))
  assert.deepStrictEqual([opened.open, opened.errors], [200, {}])
  const sweep = yield* Effect.promise(client.sweep)
  assert.deepStrictEqual([sweep.answered, sweep.errors], [200, {}])
  const echoes = yield* Effect.promise(() => client.echo(200, 1_000, 20))
  assert.deepStrictEqual([echoes.answered, echoes.heldBack, echoes.errors], [echoes.sent, 0, {}])
  assert.isAbove(echoes.sent, 0)
  assert.deepStrictEqual((yield* Effect.promise(() => client.close(0))).errors, {})
  // Nothing is left of any of them; the next connection is one more.
  for (let look = 0; look < 250 && (yield* descriptors(proxy.pid)) > atRest; look++) yield* Effect.sleep(20)
  assert.strictEqual(yield* descriptors(proxy.pid), atRest)
})

layer(Laboratory.layer, { excludeTestServices: true })("mechanisms.c", (it) => {
  it.effect("has all mechanisms: libevent-dev and liburing-dev are installed", () =>
    Effect.gen(function*() {
      const { relay } = yield* Laboratory
      for (const why of relay.missing.values()) assert.strictEqual(why, "the kernel doesn't allow it")
      assert.isAtLeast(relay.mechanisms.length, Build.mechanisms.length - 1)
    }))

  for (const mechanism of Build.mechanisms) {
    it.effect(`${mechanism} relays both ways, half-closes, and leaves nothing behind`, () =>
      Effect.gen(function*() {
        const { relay } = yield* Laboratory
        // A container may forbid io_uring: then the laboratory says so and goes on without.
        if (relay.missing.has(mechanism)) assert.strictEqual(mechanism, "io_uring")
        else yield* checks(mechanism)
      }))
  }
})

const level = (asked: number, open: number): Results.Level => ({
  asked,
  open,
  echoed: open,
  cpu: 20,
  rate: 2_000,
  p50: 0.1,
  p99: 1.5,
  max: 3,
  memory: 8,
  kernel: 20,
  others: 0,
  errors: {}
})

const machine = { kind: "2 × Test", kernel: "Linux 6", node: "v20", descriptors: 20_000, date: "2026-11-25" }
const ladder: Results.Ladder = {
  machine,
  command: "npm run bench:c10k",
  absent: [{ name: "dante", why: "not installed" }],
  climbs: [
    {
      name: "select",
      group: "mechanism",
      levels: [level(100, 100), level(1_000, 509)],
      limit: { held: 509, descriptors: 2, idleCores: 0.9, servesAgain: 0 }
    },
    { name: "sluice-2", group: "proxy", levels: [level(100, 100), level(1_000, 1_000)] }
  ]
}
const peers: Results.Peers = {
  machine,
  command: "npm run bench:c10k -- --peers",
  absent: [],
  runs: 3,
  names: ["sluice", "dante"],
  rows: [{ title: "CPU-µs per connection", digits: 0, samples: [[100, 90, 110], [200, null, 220]], errors: [{}, {}] }]
}

describe("bench:c10k", () => {
  it("says who ended where, and what it did there", () => {
    const text = Tables.ladder(ladder)
    assert.include(text, "Left out: dante (not installed).")
    assert.include(text, "| select | 20 | 20 * |")
    assert.include(
      text,
      "| select | 509 | 2.0 | spins (0.90 cores with nothing to do); serves nobody any more, even when 100 have left |"
    )
    assert.include(text, "All connections were had by: sluice-2.")
    assert.include(Tables.workers(ladder), "1,000 of 1,000 established, 1,000 echoed, 0 lost")
  })

  it("compares medians with Sluice's", () => {
    const text = Tables.peers(peers)
    assert.include(text, "| sluice | 100 |")
    assert.include(text, "| dante | 210 (2.10) |")
  })

  it("reckons with a million", () => {
    const text = Tables.million({ ladder, peers })
    assert.include(text, "| the processes' memory | 8.0 KiB | 7.6 GiB |")
    assert.include(text, "| 20 µs | 4.0 cores |")
  })

  for (const chart of Charts.charts) {
    it.live(`draws ${chart.file}`, () =>
      Effect.gen(function*() {
        const svg = yield* Effect.promise(() => Charts.svg(ladder, chart))
        assert.match(svg, /^<svg /)
        for (const text of ["select", "sluice-2", chart.title]) assert.include(svg, text)
      }))
  }

  it("reads its options", () => {
    const options = Options.parse(["--quick", "--only", "poll,sluice", "--json", "out.json"])
    assert.deepInclude(options, { quick: true, only: ["poll", "sluice"], json: "out.json", peers: false, runs: 3 })
    assert.isUndefined(Options.parse([]).only)
    assert.deepInclude(Options.parse(["--peers", "--runs", "5"]), { peers: true, runs: 5 })
  })

  it("refuses what it can't do", () => {
    assert.throws(() => Options.parse(["--runs", "0"]), "from 1 to 100")
    assert.throws(() => Options.parse(["--write", "--quick"]), "whole run")
    assert.throws(() => Options.parse(["--fast"]), "--fast")
  })

  it("replaces what stands between two markers", () => {
    const page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert.strictEqual(Page.replace(page, "x", "new\n"), "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n")
    assert.throws(() => Page.replace(page, "y", ""), "<!-- y -->")
  })
})
