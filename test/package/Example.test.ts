import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Program from "../support/Program.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Runs the compiled example until the scope closes, and waits for the two lines that say where it listens. */
const example = Effect.acquireRelease(
  Effect.callback<{ readonly child: ChildProcess; readonly proxy: string; readonly web: string }>((resume) => {
    const child = spawn(process.execPath, ["examples/dist/embed.js"], {
      cwd: root,
      env: { ...process.env, SOCKS_PORT: "0", HTTP_PORT: "0" },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    const look = (data: Buffer) => {
      output += data.toString()
      const proxy = /^proxy on socks5:\/\/(\S+)$/m.exec(output)?.[1]
      const web = /^sessions on (http:\S+)$/m.exec(output)?.[1]
      if (proxy !== undefined && web !== undefined) resume(Effect.succeed({ child, proxy, web }))
    }
    child.stdout.on("data", look)
    child.stderr.on("data", look)
    child.once("exit", (code) => resume(Effect.die(new Error(`the example ended with ${code}: ${output}`))))
  }),
  ({ child }) => Effect.sync(() => child.kill("SIGTERM"))
)

const decodeSessions = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Array(Schema.Struct({ id: Schema.Int, user: Schema.String, phase: Schema.String })))
)

it.live("the example of the README compiles against the package and runs", () =>
  Effect.gen(function*() {
    const compiled = yield* Program.run(
      process.execPath,
      ["node_modules/typescript/bin/tsc", "-p", "examples/tsconfig.json"],
      { cwd: root }
    )
    assert.strictEqual(compiled.code, 0, compiled.stdout)
    const { proxy, web } = yield* example
    const curl = (user: string, url: string) =>
      Program.run("curl", ["-sS", "--max-time", "10", "--socks5-hostname", proxy, "--proxy-user", user, url])

    // Its own authenticator, its own policy, and the sessions seen from the HTTP server next to it.
    const page = yield* curl("ann:sesame", web)
    assert.strictEqual(page.code, 0, page.stderr)
    const [session] = yield* decodeSessions(page.stdout)
    assert.deepInclude(session, { user: "ann", phase: "relay" })
    assert.strictEqual((yield* curl("ann:wrong", web)).code, 97)
    const mail = yield* curl("ann:sesame", "telnet://mail.example:25")
    assert.include(mail.stderr, "(2)")

    // A session is ended from outside by its id.
    const stopped = yield* Program.run("curl", ["-sS", "-X", "POST", `${web}/stop/${(session?.id ?? 0) + 1000}`])
    assert.strictEqual(stopped.stdout, "{\"stopped\":false}")
  }), 60_000)
