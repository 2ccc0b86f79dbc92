/** The kinds of work in the order they run, and what each may cost. */
import { beside, bulk } from "./Bulk.ts"
import { idle } from "./Idle.ts"
import { concurrency, type Load } from "./Load.ts"
import { pace, pacedRate, saturatedRate } from "./Rate.ts"
import { roundTrips } from "./RoundTrips.ts"
import { datagrams } from "./Udp.ts"

/** The loads in the order they run; `connections` is the number that `idle` opens. */
export const all = (connections: number): ReadonlyArray<Load> => [
  { group: "bulk", title: "CPU-s per GB, 1 stream", digits: 2, target: 0.6, samples: 2, run: bulk(1) },
  { group: "bulk", title: "CPU-s per GB, 32 streams", digits: 2, target: 0.6, samples: 2, run: bulk(32) },
  {
    group: "fair",
    title: "ms p99 of a 64-byte round trip beside 50 streams",
    digits: 0,
    target: 5,
    samples: 1,
    run: beside(50)
  },
  {
    group: "rate",
    title: `CPU-µs per connection, ${pace} a second`,
    digits: 0,
    target: 1.35,
    samples: 1,
    run: pacedRate
  },
  {
    group: "rate",
    title: `CPU-µs per connection, ${concurrency} at a time without a pause`,
    digits: 0,
    target: 1.35,
    samples: 1,
    run: saturatedRate
  },
  { group: "rr", title: "CPU-µs per 64-byte round trip", digits: 1, target: 1.2, samples: 1, run: roundTrips },
  {
    group: "idle",
    title: `KiB PSS per idle connection, of ${connections}`,
    digits: 1,
    target: 1.25,
    samples: 1,
    run: idle(connections)
  }
]

/** What the baseline, and many another proxy, can't do: run only where it is asked for. */
export const udp: ReadonlyArray<Load> = [64, 512, 1400].map((size) => ({
  group: "udp",
  title: `CPU-µs per datagram of ${size} bytes`,
  digits: 1,
  target: Infinity,
  samples: 1,
  alone: true,
  run: datagrams(size)
}))
