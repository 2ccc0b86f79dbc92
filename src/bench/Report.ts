/** What a run gave, as `--json` prints it and the table and the page are made from. */
import * as Schema from "effect/Schema"
import { modes } from "./Load.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** Times of one kind, in milliseconds. */
export const Latency = Schema.Struct({
  /** `setup`: from connecting to the proxy's yes; `echo`: there and back; `first bytes`: of a download. */
  name: Schema.Literals(["setup", "echo", "first bytes"]),
  count: Count,
  meanMs: Schema.Finite,
  maxMs: Schema.Finite,
  percentiles: Schema.Array(Schema.Struct({ percentile: Schema.Finite, ms: Schema.Finite }))
})
export type Latency = typeof Latency.Type

/** What was seen at one moment. Numbers count up from the start of the run's first connection. */
export const Moment = Schema.Struct({
  seconds: Schema.Finite,
  /** Connections open now. */
  open: Count,
  units: Count,
  bytes: Count,
  errors: Count,
  /** Proportional set size of the proxy's processes. */
  pssKiB: Schema.optionalKey(Schema.Finite)
})
export type Moment = typeof Moment.Type

/** What the processes of `--pid` took. */
export const Cost = Schema.Struct({
  pid: Schema.Int,
  /** The process and its descendants, at the end; 0 when it ended before the run did: then it has no price. */
  processes: Count,
  /** In the measured window. */
  cpuSeconds: Schema.optionalKey(Schema.Finite),
  /** Cores that were busy in it, on average. */
  cores: Schema.optionalKey(Schema.Finite),
  /** CPU of one unit of work: µs, or seconds for a GB. Absent when no work was done. */
  cpuPerUnit: Schema.optionalKey(Schema.Finite),
  /** Proportional set size before the first connection, and the highest that was seen. Absent when it may not be read. */
  pssBeforeKiB: Schema.optionalKey(Schema.Finite),
  pssPeakKiB: Schema.optionalKey(Schema.Finite),
  /** What each connection held added, by the lowest reading; of few connections it may be noise, and negative. Only of `idle`. */
  pssPerConnectionKiB: Schema.optionalKey(Schema.Finite)
})
export type Cost = typeof Cost.Type

export const Report = Schema.Struct({
  /** Without a password. */
  proxy: Schema.String,
  mode: Schema.Literals(modes),
  /** Asked for. */
  connections: Count,
  /** Opened over the whole run, warm-up included. */
  opened: Count,
  /** Of the work, where a rate was asked for. */
  askedPerSecond: Schema.optionalKey(Schema.Finite),
  /** The measured window: of `idle` from the first connection to the last, else from after the warm-up on. */
  seconds: Schema.Finite,
  /** Whether a signal ended the run before its time. */
  endedEarly: Schema.Boolean,
  /** Work done in the window: visits, round trips, connections held; of `bulk`, bytes. */
  work: Count,
  workPerSecond: Schema.Finite,
  /** Whether what came back was compared with what was sent. */
  contentsChecked: Schema.Boolean,
  /** How often each kind came, in the whole run. */
  errors: Schema.Record(Schema.String, Count),
  latency: Schema.Array(Latency),
  cost: Schema.optionalKey(Cost),
  generators: Schema.Struct({
    processes: Count,
    /** Cores that the busiest was busy with: near 1, it was the load that was slow, not the proxy. */
    busiestCores: Schema.Finite
  }),
  /** Where it ran. */
  machine: Schema.String,
  timeline: Schema.Array(Moment)
})
export type Report = typeof Report.Type

export const toJson = Schema.encodeEffect(Schema.fromJsonString(Report))
