/**
 * Processor time in nanoseconds: what /proc/PID/stat counts in ticks of 10 ms is too coarse for a round trip's price.
 */
import * as Proc from "../Proc.ts"

/** Of the threads that `pid` and its descendants have now; those that have ended count no more. */
export const nanoseconds = (pid: number): number => {
  let sum = 0
  for (const member of Proc.tree(pid)) {
    for (const thread of Proc.list(`/proc/${member}/task`)) {
      sum += Number(Proc.read(`/proc/${member}/task/${thread}/schedstat`).split(" ")[0])
    }
  }
  return sum
}

/** Descriptors that `pid` and its descendants have open. */
export const descriptors = (pid: number): number => {
  let sum = 0
  for (const member of Proc.tree(pid)) sum += Proc.list(`/proc/${member}/fd`).length
  return sum
}

/** KiB that the whole machine's kernel uses for its objects (sockets among them), thread stacks and page tables. */
export const kernelMemory = (): number => {
  let sum = 0
  for (const [, kibibytes] of Proc.read("/proc/meminfo").matchAll(/^(?:Slab|KernelStack|PageTables):\s+(\d+) kB$/gm)) {
    sum += Number(kibibytes)
  }
  return sum
}
