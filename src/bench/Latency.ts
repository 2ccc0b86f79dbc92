/** Times of one kind, in a histogram that is exact to three digits from a microsecond on. */
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from "hdr-histogram-js"

/** A percentile (0 to 100) and its time in milliseconds. */
export interface Percentile {
  readonly percentile: number
  readonly ms: number
}

/** What a table names. */
export const named = [50, 90, 99, 99.9] as const

/** Enough for a curve, which is drawn over the logarithm of what lies above. */
// dprint-ignore
const drawn = [
  0, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.25, 99.5, 99.75, 99.9, 99.95, 99.975,
  99.99, 99.995, 99.999
]

export class Latency {
  readonly #histogram: Histogram

  constructor(histogram: Histogram = build({ useWebAssembly: false, numberOfSignificantValueDigits: 3 })) {
    this.#histogram = histogram
  }

  /** Notes a time in milliseconds. */
  record(ms: number): void {
    this.#histogram.recordValue(Math.max(1, Math.round(ms * 1_000)))
  }

  reset(): void {
    this.#histogram.reset()
  }

  get count(): number {
    return this.#histogram.totalCount
  }

  get meanMs(): number {
    return this.#histogram.mean / 1_000
  }

  get maxMs(): number {
    return this.#histogram.maxValue / 1_000
  }

  /** The named ones, and those of the curve below which at least one time lies. */
  percentiles(): ReadonlyArray<Percentile> {
    const told = drawn.filter((percentile) =>
      named.some((name) => name === percentile) || (1 - percentile / 100) * this.count >= 1
    )
    return told.map((percentile) => ({ percentile, ms: this.#histogram.getValueAtPercentile(percentile) / 1_000 }))
  }

  encode(): string {
    return encodeIntoCompressedBase64(this.#histogram)
  }

  /** All times of several, as {@link encode} gave them. */
  static merge(encoded: ReadonlyArray<string>): Latency {
    const all = build({ useWebAssembly: false, numberOfSignificantValueDigits: 3 })
    for (const one of encoded) all.add(decodeFromCompressedBase64(one, 32, false))
    return new Latency(all)
  }
}
