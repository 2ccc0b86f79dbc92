import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as AddressWords from "../../src/policy/AddressWords.ts"
import * as ListFile from "../../src/policy/ListFile.ts"

const words = (address: string) => AddressWords.fromIp(NetAddress.ipFromStringUnsafe(address))

/** A file with some content, gone at the end of the test. */
const written = Effect.fnUntraced(function*(content: string | Uint8Array) {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-list-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
  )
  const path = Path.join(folder, "list.txt")
  Fs.writeFileSync(path, content)
  return path
})

const read = Effect.fnUntraced(function*(content: string | Uint8Array) {
  return yield* ListFile.read("ads", yield* written(content))
})

/** The message, with `FILE` for the path. */
const problem = Effect.fnUntraced(function*(content: string | Uint8Array) {
  const path = yield* written(content)
  const { message } = yield* Effect.flip(ListFile.read("ads", path))
  return message.replace(path, "FILE")
})

const plain = `# a list
ads.example   # a comment behind
.tracker.test

  *.metrics.*\t
10.0.0.0/8
192.0.2.7
2001:db8::/32
BÜCHER.example.
`

const hosts = `\uFEFF127.0.0.1 localhost localhost.localdomain
::1 ip6-localhost ip6-loopback localhost
fe80::1%lo0 localhost
255.255.255.255\tbroadcasthost
0.0.0.0 0.0.0.0
# block
0.0.0.0 ads.example\r
127.0.0.1\ttracker.test  www.tracker.test # two
`

describe("ListFile", () => {
  it.effect("reads names, suffixes, globs, addresses and networks, mixed", () =>
    Effect.gen(function*() {
      const list = yield* read(plain)
      assert.strictEqual(list.name, "ads")
      assert.strictEqual(list.size, 7)
      assert.strictEqual(list.networks.size, 3)
      for (const name of ["ads.example", "a.tracker.test", "x.metrics.y", "xn--bcher-kva.example"]) {
        assert.isTrue(list.hasName(name), name)
      }
      assert.isFalse(list.hasName("a.ads.example"))
      for (const address of ["10.9.9.9", "192.0.2.7", "2001:db8::7"]) {
        assert.isTrue(list.networks.has(words(address)), address)
      }
      assert.isFalse(list.networks.has(words("192.0.2.8")))
    }))

  it.effect("reads hosts files, without what they say of the machine itself", () =>
    Effect.gen(function*() {
      const list = yield* read(hosts)
      assert.strictEqual(list.size, 3)
      assert.strictEqual(list.networks.size, 0)
      for (const name of ["ads.example", "tracker.test", "www.tracker.test"]) assert.isTrue(list.hasName(name), name)
      assert.isFalse(list.hasName("localhost"))
    }))

  it.effect("reads what has no line end, nothing, or comments only", () =>
    Effect.gen(function*() {
      assert.isTrue((yield* read("a.test\nb.test")).hasName("b.test"))
      assert.strictEqual((yield* read("")).size, 0)
      assert.strictEqual((yield* read("# nothing\n\n")).size, 0)
    }))

  it.effect("reads a file of many chunks, whichever bytes they end in", () =>
    Effect.gen(function*() {
      const names = Array.from({ length: 60_000 }, (_, index) => `host-${index}.some.ads.example`)
      const list = yield* read(`${names.join("\n")}\n`)
      assert.strictEqual(list.size, names.length)
      assert.isTrue(names.every((name) => list.hasName(name)))
    }))

  const wrong: ReadonlyArray<readonly [content: string | Uint8Array, message: string]> = [
    [
      "a.test\n\n||ads.example^\n",
      "FILE:3: \"||ads.example^\" is no domain (invalid domain name); write a name, " +
      ".SUFFIX, a glob as *.ads.*, or a network"
    ],
    ["10.0.0.1/8\n", "FILE:1: \"10.0.0.1/8\" is an address in a network; write 10.0.0.0/8"],
    ["10.0.0.0/33", "FILE:1: \"10.0.0.0/33\" is no network; write ADDRESS/BITS, as 10.0.0.0/8 or 2001:db8::/32"],
    [
      "a.test b.test",
      "FILE:1: \"a.test b.test\" is more than one entry; write each on a line of its own, or " +
      "ADDRESS NAME as hosts files do"
    ],
    [
      "0.0.0.0 good.test b@d\n",
      "FILE:1: \"b@d\" is no domain (invalid domain name); write a name, .SUFFIX, a glob as " +
      "*.ads.*, or a network"
    ],
    [Uint8Array.of(0x61, 0x0a, 0xff, 0xfe, 0x0a), "FILE:2: not UTF-8 text; save it as UTF-8"],
    ["x".repeat(70_000), "FILE:1: line is longer than 64 KiB; write one name or network a line"],
    [
      `ok.test\n${"x".repeat(70_000)}\nok.test\n`,
      "FILE:2: line is longer than 64 KiB; write one name or network a line"
    ]
  ]
  for (const [content, message] of wrong) {
    it.effect(`refuses ${JSON.stringify(String(content).slice(0, 30))}`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* problem(content), message)
      }))
  }

  it.effect("ends early when the first line has no end", () =>
    Effect.gen(function*() {
      const message = yield* problem("x".repeat(2_000_000))
      assert.strictEqual(message, "FILE:1: line is longer than 64 KiB; write one name or network a line")
    }))

  it.effect("cuts off what is too long to quote", () =>
    Effect.gen(function*() {
      const message = yield* problem(`${"y".repeat(100)}@\n`)
      assert.match(message, /^FILE:1: "y{80}…" is no domain/)
    }))

  it.effect("says what is wrong with the file itself", () =>
    Effect.gen(function*() {
      const path = yield* written("")
      const missing = yield* Effect.flip(ListFile.read("ads", `${path}.gone`))
      assert.strictEqual(missing.message, `${path}.gone: no such file; correct the path`)
      const folder = yield* Effect.flip(ListFile.read("ads", Path.dirname(path)))
      assert.strictEqual(folder.message, `${Path.dirname(path)}: is a directory; name a file`)
    }))
})
