import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import * as Cli from "../support/Cli.ts"

/** `sluice serve` in a terminal of its own, once it listens. */
const terminal = Effect.acquireRelease(
  Effect.callback<{ readonly pid: number; readonly output: () => string; readonly ended: Promise<number | null> }>(
    (resume) => {
      const command = `exec ${process.execPath} ${Cli.path} serve --listen 127.0.0.1:0`
      const script = spawn("script", ["-qefc", command, "/dev/null"], { stdio: ["ignore", "pipe", "inherit"] })
      script.once(
        "error",
        () => resume(Effect.die(new Error("script is missing: install the Debian package bsdutils")))
      )
      const ended = new Promise<number | null>((resolve) => script.once("close", resolve))
      let output = ""
      script.stdout.on("data", (text: Buffer) => {
        output += text.toString()
        if (!output.includes("listening on")) return
        const children = readFileSync(`/proc/${script.pid}/task/${script.pid}/children`, "utf8")
        resume(Effect.succeed({ pid: Number(children.trim()), output: () => output, ended }))
      })
      void ended.then((code) => resume(Effect.die(new Error(`script ended with ${code}: ${output}`))))
    }
  ),
  ({ ended, pid }) =>
    Effect.promise(() => {
      try {
        process.kill(pid, "SIGKILL")
      } catch {
        // It has ended, as it should.
      }
      return ended
    })
)

describe("Signals", () => {
  it.live("SIGHUP: drains when the terminal hangs up that the program runs in", () =>
    Effect.gen(function*() {
      const { ended, output, pid } = yield* terminal
      process.kill(pid, "SIGHUP")
      assert.strictEqual(yield* Effect.promise(() => ended), 0)
      assert.match(output(), /stopping: waiting for connections to end[^\n]*signal=SIGHUP[^\n]*\n[^\n]*stopped/)
    }))
})
