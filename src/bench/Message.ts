/** What the bench and the processes that it starts say to each other. Each is of our own making on both ends. */
import type * as Failure from "./Failure.ts"
import type { Job } from "./Load.ts"
import type { ProxyUrl } from "./ProxyUrl.ts"
import type { Ports } from "./Target.ts"

/** A proxy as it survives JSON. The password stands in the clear: a pipe between parent and child carries it. */
export interface Proxy {
  readonly protocol: ProxyUrl["protocol"]
  /** An address, looked up already. */
  readonly host: string
  readonly port: number
  readonly spread: boolean
  readonly user?: string
  readonly password?: string
}

/** To a process: a target serves until it ends; a generator is told `Load`, `Go`, `Mark`, `Stop`, maybe again. */
export type Order =
  | { readonly _tag: "Serve" }
  | {
    readonly _tag: "Load"
    readonly job: Job
    readonly proxy: Proxy
    /** One `HOST:PORT` at least, taken in turn. */
    readonly targets: ReadonlyArray<string>
  }
  | { readonly _tag: "Go" }
  | { readonly _tag: "Mark" }
  | { readonly _tag: "Stop" }

/** How far a generator has come. */
export interface Stats {
  readonly open: number
  readonly opened: number
  readonly units: number
  readonly bytes: number
  readonly failures: number
}

/** What a generator did. */
export interface Outcome {
  /** Since `Mark`, or since `Load` when there was none. */
  readonly units: number
  readonly bytes: number
  /** CPU seconds of the generator itself. */
  readonly cpuSeconds: number
  /** Since `Load`. */
  readonly opened: number
  readonly errors: Failure.Counts
  /** Histograms, as `Latency` encodes them. */
  readonly setup: string
  readonly echo: string
}

/** From a process. */
export type Answer =
  | { readonly _tag: "Serving"; readonly ports: Ports }
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Marked" }
  | { readonly _tag: "Stats"; readonly stats: Stats }
  | { readonly _tag: "Done"; readonly outcome: Outcome }
