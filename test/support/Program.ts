/** Programs outside of the test's process. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"

/** What a program left behind. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  /** Over the test's own environment; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Default: nothing. */
  readonly stdin?: Stream.Stream<Uint8Array>
}

/** Variables that would send a client elsewhere, or change what the proxy does. */
const cleared: Readonly<Record<string, undefined>> = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => /^(SLUICE_|LD_PRELOAD$|(all|ftp|https?|no|socks)_proxy$)/i.test(name))
    .map((name) => [name, undefined])
)

export const environment = (own: RunOptions["env"] = {}): ChildProcess.CommandOptions => ({
  env: { ...cleared, ...own },
  extendEnv: true
})

/** The Debian packages of the clients. */
const packages: Readonly<Record<string, string>> = {
  curl: "curl",
  nc: "netcat-openbsd",
  openssl: "openssl",
  proxychains4: "proxychains4",
  ss: "iproute2",
  "/usr/sbin/haproxy": "haproxy",
  "/usr/bin/python3": "python3-socks",
  "systemd-socket-activate": "systemd"
}

const text = <E>(bytes: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(bytes))

/** Runs a program to its end. One that isn't there fails the test and names the package. */
export const run = Effect.fnUntraced(
  function*(command: string, args: ReadonlyArray<string>, options: RunOptions = {}) {
    const handle = yield* ChildProcess.make(command, args, {
      ...environment(options.env),
      ...options.cwd !== undefined && { cwd: options.cwd },
      stdin: options.stdin ?? "ignore",
      forceKillAfter: "2 seconds"
    }).pipe(
      Effect.catchIf(
        (error) => error.reason._tag === "NotFound",
        () => Effect.die(new Error(`${command} is missing: install the Debian package ${packages[command] ?? command}`))
      )
    )
    const [stdout, stderr, code] = yield* Effect.all(
      [text(handle.stdout), text(handle.stderr), handle.exitCode],
      { concurrency: "unbounded" }
    )
    const ended: Ended = { code, stdout, stderr }
    return ended
  },
  Effect.scoped,
  Effect.provide(NodeServices.layer),
  Effect.orDie
)
