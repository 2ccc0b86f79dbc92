/** Lines over two axes as SVG: small enough to be made by hand, without a browser or a library that has one. */
import { type Content, element, type Markup } from "./Markup.ts"

export interface Point {
  readonly x: number
  readonly y: number
  /** What a pointer over it shows. */
  readonly label: string
}

export interface Series {
  readonly name: string
  readonly points: ReadonlyArray<Point>
}

export interface Tick {
  readonly at: number
  readonly label: string
}

export interface Axis {
  readonly label: string
  readonly from: number
  readonly to: number
  readonly ticks: ReadonlyArray<Tick>
  readonly logarithmic?: boolean
}

export interface Chart {
  readonly title: string
  readonly x: Axis
  readonly y: Axis
  readonly series: ReadonlyArray<Series>
}

const width = 720
const height = 320
const margin = { top: 16, right: 28, bottom: 46, left: 64 }

/** From 0 to a round number at or above the highest value, in about five steps. */
export const linear = (label: string, values: ReadonlyArray<number>): Axis => {
  const highest = Math.max(0, ...values)
  const rough = highest / 5
  const power = rough > 0 ? 10 ** Math.floor(Math.log10(rough)) : 1
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? power
  const steps = Math.max(1, Math.ceil(highest / step - 1e-9))
  const ticks = Array.from({ length: steps + 1 }, (_, index) => ({
    at: index * step,
    // No more digits than the step has, and without what adding binary fractions leaves behind.
    label: (index * step).toLocaleString("en-US", { maximumSignificantDigits: 6 })
  }))
  return { label, from: 0, to: steps * step, ticks }
}

/** Whole powers of ten around positive values, with a tick at each, and at 2 and 5 times it where there is room. */
export const logarithmic = (label: string, values: ReadonlyArray<number>): Axis => {
  const positive = values.filter((value) => value > 0)
  const low = positive.length === 0 ? 0 : Math.floor(Math.log10(Math.min(...positive)))
  const high = positive.length === 0 ? 1 : Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive))))
  const factors = high - low <= 2 ? [1, 2, 5] : [1]
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index))
    .flatMap((power) => factors.map((factor) => factor * power))
    .filter((at) => at <= 10 ** high)
    .map((at) => ({ at, label: String(Number(at.toPrecision(1))) }))
  return { label, from: 10 ** low, to: 10 ** high, ticks, logarithmic: true }
}

const scale = ({ from, logarithmic, to }: Axis, start: number, end: number) => (value: number): number => {
  const place = logarithmic === true
    ? Math.log(Math.max(value, from) / from) / Math.log(to / from)
    : (value - from) / (to - from)
  return Math.round((start + place * (end - start)) * 10) / 10
}

const text = (x: number, y: number, anchor: "start" | "middle" | "end", content: string, kind = "tick"): Markup =>
  element("text", { x, y, "text-anchor": anchor, class: kind }, content)

/** The chart as an SVG element; its colours come from the page's style sheet. */
export const render = ({ series, title, x, y }: Chart): Markup => {
  const right = width - margin.right
  const bottom = height - margin.bottom
  const toX = scale(x, margin.left, right)
  const toY = scale(y, bottom, margin.top)
  const grid: ReadonlyArray<Content> = [
    ...y.ticks.map(({ at, label }) => [
      element("line", { class: "grid", x1: margin.left, x2: right, y1: toY(at), y2: toY(at) }),
      text(margin.left - 8, toY(at) + 4, "end", label)
    ]),
    ...x.ticks.map(({ at, label }) => [
      element("line", { class: "grid", x1: toX(at), x2: toX(at), y1: bottom, y2: bottom + 5 }),
      text(toX(at), bottom + 19, "middle", label)
    ])
  ]
  const lines = series.map(({ name, points }, index) => {
    const steps = points.map(({ x, y }, at) => `${at === 0 ? "M" : "L"}${toX(x)} ${toY(y)}`)
    return element(
      "g",
      { class: `series s${index}` },
      steps.length > 1 ? element("path", { d: steps.join("") }) : [],
      points.map(({ label, x, y }) =>
        element(
          "g",
          { class: "point" },
          element("title", {}, `${name}: ${label}`),
          element("circle", { cx: toX(x), cy: toY(y), r: points.length > 80 ? 1.5 : 2.5 })
        )
      ),
      // Names stand in the plot's upper corner: lines may end anywhere, and on top of each other.
      series.length > 1
        ? [
          element("rect", { x: margin.left + 12 + index * 110, y: margin.top + 3, width: 14, height: 4 }),
          text(margin.left + 32 + index * 110, margin.top + 10, "start", name, "name")
        ]
        : []
    )
  })
  return element(
    "svg",
    { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
    grid,
    text((margin.left + right) / 2, height - 8, "middle", x.label, "axis"),
    element(
      "text",
      { class: "axis", "text-anchor": "middle", transform: `translate(14 ${(margin.top + bottom) / 2}) rotate(-90)` },
      y.label
    ),
    lines
  )
}
