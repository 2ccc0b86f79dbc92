/**
 * The garbage collector, set for a proxy: thousands of small objects live as long as a handshake takes, and die.
 *
 * V8 starts with a young generation of 1 MiB, and doubles it only as more survives. Until then objects are
 * promoted that would have died a moment later, and the collector runs again and again. It also collects with several
 * threads, which pays for large heaps, and here costs more than it does; and it takes cores that other workers need.
 * Together they cost 11 µs a connection of 170: scavenges took 335 ms of 20,000 connections, and take 116 (`--trace-gc`).
 */
import * as Effect from "effect/Effect"
import { PerformanceObserver } from "node:perf_hooks"
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8"

/** Bytes of the young generation, both halves, at which it stops to grow: what Node 20 has at most. */
const largest = 32 * 1024 * 1024

const youngSize = (): number =>
  getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")?.space_size ?? 0

/**
 * Node 22 and later let the young generation grow to 128 MiB: as much memory as 9,000 idle connections take, and pauses
 * to match. How far it may grow is fixed when a process starts; how fast it grows is not.
 */
const stopGrowing = (): void => {
  const observer = new PerformanceObserver(() => {
    if (youngSize() < largest) return
    setFlagsFromString("--semi-space-growth-factor=1")
    observer.disconnect()
  })
  observer.observe({ entryTypes: ["gc"] })
}

/** For the whole process. V8 looks at the flags each time that it collects, so they may be set while it runs. */
export const tune: Effect.Effect<void> = Effect.sync(() => {
  setFlagsFromString("--semi-space-growth-factor=16")
  setFlagsFromString("--no-parallel-scavenge")
  stopGrowing()
})
