/** SIGTERM and SIGINT: the first asks, the second insists. SIGHUP and SIGUSR1 change nothing, but would without us. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Queue from "effect/Queue"
import * as os from "node:os"

// A hangup ends what runs in a terminal. Without one, it is how daemons are asked to read their configuration again.
const signals = process.stdin.isTTY ? ["SIGTERM", "SIGINT", "SIGHUP"] as const : ["SIGTERM", "SIGINT"] as const

export type Termination = typeof signals[number]

/** Installs listeners for the scope. */
const listen = <Name extends NodeJS.Signals>(names: ReadonlyArray<Name>, listener: (signal: Name) => void) => {
  // `process.on` types its listener for all signals, and calls it with the one that it is for.
  const each = (signal: NodeJS.Signals) => listener(signal as Name)
  return Effect.acquireRelease(
    Effect.sync(() => names.forEach((name) => process.on(name, each))),
    () => Effect.sync(() => names.forEach((name) => process.off(name, each)))
  )
}

/** `timeout` tells its child, and then the whole group, the child among it: what comes so soon is no second signal. */
const repeatMillis = 50

/**
 * From here until the scope closes, the first signal completes the effect that
 * is returned, and a second one ends the process at once with 128 + its number.
 */
export const termination = Effect.gen(function*() {
  const first = yield* Deferred.make<Termination>()
  let asked: { readonly signal: Termination; readonly at: number } | undefined
  const onSignal = (signal: Termination) => {
    const now = performance.now()
    if (Deferred.doneUnsafe(first, Effect.succeed(signal))) asked = { signal, at: now }
    else if (signal !== asked?.signal || now - asked.at > repeatMillis) process.exit(128 + os.constants.signals[signal])
  }
  yield* listen(signals, onSignal)
  return Deferred.await(first)
})

const ignore = Effect.fnUntraced(function*(names: ReadonlyArray<NodeJS.Signals>) {
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  yield* listen(names, (signal) => {
    fork(
      Effect.logInfo("signal ignored: there is nothing to reload; restart to change settings").pipe(
        Effect.annotateLogs({ signal })
      )
    )
  })
})

/**
 * From here until the scope closes, two signals are logged and ignored: SIGHUP, which would end the process, and
 * SIGUSR1, with which Node opens its debugger on a port of loopback, where clients of the proxy may reach it.
 */
export const ignored = ignore(process.stdin.isTTY ? ["SIGUSR1"] : ["SIGHUP", "SIGUSR1"])

/**
 * From here until the scope closes, the effect that is returned waits for a SIGHUP, where that does not end the
 * process; one or more that came while nobody waited are taken for one. SIGUSR1 is ignored.
 */
export const hangup = Effect.gen(function*() {
  const queue = yield* Queue.dropping<NodeJS.Signals>(1)
  yield* listen(process.stdin.isTTY ? [] : ["SIGHUP"], (signal) => Queue.offerUnsafe(queue, signal))
  yield* ignore(["SIGUSR1"])
  return Effect.asVoid(Queue.take(queue))
})

/**
 * From here until the scope closes, no signal means anything: terminals and service managers tell all processes of a
 * group, and what they are to do the one that supervises them decides.
 */
export const unheeded = listen(["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"], constVoid)
