/** What Linux knows of a process: `proc(5)`, and `ss` for its sockets. */
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync } from "node:fs"
import * as Program from "./Program.ts"

/** How many descriptors it has open. */
export const descriptors = (pid: number) => Effect.sync(() => readdirSync(`/proc/${pid}/fd`).length)

/** Processor time that it has used so far, in seconds. */
export const processorSeconds = (pid: number) =>
  Effect.sync(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
    // The second field is a name that may hold spaces; the clock's ticks are 100 a second on all Linux systems.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return (Number(fields[11]) + Number(fields[12])) / 100
  })

/** Its resident memory, in bytes. */
export const residentMemory = (pid: number) =>
  Effect.sync(() => {
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
    return Number(kibibytes) * 1024
  })

const allSockets = Effect.fnUntraced(function*(pid: number, flags = "-tanopH") {
  const { code, stderr, stdout } = yield* Program.run("ss", [flags])
  if (code !== 0) return yield* Effect.die(new Error(`ss ended with ${code}: ${stderr}`))
  return stdout.split("\n").filter((line) => line.includes(`,pid=${pid},`))
})

/** A line of `ss -tano` for each of its TCP sockets that is not listening. */
export const sockets = (pid: number) =>
  Effect.map(allSockets(pid), (lines) => lines.filter((line) => !line.startsWith("LISTEN")))

/** The processes that it has started, and that are still there. */
export const children = (pid: number): ReadonlyArray<number> =>
  readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter((child) => child !== "").map(Number)
  )

/** How many TCP sockets it listens on. */
export const listeners = (pid: number) =>
  Effect.map(allSockets(pid), (lines) => lines.filter((line) => line.startsWith("LISTEN")).length)

/** What one TCP connection has moved, in bytes. */
export interface Traffic {
  readonly local: number
  readonly peer: number
  /** Received, and read by the process. */
  readonly read: number
  /** Given to the kernel to send. */
  readonly written: number
}

/** Of its connections, by the kernel's own count. */
export const traffic = (pid: number) =>
  Effect.map(allSockets(pid, "-tnipHO"), (lines) =>
    lines.map((line): Traffic => {
      const [, receiveQueue, sendQueue, local = "", peer = ""] = line.split(/\s+/)
      const counter = (name: string) => Number(new RegExp(` ${name}:(\\d+)`).exec(line)?.[1] ?? 0)
      return {
        local: Number(local.split(":").at(-1)),
        peer: Number(peer.split(":").at(-1)),
        read: counter("bytes_received") - Number(receiveQueue),
        written: counter("bytes_acked") + Number(sendQueue)
      }
    }))
