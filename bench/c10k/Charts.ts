/**
 * A ladder's curves as SVG, each contender a line over the number of open connections, both axes logarithmic.
 */
import * as Vega from "vega"
import * as VegaLite from "vega-lite"
import type * as Results from "./Results.ts"

interface Chart {
  readonly file: string
  readonly title: string
  readonly of: (level: Results.Level) => number
  /** Below this many connections it is noise. */
  readonly from: number
}

export const charts: ReadonlyArray<Chart> = [
  { file: "c10k-cpu.svg", title: "CPU-µs a round trip", of: (level) => level.cpu, from: 0 },
  { file: "c10k-p99.svg", title: "p99 of a round trip, ms", of: (level) => level.p99, from: 0 },
  { file: "c10k-memory.svg", title: "KiB a connection", of: (level) => level.memory, from: 1_000 }
]

type Panel = Extract<VegaLite.TopLevelSpec, { readonly hconcat: unknown }>["hconcat"][number]

const panel = (ladder: Results.Ladder, chart: Chart, group: Results.Climb["group"], title: string): Panel => {
  const values = ladder.climbs.filter((climb) => climb.group === group).flatMap(({ levels, name }) =>
    levels.flatMap((level) => {
      const value = chart.of(level)
      // Nothing and less can't be drawn on a logarithmic axis.
      return level.asked >= chart.from && value > 0 ? [{ name, open: level.open, value }] : []
    })
  )
  const names = [...new Set(values.map(({ name }) => name))]
  return {
    title,
    width: 330,
    height: 280,
    data: { values },
    mark: { type: "line", point: { size: 40, filled: true }, strokeWidth: 2 },
    encoding: {
      x: {
        field: "open",
        type: "quantitative",
        scale: { type: "log", domain: [80, 12_500] },
        axis: { title: "open connections, 1 % of them active", values: [100, 300, 1_000, 3_000, 10_000], format: "," }
      },
      y: {
        field: "value",
        type: "quantitative",
        scale: { type: "log", nice: false, padding: 10 },
        axis: { title: chart.title, tickCount: 5 }
      },
      color: { field: "name", type: "nominal", scale: { scheme: "tableau10" }, sort: names, title: null },
      shape: { field: "name", type: "nominal", sort: names, title: null }
    }
  }
}

/** One chart of {@link charts}: the mechanisms beside the proxies. */
export const svg = (ladder: Results.Ladder, chart: Chart): Promise<string> => {
  const { spec } = VegaLite.compile({
    // White of its own, so that its dark text also reads where the page around it is dark.
    background: "white",
    padding: 12,
    hconcat: [
      panel(ladder, chart, "mechanism", "mechanisms"),
      panel(ladder, chart, "proxy", "proxies")
    ],
    resolve: { scale: { color: "independent", shape: "independent", y: "shared" } },
    config: { font: "system-ui, sans-serif", axis: { gridColor: "#e5e5e5" } }
  })
  return new Vega.View(Vega.parse(spec), { renderer: "none" }).toSVG()
}
