/**
 * Samples made into a table of ratios.
 */
import * as Os from "node:os"
import type * as Load from "./Load.ts"

/** All samples of one load, of the baseline and of the proxy that is compared with it, in the order they were taken. */
export interface Row {
  readonly load: Load.Load
  readonly baseline: Array<Load.Sample>
  readonly proxy: Array<Load.Sample>
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

const cost = (samples: ReadonlyArray<Load.Sample>): number => median(samples.map((sample) => sample.cost))

const ratio = (row: Row): number => cost(row.proxy) / cost(row.baseline)

const met = (row: Row): boolean => row.load.alone === true || ratio(row) <= row.load.target

/** What there is nothing to say of is a dash. */
const fixed = (value: number, digits: number): string => Number.isNaN(value) ? "–" : value.toFixed(digits)

const range = (samples: ReadonlyArray<Load.Sample>, digits: number): string => {
  if (samples.length === 0) return "–"
  const costs = samples.map((sample) => sample.cost)
  return `${Math.min(...costs).toFixed(digits)}–${Math.max(...costs).toFixed(digits)}`
}

const line = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |\n`

/** One line for each kind of failure: which proxy, in which load, what, how often. */
export const errors = (rows: ReadonlyArray<Row>, name: string): Array<string> => {
  const counts = new Map<string, number>()
  for (const row of rows) {
    for (const [who, samples] of [["baseline", row.baseline], [name, row.proxy]] as const) {
      for (const [what, count] of samples.flatMap((sample) => Object.entries(sample.errors))) {
        const key = `${who}, ${row.load.title}: ${what}`
        counts.set(key, (counts.get(key) ?? 0) + count)
      }
    }
  }
  return [...counts].map(([what, count]) => `${what} (${count} times)`)
}

const machine = (node: string, pinned: boolean): string =>
  `Node ${node}, ${Os.cpus().length} × ${Os.cpus()[0]?.model.trim() ?? "?"}, ${Os.type()} ${Os.release()}, ` +
  (pinned ? "proxy on core 1, load and target on core 0" : "nothing pinned")

const noise = (rows: ReadonlyArray<Row>): ReadonlyArray<number> =>
  rows.flatMap((row) => [...row.baseline, ...row.proxy]).map((sample) => sample.others)

/** The report in Markdown. */
export const markdown = (rows: ReadonlyArray<Row>, name: string, node: string, pinned: boolean): string => {
  let text = line(["load", "baseline", name, "ratio", "target", "ok"]) + "|---|--:|--:|--:|--:|---|\n"
  for (const row of rows) {
    text += line([
      row.load.title,
      fixed(cost(row.baseline), row.load.digits),
      cost(row.proxy).toFixed(row.load.digits),
      fixed(ratio(row), 2),
      row.load.alone === true ? "–" : `≤ ${row.load.target}`,
      met(row) ? "yes" : "no"
    ])
  }
  const taken = [...new Set(rows.map((row) => row.proxy.length))].join(" or ")
  text += `\nMedians of ${taken} samples. ${machine(node, pinned)}.\n`
  const cores = noise(rows)
  text += `Other work used ${median(cores).toFixed(2)} cores (median of the measured windows), ` +
    `at most ${Math.max(...cores).toFixed(2)}.\n`
  text += "Spread, baseline / " + name + ":\n"
  for (const row of rows) {
    const { title, digits } = row.load
    text += `- ${title}: ${range(row.baseline, digits)} / ${range(row.proxy, digits)}\n`
  }
  const failures = errors(rows, name)
  return text + (failures.length === 0 ? "No errors.\n" : `**Errors:**\n- ${failures.join("\n- ")}\n`)
}

/** The same, with every sample, as JSON. */
export const json = (rows: ReadonlyArray<Row>, name: string, node: string, pinned: boolean): string => {
  const loads = rows.map((row) => ({
    group: row.load.group,
    title: row.load.title,
    baseline: cost(row.baseline),
    proxy: cost(row.proxy),
    ratio: ratio(row),
    target: row.load.target,
    ok: met(row),
    samples: { baseline: row.baseline, proxy: row.proxy }
  }))
  const report = { proxy: name, machine: machine(node, pinned), others: median(noise(rows)), loads }
  return `${JSON.stringify({ ...report, errors: errors(rows, name) }, null, 2)}\n`
}
