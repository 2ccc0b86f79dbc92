/** Going out from all of a network, in a network namespace of its own where that is routed to loopback. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import * as Program from "../support/Program.ts"

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
