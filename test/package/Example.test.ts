import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { within } from "../support/Polling.ts"
import * as Program from "../support/Program.ts"
import { AU, connectThrough, type RawClient } from "../support/RawClient.ts"
import { echo } from "../support/Targets.ts"

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
  Schema.fromJsonString(Schema.Array(Schema.Struct({
    id: Schema.Int,
    client: Schema.String,
    user: Schema.optionalKey(Schema.String),
    phase: Schema.String
  })))
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

    // A session that is running is ended from outside by its id, and no other one.
    const origin = yield* echo()
    const [, proxyPort = ""] = proxy.split(":")
    const login = AU("bo", "sesame")
    const client = yield* connectThrough(Number(proxyPort), origin.port, login)
    const other = yield* connectThrough(Number(proxyPort), origin.port, login)
    const idOf = ({ socket }: RawClient) =>
      Program.run("curl", ["-sS", "--max-time", "10", web]).pipe(
        Effect.flatMap(({ stdout }) => decodeSessions(stdout)),
        Effect.map((sessions) => sessions.find(({ client }) => client === `127.0.0.1:${socket.localPort}`)?.id)
      )
    const stop = (id: number | undefined) =>
      Effect.map(
        Program.run("curl", ["-sS", "--max-time", "10", "-X", "POST", `${web}/stop/${id}`]),
        ({ stdout }) => stdout
      )
    const id = yield* idOf(client)
    assert.isNumber(id)
    assert.strictEqual(origin.open.size, 2)
    assert.strictEqual(yield* stop(id), "{\"stopped\":true}")
    assert.isTrue(yield* within(Effect.sync(() => origin.open.size === 1), "5 seconds"), "the target's side has ended")
    assert.isTrue(Exit.isFailure(yield* Effect.exit(client.read(1))), "and the client's side has")
    assert.isUndefined(yield* idOf(client))
    assert.strictEqual(yield* stop(id), "{\"stopped\":false}")
    yield* other.send("still here")
    assert.strictEqual((yield* other.read(10)).toString(), "still here")
  }), 60_000)
