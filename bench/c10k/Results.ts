/**
 * What a run leaves behind: `docs/c10k.json` holds the last ladder and the last peer table.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import type * as Contenders from "./Contenders.ts"

/** One contender at one number of open connections. */
export interface Level {
  readonly asked: number
  /** Connections that were established and on which a byte went there and back. */
  readonly open: number
  /** Of those, how many then answered a message of 64 bytes. */
  readonly echoed: number
  /** CPU-µs for each round trip. */
  readonly cpu: number
  /** Round trips a second, of 2,000 that were asked for. */
  readonly rate: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** KiB of PSS for each connection. */
  readonly memory: number
  /** KiB that the machine's kernel took for each connection, client's and target's sockets included. */
  readonly kernel: number
  /** Cores that neither the contender nor the load used. */
  readonly others: number
  readonly errors: Readonly<Record<string, number>>
}

/** What happened where no more connections could be had. */
export interface Limit {
  readonly held: number
  /** For each connection that it held. */
  readonly descriptors: number
  /** Cores that it used while nothing was asked of it. */
  readonly idleCores: number
  /** Of 50 connections, after 100 had left, how many were established. */
  readonly servesAgain: number
}

export interface Climb {
  readonly name: string
  readonly group: Contenders.Contender["group"]
  readonly levels: ReadonlyArray<Level>
  readonly limit?: Limit
  /** Why it was given up. */
  readonly failed?: string
}

export interface PeerRow {
  readonly title: string
  readonly digits: number
  /** By contender, in the order of {@link Peers.names}: each sample's cost, `null` for one that failed. */
  readonly samples: ReadonlyArray<ReadonlyArray<number | null>>
  /** Units of work a second, of each sample, where none is given a pace. */
  readonly rates?: ReadonlyArray<ReadonlyArray<number | null>>
  /** What went wrong, by contender. */
  readonly errors: ReadonlyArray<Readonly<Record<string, number>>>
}

export interface Machine {
  readonly kind: string
  readonly kernel: string
  readonly node: string
  readonly descriptors: number
  readonly date: string
}

interface Run {
  readonly machine: Machine
  readonly command: string
  readonly absent: ReadonlyArray<Contenders.Absent>
}

export interface Ladder extends Run {
  readonly climbs: ReadonlyArray<Climb>
}

export interface Peers extends Run {
  readonly runs: number
  readonly names: ReadonlyArray<string>
  readonly rows: ReadonlyArray<PeerRow>
}

export interface Results {
  readonly ladder?: Ladder
  readonly peers?: Peers
  readonly udp?: Peers
}

export const machine = (): Machine => ({
  kind: `${Os.cpus().length} × ${Os.cpus()[0]?.model.trim() ?? "?"}, ${Math.round(Os.totalmem() / 2 ** 30)} GiB`,
  kernel: `${Os.type()} ${Os.release()}`,
  node: process.version,
  descriptors: Number(ChildProcess.execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" })),
  date: new Date().toISOString().slice(0, 10)
})

/** The file's content; nothing when there is none, or it isn't a file. */
export const read = (path: string): Results => {
  const there = Fs.statSync(path, { throwIfNoEntry: false })
  if (there?.isFile() !== true || there.size === 0) return {}
  // Written by `write` alone.
  return JSON.parse(Fs.readFileSync(path, "utf8")) as Results
}

/** Why results can't be written to a file, in a line; `undefined` when they can. Leaves nothing behind. */
export const obstacle = (path: string): string | undefined => {
  try {
    const there = Fs.statSync(path, { throwIfNoEntry: false })
    // A device or a pipe: opening it could take for ever.
    if (there !== undefined && !there.isFile() && !there.isDirectory()) return undefined
    Fs.closeSync(Fs.openSync(path, there === undefined ? "wx" : "a"))
    if (there === undefined) Fs.unlinkSync(path)
    else read(path)
    return undefined
  } catch (error) {
    if (error instanceof SyntaxError) return "has something else than JSON in it; choose another"
    return `can't be written; choose another (${error instanceof Error ? error.message : String(error)})`
  }
}

const rounded = (_: string, value: unknown): unknown => typeof value === "number" ? Number(value.toFixed(4)) : value

/** Replaces what `results` has and leaves the rest of the file as it is. */
export const write = (path: string, results: Results): void => {
  Fs.writeFileSync(path, `${JSON.stringify({ ...read(path), ...results }, rounded, 2)}\n`)
}

/** `NaN` of nothing. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
