/**
 * What Linux's /proc says of processes: CPU time and memory, of a process with all its descendants.
 */
import * as Fs from "node:fs"

/** Ticks a second of the times in /proc; 100 on every Linux that Node runs on. */
const ticks = 100

/** A process, told apart from a later one of the same id by when it started. */
export interface Id {
  readonly pid: number
  readonly started: string
}

const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "latin1")
  } catch {
    // Ended between being listed and being read.
    return ""
  }
}

/** The fields of /proc/PID/stat from the third (the state) on: what stands before may contain spaces. */
const stat = (pid: number): ReadonlyArray<string> => {
  const text = read(`/proc/${pid}/stat`)
  return text === "" ? [] : text.slice(text.lastIndexOf(")") + 2).split(" ")
}

/** `pid` and its descendants. */
export const tree = (pid: number): Array<Id> => {
  const found: Array<Id> = []
  const todo = [pid]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const started = stat(next)[19]
    if (started === undefined) continue
    found.push({ pid: next, started })
    for (const thread of Fs.readdirSync(`/proc/${next}/task`)) {
      const children = read(`/proc/${next}/task/${thread}/children`).trim()
      if (children !== "") todo.push(...children.split(" ").map(Number))
    }
  }
  return found
}

/** Whether it is still the process that {@link tree} found. */
export const runs = (id: Id): boolean => stat(id.pid)[19] === id.started

/** Seconds of user and system time of `pid`, its descendants, and those of them that have ended. */
export const cpu = (pid: number): number => {
  let sum = 0
  for (const { pid: member } of tree(pid)) {
    for (const field of stat(member).slice(11, 15)) sum += Number(field)
  }
  return sum / ticks
}

/** Proportional set size of `pid` and its descendants, in KiB. */
export const pss = (pid: number): number => {
  let sum = 0
  for (const { pid: member } of tree(pid)) {
    const line = /^Pss:\s+(\d+)/m.exec(read(`/proc/${member}/smaps_rollup`))
    sum += Number(line?.[1] ?? 0)
  }
  return sum
}

/** Seconds in which the machine's cores were not idle, time stolen by the hypervisor included. */
export const busy = (): number => {
  const [, user, nice, system, , , irq, softirq, steal] = read("/proc/stat").split(/\s+/).map(Number)
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0) + (steal ?? 0)) / ticks
}

/** Whether this machine has what the functions above read. */
export const available = (): boolean => pss(process.pid) > 0
