/**
 * The garbage collector, set for a proxy: thousands of small objects live as long as a handshake takes, and die.
 *
 * V8 starts with a young generation of 1 MiB, and doubles it only as more survives. Until then objects are
 * promoted that would have died a moment later, and the collector runs again and again. It also collects with several
 * threads, which pays for large heaps, and here costs more than it does; and it takes cores that other workers need.
 * Together they cost 11 µs a connection of 170: scavenges took 335 ms of 20,000 connections, and take 116 (`--trace-gc`).
 */
import * as Effect from "effect/Effect"
import { setFlagsFromString } from "node:v8"

/** For the whole process. V8 looks at both flags each time that it collects, so they may be set while it runs. */
export const tune: Effect.Effect<void> = Effect.sync(() => {
  setFlagsFromString("--semi-space-growth-factor=16")
  setFlagsFromString("--no-parallel-scavenge")
})
