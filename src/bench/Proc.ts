/** What Linux's /proc says of a process and its descendants: `proc(5)`. */
import * as Fs from "node:fs"

/** Ticks a second of the times in /proc; 100 on every Linux that Node runs on. */
const ticks = 100

/** The text of a file; empty when the process has ended, or belongs to somebody else. */
export const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "latin1")
  } catch {
    return ""
  }
}

/** The names in a directory; none when the process has ended, or belongs to somebody else. */
export const list = (path: string): ReadonlyArray<string> => {
  try {
    return Fs.readdirSync(path)
  } catch {
    return []
  }
}

/** The fields of /proc/PID/stat from the third (the state) on: what stands before may contain spaces. */
export const stat = (pid: number): ReadonlyArray<string> => {
  const text = read(`/proc/${pid}/stat`)
  return text === "" ? [] : text.slice(text.lastIndexOf(")") + 2).split(" ")
}

/** When a process was started, in ticks since the boot: no other of its number has the same. `undefined` once it ended. */
export const startedAt = (pid: number): string | undefined => {
  const fields = stat(pid)
  // One that its parent has not noticed the end of is a zombie.
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19]
}

/** `pid` and its descendants; empty when it doesn't run. */
export const tree = (pid: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  const todo = [pid]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    if (stat(next).length === 0) continue
    found.push(next)
    for (const thread of list(`/proc/${next}/task`)) {
      const children = read(`/proc/${next}/task/${thread}/children`).trim()
      if (children !== "") todo.push(...children.split(" ").map(Number))
    }
  }
  return found
}

/** Seconds of user and system time of `pid`, its descendants, and those of them that have ended. */
export const cpuSeconds = (pid: number): number => {
  let sum = 0
  for (const member of tree(pid)) {
    for (const field of stat(member).slice(11, 15)) sum += Number(field)
  }
  return sum / ticks
}

/** Proportional set size of `pid` and its descendants, in KiB; `undefined` when none may be read. */
export const pssKiB = (pid: number): number | undefined => {
  let sum: number | undefined
  for (const member of tree(pid)) {
    const kib = /^Pss:\s+(\d+)/m.exec(read(`/proc/${member}/smaps_rollup`))?.[1]
    if (kib !== undefined) sum = (sum ?? 0) + Number(kib)
  }
  return sum
}

/** The soft limit of open files of a process; infinite where it can't be read. */
export const openFilesLimit = (pid: number | "self"): number =>
  Number(/^Max open files\s+(\d+)/m.exec(read(`/proc/${pid}/limits`))?.[1] ?? Number.POSITIVE_INFINITY)
