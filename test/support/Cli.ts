/** The program itself, as `npm test` has built it: `dist/cli.js` in a process of its own. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { fileURLToPath } from "node:url"
import * as Program from "./Program.ts"

export const path = fileURLToPath(new URL("../../dist/cli.js", import.meta.url))

/** Runs a command that ends by itself. */
export const run = (args: ReadonlyArray<string>, options?: Program.RunOptions): Effect.Effect<Program.Ended> =>
  Program.run(process.execPath, [path, ...args], options)

/** A `sluice serve` that listens. */
export interface Cli {
  readonly pid: number
  /** Of the first listener. */
  readonly port: number
  /** Of all listeners, in the order in which it named them; 0 for a Unix socket. */
  readonly ports: ReadonlyArray<number>
  /** Everything so far. */
  readonly stdout: () => string
  readonly stderr: () => string
  /** Waits for a line on stderr that matches, and takes it: the next call finds another one. */
  readonly takeLine: (pattern: RegExp) => Effect.Effect<string>
  /** Sends a signal and doesn't wait. */
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  /** Waits for the end. Dies when a signal that the program does not handle ended it. */
  readonly exitCode: Effect.Effect<number>
  /** SIGTERM, and the exit code that follows. */
  readonly stop: Effect.Effect<number>
}

export interface ServeOptions {
  /** Flags of `serve`. Without a `--listen` among them it is a free port of 127.0.0.1. */
  readonly args?: ReadonlyArray<string>
  /** How many sockets it inherits; then no `--listen` is added. */
  readonly inherits?: number
  /** `SLUICE_DRAIN_TIMEOUT` is 0 unless set here, so that a scope closes without delay. */
  readonly env?: Program.RunOptions["env"]
  /** What runs instead of `node dist/cli.js`. */
  readonly program?: readonly [command: string, ...args: ReadonlyArray<string>]
}

/** What a process has written so far. */
const collect = Effect.fnUntraced(function*<E>(bytes: Stream.Stream<Uint8Array, E>) {
  const seen = yield* SubscriptionRef.make("")
  yield* bytes.pipe(
    Stream.decodeText(),
    Stream.runForEach((part) => SubscriptionRef.update(seen, (before) => before + part)),
    Effect.forkScoped
  )
  return seen
})

/** Waits for a text that has it. */
const awaitText = (seen: SubscriptionRef.SubscriptionRef<string>, has: (text: string) => boolean) =>
  SubscriptionRef.changes(seen).pipe(
    Stream.filter(has),
    Stream.runHead,
    Effect.timeoutOrElse({
      duration: "15 seconds",
      orElse: () => Effect.die(new Error(`what was waited for is not in: ${SubscriptionRef.getUnsafe(seen)}`))
    })
  )

const portsIn = (stdout: string): ReadonlyArray<number> =>
  [...stdout.matchAll(/^listening on (?:(?:socks[45]|tls|http):\/\/.*:(\d+)|unix:.*)\n/gm)].map((match) =>
    Number(match[1] ?? 0)
  )

/** Starts one for the scope, and waits until it listens. */
export const serve = (
  { args = [], env = {}, inherits, program = [process.execPath, path] }: ServeOptions = {}
) =>
  Effect.gen(function*() {
    const [command, ...before] = program
    const listens = inherits ?? args.filter((arg) => arg === "--listen").length
    const handle = yield* ChildProcess.make(
      command,
      [...before, "serve", ...listens === 0 ? ["--listen", "127.0.0.1:0"] : [], ...args],
      {
        ...Program.environment({ SLUICE_DRAIN_TIMEOUT: "0", ...env }),
        stdin: "ignore",
        forceKillAfter: "3 seconds"
      }
    )
    const stdout = yield* collect(handle.stdout)
    const stderr = yield* collect(handle.stderr)
    yield* Effect.raceFirst(
      awaitText(stdout, (text) => portsIn(text).length >= Math.max(1, listens)),
      Effect.flatMap(
        handle.exitCode,
        (code) => Effect.die(new Error(`serve ended with ${code}: ${SubscriptionRef.getUnsafe(stderr)}`))
      )
    )

    const taken = new Set<number>()
    const exitCode = Effect.map(Effect.orDie(handle.exitCode), Number)
    const signal = (name: NodeJS.Signals) => Effect.sync(() => void process.kill(handle.pid, name))
    const ports = portsIn(SubscriptionRef.getUnsafe(stdout))
    const cli: Cli = {
      pid: handle.pid,
      port: ports[0] ?? 0,
      ports,
      stdout: () => SubscriptionRef.getUnsafe(stdout),
      stderr: () => SubscriptionRef.getUnsafe(stderr),
      takeLine: Effect.fnUntraced(function*(pattern) {
        let found = ""
        yield* awaitText(stderr, (text) => {
          // The last one is not complete yet.
          const lines = text.split("\n").slice(0, -1)
          const index = lines.findIndex((line, at) => !taken.has(at) && pattern.test(line))
          if (index < 0) return false
          taken.add(index)
          found = lines[index] ?? ""
          return true
        })
        return found
      }),
      signal,
      exitCode,
      stop: Effect.andThen(signal("SIGTERM"), exitCode)
    }
    return cli
  }).pipe(Effect.provide(NodeServices.layer), Effect.orDie)
