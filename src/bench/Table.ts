/** A report as text for a terminal. */
import * as Format from "./Format.ts"
import * as Latency from "./Latency.ts"
import type { Report } from "./Report.ts"

/** A line for each kind of time: name, count, mean, the named percentiles, maximum; the first line names them. */
export const latencyRows = ({ latency }: Report): ReadonlyArray<ReadonlyArray<string>> => [
  ["milliseconds", "count", "mean", ...Latency.named.map((percentile) => `p${percentile}`), "max"],
  ...latency.map(({ count, maxMs, meanMs, name, percentiles }) => [
    name,
    Format.count(count),
    Format.milliseconds(meanMs),
    ...Latency.named.map((wanted) =>
      Format.milliseconds(percentiles.find(({ percentile }) => percentile === wanted)?.ms ?? Number.NaN)
    ),
    Format.milliseconds(maxMs)
  ])
]

/** The whole report. */
export const render = (report: Report): string => {
  const facts = Format.lines(report).map(([name, value]) => `${name.padEnd(12)}${value}`)
  const rows = report.latency.length === 0 ? [] : latencyRows(report)
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const aligned = rows.map((row) =>
    row.map((cell, column) => {
      const width = widths[column] ?? 0
      return column === 0 ? cell.padEnd(width) : cell.padStart(width)
    }).join("  ")
  )
  return [...facts, ...aligned.length === 0 ? [] : ["", ...aligned]].join("\n")
}
