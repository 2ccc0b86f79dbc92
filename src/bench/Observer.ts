/** Watches a run from outside: how far the generators are, and the memory of the proxy, a few times a second. */
import * as Effect from "effect/Effect"
import type { Stats } from "./Message.ts"
import * as Proc from "./Proc.ts"
import type { Moment } from "./Report.ts"

export type Phase = "warming up" | "opening" | "measuring" | "ending"

/** What is shown while a run goes on. */
export interface Status extends Moment {
  readonly phase: Phase
  /** Work a second since the last look; of `bulk`, bytes. */
  readonly perSecond: number
}

export interface Observer {
  /** What was seen so far, in order. */
  readonly moments: Array<Moment>
  /** Looks once more, now. */
  readonly look: Effect.Effect<Moment>
  readonly enter: (phase: Phase) => void
}

/** Reading the memory map of a large process holds it up: that may take this part of the time at most. */
const share = 1 / 5

interface Options {
  readonly stats: () => ReadonlyArray<Stats>
  readonly pid: number | undefined
  /** Milliseconds between two looks, at least. */
  readonly interval: number
  readonly show: (status: Status) => Effect.Effect<void>
}

// Monotonic, as Effect's clock is not.
const now = Effect.sync(() => performance.now())

const sum = (all: ReadonlyArray<Stats>, key: keyof Stats): number => all.reduce((sum, one) => sum + one[key], 0)

/** Looks on until the scope closes. */
export const make = Effect.fnUntraced(function*({ interval, pid, show, stats }: Options) {
  const started = yield* now
  const moments: Array<Moment> = []
  let phase: Phase = "opening"

  const look = Effect.gen(function*() {
    const seconds = ((yield* now) - started) / 1_000
    const pssKiB = pid === undefined ? undefined : Proc.pssKiB(pid)
    const all = stats()
    const moment: Moment = {
      seconds,
      open: sum(all, "open"),
      units: sum(all, "units"),
      bytes: sum(all, "bytes"),
      errors: sum(all, "failures"),
      ...pssKiB !== undefined && { pssKiB }
    }
    const last = moments.at(-1)
    moments.push(moment)
    const passed = seconds - (last?.seconds ?? 0)
    const done = moment.units + moment.bytes - (last === undefined ? 0 : last.units + last.bytes)
    yield* show({ ...moment, phase, perSecond: passed > 0 ? done / passed : 0 })
    return moment
  })

  yield* Effect.gen(function*() {
    const before = yield* now
    yield* look
    const took = (yield* now) - before
    yield* Effect.sleep(Math.max(interval, took / share))
  }).pipe(Effect.forever, Effect.forkScoped)

  const observer: Observer = {
    moments,
    look,
    enter: (next) => {
      phase = next
    }
  }
  return observer
})
