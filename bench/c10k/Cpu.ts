/**
 * Processor time in nanoseconds: what /proc/PID/stat counts in ticks of 10 ms is too coarse for a round trip's price.
 */
import * as Fs from "node:fs"
import * as Proc from "../Proc.ts"

const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "latin1")
  } catch {
    // The thread has ended since it was listed.
    return ""
  }
}

const threads = (pid: number): ReadonlyArray<string> => {
  try {
    return Fs.readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** Of the threads that `pid` and its descendants have now; those that have ended count no more. */
export const nanoseconds = (pid: number): number => {
  let sum = 0
  for (const process of Proc.tree(pid)) {
    for (const thread of threads(process.pid)) {
      sum += Number(read(`/proc/${process.pid}/task/${thread}/schedstat`).split(" ")[0])
    }
  }
  return sum
}

/** Descriptors that `pid` and its descendants have open. */
export const descriptors = (pid: number): number => {
  let sum = 0
  for (const process of Proc.tree(pid)) {
    try {
      sum += Fs.readdirSync(`/proc/${process.pid}/fd`).length
    } catch {
      // It has ended since it was listed.
    }
  }
  return sum
}

/** KiB that the whole machine's kernel uses for its objects (sockets among them), thread stacks and page tables. */
export const kernelMemory = (): number => {
  let sum = 0
  for (const [, kibibytes] of read("/proc/meminfo").matchAll(/^(?:Slab|KernelStack|PageTables):\s+(\d+) kB$/gm)) {
    sum += Number(kibibytes)
  }
  return sum
}
