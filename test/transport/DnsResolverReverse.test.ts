/** From an address to its name. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type * as DnsResolver from "../../src/transport/DnsResolver.ts"
import { Resolver } from "../../src/transport/Resolver.ts"
import * as DnsServer from "../support/DnsServer.ts"

/** A name server, and a resolver that asks it. */
const reversing = Effect.fnUntraced(function*(options: DnsResolver.Options = {}) {
  const dns = yield* DnsServer.make
  const service = Context.get(yield* Layer.build(DnsServer.resolver(dns, options)), Resolver)
  const reverse = (address: string) =>
    service.reverse?.(NetAddress.ipFromStringUnsafe(address)) ?? Effect.die(new Error("no reverse"))
  return { dns, reverse }
})

/** A file in the place of `/etc/hosts`. */
const hostsFile = (text: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-hosts-"))),
      (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
    ),
    (folder) => {
      const path = Path.join(folder, "hosts")
      Fs.writeFileSync(path, text)
      return path
    }
  )

const arpa = "1.2.0.192.in-addr.arpa"

describe("reverse", () => {
  it.effect("the first name that can be a host's", () =>
    Effect.gen(function*() {
      const { dns, reverse } = yield* reversing()
      dns.set(arpa, { PTR: DnsServer.names("no name.test", "First.Test", "second.test") })
      assert.strictEqual(yield* reverse("192.0.2.1"), "first.test")
      assert.strictEqual(yield* reverse("::ffff:192.0.2.1"), "first.test")
      assert.deepStrictEqual(dns.names(), [arpa])
    }))

  it.effect("tells why there is none", () =>
    Effect.gen(function*() {
      const { dns, reverse } = yield* reversing()
      dns.set(arpa, { PTR: DnsServer.serverFailure })
      dns.set("2.2.0.192.in-addr.arpa", {})
      dns.set("3.2.0.192.in-addr.arpa", { PTR: DnsServer.names("no name.test") })
      const failure = (address: string) =>
        Effect.map(Effect.flip(reverse(address)), ({ code, name, reason }) => ({ code, name, reason }))
      assert.deepStrictEqual(yield* failure("192.0.2.1"), { code: "ESERVFAIL", name: arpa, reason: "Failed" })
      assert.deepInclude(yield* failure("192.0.2.2"), { code: "ENODATA", reason: "NotFound" })
      assert.deepInclude(yield* failure("192.0.2.3"), { code: "ENODATA", reason: "NotFound" })
      assert.deepInclude(yield* failure("192.0.2.4"), { code: "ENOTFOUND", reason: "NotFound" })
    }))

  it.live("has the time limit of all lookups", () =>
    Effect.gen(function*() {
      const { dns, reverse } = yield* reversing({ timeout: "200 millis" })
      dns.set(arpa, { PTR: DnsServer.silent })
      assert.strictEqual((yield* Effect.flip(reverse("192.0.2.1"))).reason, "TimedOut")
    }))

  it.effect("the hosts file first, and loopback without a server", () =>
    Effect.gen(function*() {
      const file = yield* hostsFile("192.0.2.1 first.test alias.test\n192.0.2.1 later.test\n2001:db8::1 six.test\n")
      const { dns, reverse } = yield* reversing({ hostsFile: file })
      dns.set(arpa, { PTR: DnsServer.names("dns.test") })
      assert.strictEqual(yield* reverse("192.0.2.1"), "first.test")
      assert.strictEqual(yield* reverse("2001:db8::1"), "six.test")
      assert.strictEqual(yield* reverse("127.1.2.3"), "localhost")
      assert.strictEqual(yield* reverse("::1"), "localhost")
      assert.deepStrictEqual(dns.names(), [])
    }))
})
