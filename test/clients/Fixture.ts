/** What the tests of one file share: the program, once for everybody and once with users, and an origin. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import { httpOrigin } from "../support/HttpOrigin.ts"

/** Only the name server that the proxies ask knows it: who gets there by this name has the proxy resolve it. */
export const name = "origin.test"

export class Fixture extends Context.Service<Fixture, {
  /** Nobody has to log in. */
  readonly open: Cli.Cli
  /** Users are `ann`, with the password `sesame`, and `bo b`, with `p:ä%`. */
  readonly guarded: Cli.Cli
  /** The port of an HTTP server on 127.0.0.1. */
  readonly origin: number
}>()("test/clients/Fixture") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set(name, { A: DnsServer.records(["127.0.0.1"]) })
      const flags = ["--dns", NetAddress.formatInet(dns.address)]
      const [open, guarded] = yield* Effect.all([
        Cli.serve({ args: flags }),
        Cli.serve({ args: [...flags, "--user", "ann:sesame", "--user", "bo b:p:ä%"] })
      ], { concurrency: 2 })
      return { open, guarded, origin: yield* httpOrigin() }
    })
  )
}
