/** What Linux's /proc says beyond what `sluice bench` reads from it: of the machine, and whether a process is the same. */
import * as Proc from "../src/bench/Proc.ts"

export { cpuSeconds, list, read, tree } from "../src/bench/Proc.ts"

/** Ticks a second of the times in /proc; 100 on every Linux that Node runs on. */
const ticks = 100

/** A process, told apart from a later one of the same id by when it started. */
export interface Id {
  readonly pid: number
  readonly started: string | undefined
}

const identify = (pid: number): Id => ({ pid, started: Proc.stat(pid)[19] })

/** `pid` and its descendants. */
export const family = (pid: number): ReadonlyArray<Id> => Proc.tree(pid).map(identify)

/** Whether it is still the process that {@link family} found. */
export const runs = (id: Id): boolean => id.started !== undefined && identify(id.pid).started === id.started

/** Proportional set size of `pid` and its descendants, in KiB. */
export const pss = (pid: number): number => Proc.pssKiB(pid) ?? 0

/** Seconds in which the machine's cores were not idle, time stolen by the hypervisor included. */
export const busy = (): number => {
  const [, user, nice, system, , , irq, softirq, steal] = Proc.read("/proc/stat").split(/\s+/).map(Number)
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0) + (steal ?? 0)) / ticks
}

/** Whether this machine has what the bench reads. */
export const available = (): boolean => pss(process.pid) > 0
