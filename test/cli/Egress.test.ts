/** Going out from all of a network, in a network namespace of its own where that is routed to loopback. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Certificates from "../support/Certificates.ts"
import * as Cli from "../support/Cli.ts"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { AU, probe } from "../support/RawClient.ts"
import { noting } from "../support/Targets.ts"

const script = fileURLToPath(new URL("../support/egressFromNetwork.mjs", import.meta.url))

describe("serve --egress CIDR", () => {
  it.live("leaves from anywhere in an IPv6 /64, and for a session always from the same address", () =>
    Effect.gen(function*() {
      const setup = "ip link set lo up && ip -6 route add local fd5a:1::/64 dev lo && " +
        "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind && exec \"$@\""
      const ended = yield* Program.run("unshare", [
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        setup,
        "sh",
        process.execPath,
        script
      ])
      assert.strictEqual(ended.code, 0, ended.stderr)
      const { rotating, sticky }: Record<"rotating" | "sticky", ReadonlyArray<string>> = JSON.parse(ended.stdout)
      assert.strictEqual(rotating.length, 20)
      assert.strictEqual(new Set(rotating).size, 20)
      assert.strictEqual(sticky.length, 20)
      assert.strictEqual(new Set(sticky).size, 1)
      for (const address of [...rotating, ...sticky]) assert.match(address, /^fd5a:1::?[0-9a-f:]+$/)
    }))
})

describe("egress= of a users file", () => {
  it.live("is where that user goes out from, and no other, until the file says something else", () =>
    Effect.gen(function*() {
      const origin = yield* noting
      const { from } = origin
      const folder = yield* Certificates.directory
      const file = join(folder, "users")
      const hash = yield* PasswordHash.hash(Redacted.make("sesame"))
      const write = (egress: string) =>
        Effect.sync(() => writeFileSync(file, `ann:${hash}:egress=${egress}\nbob:${hash}\n`))
      yield* write("127.0.0.2,127.0.0.3 egress-by=user")
      const proxy = yield* Cli.serve({ args: ["--users", file] })
      const visit = (name: string) =>
        Effect.map(
          Effect.orDie(probe(proxy.port, origin.port, AU(name, "sesame"))),
          (reached) => reached ? from.at(-1) : undefined
        )

      const anns = yield* visit("ann")
      assert.include(["127.0.0.2", "127.0.0.3"], anns)
      assert.strictEqual(yield* visit("bob"), "127.0.0.1")
      for (let i = 0; i < 3; i++) assert.strictEqual(yield* visit("ann"), anns)

      yield* write("127.0.0.4")
      assert.isTrue(yield* within(Effect.map(visit("ann"), (address) => address === "127.0.0.4"), "10 seconds"))
      assert.strictEqual(yield* visit("bob"), "127.0.0.1")
    }))
})
