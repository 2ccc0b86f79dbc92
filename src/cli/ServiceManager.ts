/**
 * What systemd is told of the program (sd_notify(3)), where it asks to be.
 *
 * It listens on a Unix socket of datagrams, which Node has not. So each word is sent by `systemd-notify`, a program that is
 * there wherever systemd is, and that waits until the word has been taken. It speaks in the name of its parent as root;
 * of other users, systemd takes its word with `NotifyAccess=all`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import { execFile } from "node:child_process"

export interface ServiceManager {
  /** Listening, or listening again. The first time, the watchdog is fed from then on. */
  readonly ready: Effect.Effect<void>
  /** The workers are about to be replaced. */
  readonly reloading: Effect.Effect<void>
  /** No more clients. Waits until that has been told. */
  readonly stopping: Effect.Effect<void>
}

/** How long one word may take. */
const patience = Duration.seconds(5)

/** Says it, whatever becomes of us meanwhile; succeeds with why that failed. */
const send = (words: ReadonlyArray<string>, env: NodeJS.ProcessEnv): Effect.Effect<string | undefined> =>
  Effect.callback((resume) => {
    execFile("systemd-notify", words, { env, timeout: Duration.toMillis(patience) }, (error, _stdout, stderr) => {
      if (error === null) return resume(Effect.succeed(undefined))
      const missing = "code" in error && error.code === "ENOENT"
      resume(
        Effect.succeed(missing ? "systemd-notify is not installed" : stderr.trim().split("\n")[0] || error.message)
      )
    })
  })

const silent: ServiceManager = { ready: Effect.void, reloading: Effect.void, stopping: Effect.void }

/** Milliseconds between two signs of life: half of what the watchdog waits for. `undefined` when it waits for none. */
const watchdogInterval = ({ WATCHDOG_PID: pid, WATCHDOG_USEC: micros }: NodeJS.ProcessEnv): number | undefined => {
  if (micros === undefined || !/^[1-9]\d*$/.test(micros)) return undefined
  return pid === undefined || pid === String(process.pid) ? Math.max(1, Number(micros) / 2000) : undefined
}

/**
 * For the scope's time. The variables that tell of the service manager are taken out of `environment`: what they are for
 * is not our children's business.
 */
export const make = Effect.fnUntraced(function*(environment: NodeJS.ProcessEnv = process.env) {
  const own = { ...environment }
  delete environment.NOTIFY_SOCKET
  delete environment.WATCHDOG_PID
  delete environment.WATCHDOG_USEC
  if (own.NOTIFY_SOCKET === undefined || own.NOTIFY_SOCKET === "") return silent

  const scope = yield* Effect.scope
  // One after the other, in the order in which they were said.
  const turn = yield* Semaphore.make(1)
  let complained = false
  const tell = (...words: ReadonlyArray<string>): Effect.Effect<void> =>
    Effect.flatMap(turn.withPermits(1)(send(words, own)), (reason) => {
      if (reason === undefined || complained) return Effect.void
      complained = true
      return Effect.annotateLogs(Effect.logWarning("systemd can't be told how the program is"), { reason })
    })

  const interval = watchdogInterval(own)
  let fed = interval === undefined
  const feed = Effect.suspend(() => {
    if (fed) return Effect.void
    fed = true
    return Effect.asVoid(
      Effect.forkIn(Effect.repeat(tell("WATCHDOG=1"), Schedule.fixed(interval ?? Duration.infinity)), scope)
    )
  })
  const manager: ServiceManager = {
    ready: Effect.andThen(Effect.forkIn(tell("READY=1"), scope), feed),
    // Node's clock is the system's CLOCK_MONOTONIC, in nanoseconds.
    reloading: Effect.suspend(() =>
      Effect.asVoid(Effect.forkIn(tell("RELOADING=1", `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`), scope))
    ),
    stopping: tell("STOPPING=1")
  }
  return manager
})
