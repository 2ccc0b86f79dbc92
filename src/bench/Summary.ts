/** What the generators and /proc gave, made into the parts of a report. */
import * as Os from "node:os"
import { Latency } from "./Latency.ts"
import type { Outcome } from "./Message.ts"
import type { Plan } from "./Plan.ts"
import * as Proc from "./Proc.ts"
import type * as Report from "./Report.ts"

/** The times that were taken, each kind over all generators. */
export const latencies = (mode: Plan["mode"], outcomes: ReadonlyArray<Outcome>): ReadonlyArray<Report.Latency> => {
  const echo = mode === "bulk" ? "first bytes" : "echo"
  return ([["setup", "setup"], [echo, "echo"]] as const)
    .map(([name, key]) => ({ name, times: Latency.merge(outcomes.map((outcome) => outcome[key])) }))
    .filter(({ times }) => times.count > 0)
    .map(({ name, times }) => ({
      name,
      count: times.count,
      meanMs: times.meanMs,
      maxMs: times.maxMs,
      percentiles: times.percentiles()
    }))
}

/** The measured window: its ends by the clock, in milliseconds, and by the proxy's CPU, in seconds. */
export interface Window {
  readonly from: number
  readonly cpuFrom: number
  readonly to: number
  readonly cpuTo: number
}

export const secondsOf = ({ from, to }: Window): number => (to - from) / 1_000

/** What was seen of the proxy's processes: sizes are proportional set sizes in KiB. */
export interface Seen {
  /** Whether the process that was named has ended, and with it all that could be known of its CPU. */
  readonly isLost: boolean
  /** Without a reading, undefined, and the others infinite. */
  readonly before: number | undefined
  readonly peak: number
  /** The lowest while all connections were open. */
  readonly held: number
}

/** What the proxy's processes took for the work, if it is known which they are. */
export const cost = (
  { mode, pid }: Plan,
  window: Window,
  work: number,
  { before, held, isLost, peak }: Seen
): Report.Cost | undefined => {
  if (pid === undefined) return undefined
  const memory = before === undefined ? {} : { pssBeforeKiB: before, pssPeakKiB: Math.max(before, peak) }
  if (isLost) return { pid, processes: 0, ...memory }
  const seconds = secondsOf(window)
  const cpuSeconds = Math.max(0, window.cpuTo - window.cpuFrom)
  const perUnit = mode === "bulk" ? cpuSeconds / (work / 1e9) : cpuSeconds / work * 1e6
  return {
    pid,
    processes: Proc.tree(pid).length,
    cpuSeconds,
    cores: seconds > 0 ? cpuSeconds / seconds : 0,
    ...work > 0 && { cpuPerUnit: perUnit },
    ...memory,
    ...before !== undefined && mode === "idle" && work > 0 && Number.isFinite(held) &&
      { pssPerConnectionKiB: (held - before) / work }
  }
}

/** Where it ran. */
export const machine = (): string =>
  `Node ${process.version}, ${Os.availableParallelism()} × ${Os.cpus()[0]?.model.trim() ?? "?"}, ` +
  `${Os.type()} ${Os.release()}`
