/** A report as one HTML page that needs nothing else: opened from disk or sent by mail, it shows the same. */
import * as Chart from "./Chart.ts"
import * as Format from "./Format.ts"
import { type Content, element, type Markup, own } from "./Markup.ts"
import * as Plan from "./Plan.ts"
import type { Moment, Report } from "./Report.ts"
import * as Table from "./Table.ts"

// No character of it is special in XML, so that the page can be read as such too.
const style = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1c1f; --soft: #5d646d; --grid: #e3e6ea;
  --s0: #1f6fb5; --s1: #c2571a; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e8eaed; --soft: #a0a7b0; --grid: #32373e;
  --s0: #6cb2f0; --s1: #f0995c; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 48rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: normal; }
.times { display: block; overflow-x: auto; }
.times td + td, .times th + th { text-align: right; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--soft); }
svg .name { fill: var(--ink); }
.grid { stroke: var(--grid); }
.series path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.s0 path { stroke: var(--s0); } .s0 circle, .s0 rect { fill: var(--s0); }
.s1 path { stroke: var(--s1); } .s1 circle, .s1 rect { fill: var(--s1); }
p { color: var(--soft); }
`

/** Each nine more takes the same room: 0 at 0, 1 at 90 %, 2 at 99 %. */
const nines = (percentile: number): number => -Math.log10(1 - percentile / 100)

const latencyChart = ({ latency }: Report): Chart.Chart => {
  const series = latency.map(({ name, percentiles }) => ({
    name,
    points: percentiles.map(({ ms, percentile }) => ({
      x: nines(percentile),
      y: ms,
      label: `p${percentile} ${Format.milliseconds(ms)} ms`
    }))
  }))
  const points = series.flatMap(({ points }) => points)
  const to = Math.max(1, Math.ceil(Math.max(...points.map(({ x }) => x)) - 1e-9))
  const ticks = [0, 50, 90, 99, 99.9, 99.99, 99.999].filter((percentile) => nines(percentile) <= to + 1e-9)
  return {
    title: "Latency by percentile",
    x: { label: "percentile", from: 0, to, ticks: ticks.map((at) => ({ at: nines(at), label: `${at}` })) },
    y: Chart.logarithmic("milliseconds", points.map(({ y }) => y)),
    series
  }
}

/** Work between each moment and the one before it. */
const throughputChart = ({ mode, timeline }: Report): Chart.Chart => {
  const amount = ({ bytes, units }: Moment): number => mode === "bulk" ? bytes / 1e6 : units
  const points = timeline.slice(1).flatMap((moment, index) => {
    const before = timeline[index]
    if (before === undefined || moment.seconds <= before.seconds) return []
    const y = Math.max(0, amount(moment) - amount(before)) / (moment.seconds - before.seconds)
    return [{ x: moment.seconds, y, label: `${Format.number(moment.seconds)} s, ${Format.number(y)} a second` }]
  })
  return {
    title: "Throughput over time",
    x: Chart.linear("seconds", points.map(({ x }) => x)),
    y: Chart.linear(mode === "bulk" ? "MB a second" : `${Plan.unit[mode].many} a second`, points.map(({ y }) => y)),
    series: [{ name: "throughput", points }]
  }
}

const memoryChart = ({ timeline }: Report): Chart.Chart | undefined => {
  const points = timeline.flatMap(({ open, pssKiB }) =>
    pssKiB === undefined
      ? []
      : [{ x: open, y: pssKiB / 1_024, label: `${Format.count(open)} open, ${Format.mebibytes(pssKiB)}` }]
  )
  if (points.length === 0) return undefined
  return {
    title: "Memory against connections",
    x: Chart.linear("open connections", points.map(({ x }) => x)),
    y: Chart.linear("MiB (PSS)", points.map(({ y }) => y)),
    series: [{ name: "memory", points }]
  }
}

const section = (heading: string, ...content: ReadonlyArray<Content>): Markup =>
  element("section", {}, element("h2", {}, heading), ...content)

const chartSection = (chart: Chart.Chart): Markup => section(chart.title, Chart.render(chart))

const facts = (report: Report): Markup =>
  element(
    "table",
    {},
    Format.lines(report).map(([name, value]) =>
      element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))
    )
  )

const times = (report: Report): Markup => {
  const [head = [], ...rows] = Table.latencyRows(report)
  return element(
    "table",
    { class: "times" },
    element("tr", {}, head.map((cell) => element("th", { scope: "col" }, cell))),
    rows.map((row) => element("tr", {}, row.map((cell) => element("td", {}, cell))))
  )
}

/** The page. Its policy forbids it to load or run anything, should a text in it ever be more than text. */
export const render = (report: Report): string => {
  const title = `${report.proxy}: ${report.mode}`
  const memory = memoryChart(report)
  const head = element(
    "head",
    {},
    element("meta", { charset: "utf-8" }),
    element("meta", {
      "http-equiv": "Content-Security-Policy",
      content: "default-src 'none'; style-src 'unsafe-inline'"
    }),
    element("meta", { name: "viewport", content: "width=device-width" }),
    element("title", {}, title),
    element("style", {}, own(style))
  )
  const body = element(
    "body",
    {},
    element("h1", {}, title),
    facts(report),
    report.latency.length === 0 ? [] : [section("Latency", times(report)), chartSection(latencyChart(report))],
    chartSection(throughputChart(report)),
    memory === undefined
      ? section("Memory against connections", element("p", {}, "Not measured: --pid names the proxy's process."))
      : chartSection(memory)
  )
  return `<!DOCTYPE html>\n${element("html", { lang: "en" }, head, body).markup}\n`
}
