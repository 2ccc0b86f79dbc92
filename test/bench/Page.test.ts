import { assert, describe, it } from "@effect/vitest"
import * as Chart from "../../src/bench/Chart.ts"
import * as Markup from "../../src/bench/Markup.ts"
import * as Page from "../../src/bench/Page.ts"
import type { Report } from "../../src/bench/Report.ts"
import * as Table from "../../src/bench/Table.ts"
import * as Html from "../support/Html.ts"

const report: Report = {
  proxy: "socks5://ann@127.0.0.1:1080",
  mode: "rate",
  connections: 64,
  opened: 2_100,
  askedPerSecond: 1_000,
  seconds: 2,
  endedEarly: false,
  work: 2_000,
  workPerSecond: 1_000,
  contentsChecked: true,
  errors: { refused: 2, "wrong bytes": 30 },
  latency: [
    {
      name: "setup",
      count: 2_000,
      meanMs: 1.5,
      maxMs: 90,
      percentiles: [0, 50, 90, 99, 99.9].map((percentile) => ({ percentile, ms: 0.5 + percentile / 50 }))
    },
    {
      name: "echo",
      count: 2_000,
      meanMs: 0.05,
      maxMs: 9,
      percentiles: [0, 50, 90, 99, 99.9].map((percentile) => ({ percentile, ms: 0.05 }))
    }
  ],
  cost: {
    pid: 7,
    processes: 3,
    cpuSeconds: 0.5,
    cores: 0.25,
    cpuPerUnit: 250,
    pssBeforeKiB: 40_960,
    pssPeakKiB: 81_920
  },
  generators: { processes: 1, busiestCores: 0.95 },
  machine: "Node, <b>&\"'\u0001\u202e",
  timeline: [0, 1, 2].map((seconds) => ({
    seconds,
    open: seconds * 32,
    units: seconds * 1_000,
    bytes: 0,
    errors: 0,
    pssKiB: 40_960 + seconds * 1_024
  }))
}

describe("Table", () => {
  it("says everything in lines", () => {
    assert.deepStrictEqual(Table.render({ ...report, machine: "here" }).split("\n"), [
      "proxy       socks5://ann@127.0.0.1:1080",
      "load        rate: 64 connections at a time, 2,100 opened",
      "work        2,000 connections in 2.00 s: 1,000 connections/s of the 1,000 asked for",
      "errors      30 wrong bytes, 2 refused",
      "CPU         0.50 s, 0.25 cores, 250 µs a connection (PID 7, 3 processes)",
      "memory      40.0 MiB before, 80.0 MiB at most (PSS)",
      "generators  1 process, the busiest at 0.95 cores; the load is what limits: try more --generators",
      "machine     here",
      "",
      "milliseconds  count   mean    p50    p90    p99  p99.9   max",
      "setup         2,000   1.50   1.50   2.30   2.48   2.50  90.0",
      "echo          2,000  0.050  0.050  0.050  0.050  0.050  9.00"
    ])
  })

  it("gives bulk in bytes, and what each idle connection holds", () => {
    const bulk = Table.render({ ...report, mode: "bulk", work: 3e9, workPerSecond: 1.5e9, contentsChecked: false })
    assert.include(bulk, "work        3.00 GB in 2.00 s: 1,500 MB/s, contents not checked\n")
    assert.include(bulk, "250 s a GB")
    const { pid, ...cost } = { pssPerConnectionKiB: 12.5, ...report.cost, pid: 7 }
    const idle = Table.render({
      ...report,
      mode: "idle",
      endedEarly: true,
      cost: { processes: 1, cpuSeconds: 0, cores: 0, ...cost, pid }
    })
    assert.include(idle, "80.0 MiB at most, 12.5 KiB a connection (PSS)")
    assert.include(idle, "connections/s, ended early\n")
  })
})

describe("Table, of little", () => {
  it("counts one as one", () => {
    const one = Table.render({ ...report, mode: "idle", connections: 1, opened: 1, work: 1 })
    assert.include(one, "idle: 1 of 1 connection opened\nwork        1 connection in ")
  })

  it("says what is too little to be measured, and what is unknown", () => {
    const { cost, ...rest } = report
    const nothing = { pid: 7, processes: 1, cpuSeconds: 0, cores: 0, cpuPerUnit: 0, pssPerConnectionKiB: -37.5 }
    const little = Table.render({ ...rest, mode: "idle", cost: { ...cost, ...nothing } })
    assert.include(little, "0 cores, too little a connection to be measured (PID 7, 1 process)")
    assert.include(little, "at most, too little a connection to be measured (PSS)")
    const gone = Table.render({ ...rest, cost: { pid: 7, processes: 0, pssBeforeKiB: 1_024, pssPeakKiB: 2_048 } })
    assert.include(
      gone,
      "CPU         unknown: process 7 ended before the run did\nmemory      1.00 MiB before, 2.00 MiB"
    )
  })
})

describe("Page", () => {
  const page = Page.render(report)

  it("is well-formed and needs nothing else", () => {
    assert.deepStrictEqual(Html.problems(page), [])
    assert.deepStrictEqual(Html.problems(Page.render({ ...report, latency: [], timeline: [], errors: {} })), [])
  })

  it("plots latency, throughput and memory, in light and dark", () => {
    const titles = [...page.matchAll(/aria-label="([^"]+)"/g)].map(([, title]) => title)
    assert.deepStrictEqual(titles, ["Latency by percentile", "Throughput over time", "Memory against connections"])
    assert.lengthOf([...page.matchAll(/<path /g)], 4)
    assert.include(page, "prefers-color-scheme: dark")
    assert.include(page, "<title>memory: 64 open, 42.0 MiB</title>")
    assert.include(page, "<title>throughput: 2.00 s, 1,000 a second</title>")
  })

  it("says how to have what it lacks", () => {
    const { cost: _, ...rest } = report
    const without = Page.render({ ...rest, timeline: [] })
    assert.include(without, "Not measured: --pid names the proxy")
  })

  it("lets nothing in it be more than text", () => {
    const hostile = "</script><script src=https://x.example/>\u0000"
    const wild = Page.render({ ...report, machine: hostile, errors: { [hostile]: 1 }, proxy: hostile })
    assert.deepStrictEqual(Html.problems(wild.replaceAll("https://x.example/", "")), [])
    assert.notInclude(wild, "<script")
    assert.include(page, "Node, &lt;b&gt;&amp;&quot;&#39;\ufffd\ufffd")
  })
})

const labels = ({ ticks }: Chart.Axis) => ticks.map(({ label }) => label).join(" ")

describe("Chart", () => {
  it("ends its axes at round numbers", () => {
    assert.strictEqual(labels(Chart.linear("x", [9_900])), "0 2,000 4,000 6,000 8,000 10,000")
    assert.strictEqual(labels(Chart.linear("x", [0.3])), "0 0.1 0.2 0.3")
    assert.strictEqual(labels(Chart.linear("x", [])), "0 1")
    assert.strictEqual(labels(Chart.linear("x", [0, 0])), "0 1")
    assert.strictEqual(labels(Chart.logarithmic("x", [0.3, 12])), "0.1 1 10 100")
    assert.strictEqual(labels(Chart.logarithmic("x", [1, 1])), "1 2 5 10")
    assert.strictEqual(labels(Chart.logarithmic("x", [])), "1 2 5 10")
  })

  it("puts points where they belong, without a NaN", () => {
    const axis = Chart.linear("x", [10])
    const points = [{ x: 0, y: 0, label: "a" }, { x: 10, y: 10, label: "b" }]
    const svg = Chart.render({ title: "t", x: axis, y: axis, series: [{ name: "n", points }] }).markup
    assert.include(svg, "d=\"M64 274L692 16\"")
    const empty = Chart.render({ title: "t", x: Chart.linear("x", []), y: Chart.linear("y", []), series: [] }).markup
    assert.notInclude(svg + empty, "NaN")
  })
})

describe("Markup", () => {
  it("escapes texts and attributes", () => {
    const { markup } = Markup.element("p", { title: "\"<&>'" }, "<&>", ["a", Markup.element("br", {})])
    assert.strictEqual(markup, "<p title=\"&quot;&lt;&amp;&gt;&#39;\">&lt;&amp;&gt;a<br></br></p>")
  })
})
