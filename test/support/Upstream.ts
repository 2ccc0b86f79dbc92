/** Proxies of other makers on loopback, from Debian, to go through. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { within } from "./Polling.ts"
import { closedPort } from "./Targets.ts"

class NoProxy extends Data.TaggedError("NoProxy")<{ readonly message: string }> {}

/** Starts a program that listens on a port of its own choosing at most: one that is free is found before. */
const start = (program: string, debianPackage: string, args: (port: number) => ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const port = yield* closedPort
    let ended: string | undefined
    const child = yield* Effect.acquireRelease(
      Effect.sync((): ChildProcess => {
        const child = spawn(program, args(port), { stdio: "ignore" })
        child.once("error", (error: NodeJS.ErrnoException) => {
          ended = error.code === "ENOENT" ? `is missing: install the Debian package ${debianPackage}` : error.message
        })
        child.once("exit", (code, signal) => {
          ended ??= `ended with ${code ?? signal}`
        })
        return child
      }),
      (child) =>
        Effect.gen(function*() {
          child.kill("SIGTERM")
          yield* within(Effect.sync(() => ended !== undefined))
          if (ended === undefined) child.kill("SIGKILL")
        })
    )
    const answers = Effect.callback<boolean>((resume) => {
      const socket = Net.connect({ port, host: "127.0.0.1" })
      socket.once("connect", () => {
        socket.destroy()
        resume(Effect.succeed(true))
      })
      socket.once("error", () => resume(Effect.succeed(false)))
    })
    const isThere = yield* within(
      Effect.flatMap(answers, (there) => Effect.succeed(there || ended !== undefined)),
      5000
    )
    if (ended !== undefined || !isThere) {
      return yield* new NoProxy({ message: `${program} (${child.pid}) ${ended ?? "does not listen"}` })
    }
    return port
  })

/** Its port. It dials 127.0.0.0/8, but 127.0.0.9, sends datagrams there, and takes connections for BIND. */
export const dante = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-dante-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  const user = Os.userInfo().username
  return yield* start("/usr/sbin/danted", "dante-server", (port) => {
    const file = Path.join(folder, "danted.conf")
    Fs.writeFileSync(
      file,
      `logoutput: /dev/null
internal: 127.0.0.1 port = ${port}
external: 127.0.0.1
socksmethod: none
clientmethod: none
user.privileged: ${user}
user.unprivileged: ${user}
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
socks block { from: 127.0.0.0/8 to: 127.0.0.9/32 }
socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect udpassociate bind }
socks pass { from: 0.0.0.0/0 to: 127.0.0.0/8 command: udpreply bindreply }
`
    )
    return ["-f", file, "-p", Path.join(folder, "danted.pid")]
  })
})

/** Its port. `login` is `[user, password]`. */
export const microsocks = (login?: readonly [user: string, password: string]) =>
  start("microsocks", "microsocks", (port) => [
    "-i",
    "127.0.0.1",
    "-p",
    String(port),
    ...login === undefined ? [] : ["-u", login[0], "-P", login[1]]
  ])
