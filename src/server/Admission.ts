/**
 * Who gets in: clients beyond `maxConnections`, or for whom there is no descriptor, are turned away, counted, and
 * mentioned in the log from time to time.
 *
 * The limit of descriptors has to be kept here. At that limit libuv accepts and closes clients by itself and tells
 * nobody; and those who are being served would find no descriptor for their targets.
 */
import type { Accept } from "../transport/Transport.ts"
import { lastForClients } from "./OpenFiles.ts"

export interface Options {
  readonly maxConnections: () => number
  /** The limit of open files. */
  readonly openFiles: number
  /** How many are being served. */
  readonly running: () => number
  /** Milliseconds of the clock. */
  readonly now: () => number
  readonly warn: (message: string) => void
}

export interface Admission extends Pick<Accept, "admit" | "failed"> {
  /** How many clients were turned away. */
  readonly refused: () => number
}

/** Milliseconds between two lines in the log. */
const interval = 10_000

export const make = ({ maxConnections, now, openFiles, running, warn }: Options): Admission => {
  const last = lastForClients(openFiles)
  let refused = 0
  let quietUntil = -Infinity

  const warnSometimes = (problem: string) => {
    const time = now()
    if (time < quietUntil) return
    quietUntil = time + interval
    warn(problem)
  }

  const refuse = (problem: string): false => {
    refused++
    warnSometimes(`turned ${refused} ${refused === 1 ? "client" : "clients"} away so far: ${problem}`)
    return false
  }

  return {
    admit: (descriptor = 0) => {
      const most = maxConnections()
      if (running() >= most) return refuse(`${most} connections are open; see --max-connections`)
      if (descriptor <= last) return true
      return refuse(`${openFiles} open files are the limit; raise it (ulimit -n), or lower --max-connections`)
    },
    failed: (code) => warnSometimes(`can't accept clients: ${code}`),
    refused: () => refused
  }
}
