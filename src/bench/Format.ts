/** Numbers as people read them. */
import * as Failure from "./Failure.ts"
import * as Plan from "./Plan.ts"
import type { Cost, Report } from "./Report.ts"

/** Three significant digits, and a comma between thousands: `0.42`, `12.3`, `2,013`. */
export const number = (value: number): string => {
  const digits = Math.abs(value) >= 100 || value === 0 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

export const count = (value: number): string => Math.round(value).toLocaleString("en-US")

export const mebibytes = (kib: number): string => `${number(kib / 1_024)} MiB`

/** `1 process`, `2,013 processes`. */
export const counted = (amount: number, one: string, many: string): string =>
  `${count(amount)} ${amount === 1 ? one : many}`

const processes = (amount: number): string => counted(amount, "process", "processes")

const connectionsOf = (amount: number): string => counted(amount, "connection", "connections")

/** A name and what there is to say of it. */
export type Line = readonly [name: string, value: string]

/** The lines on what the proxy's processes took. */
const costLines = (cost: Cost, mode: Report["mode"]): ReadonlyArray<Line> => {
  const { cores, cpuPerUnit, cpuSeconds, pid, pssBeforeKiB, pssPeakKiB, pssPerConnectionKiB } = cost
  const price = cpuPerUnit === undefined
    ? ""
    : cpuPerUnit > 0
    ? `, ${number(cpuPerUnit)} ${mode === "bulk" ? "s" : "µs"} a ${Plan.unit[mode].one}`
    : `, too little a ${Plan.unit[mode].one} to be measured`
  const cpu = cpuSeconds === undefined || cores === undefined
    ? `unknown: process ${pid} ended before the run did`
    : `${number(cpuSeconds)} s, ${number(cores)} cores${price} (PID ${pid}, ${processes(cost.processes)})`
  if (pssBeforeKiB === undefined || pssPeakKiB === undefined) return [["CPU", cpu]]
  const each = pssPerConnectionKiB === undefined
    ? ""
    : pssPerConnectionKiB > 0
    ? `, ${number(pssPerConnectionKiB)} KiB a connection`
    : ", too little a connection to be measured"
  return [
    ["CPU", cpu],
    ["memory", `${mebibytes(pssBeforeKiB)} before, ${mebibytes(pssPeakKiB)} at most${each} (PSS)`]
  ]
}

/** Work a second: `2,013 connections/s`, `812 MB/s`. */
export const rate = (mode: Report["mode"], perSecond: number): string =>
  mode === "bulk" ? `${number(perSecond / 1e6)} MB/s` : `${number(perSecond)} ${Plan.unit[mode].many}/s`

/** All of a report but its times, line by line. */
export const lines = (report: Report): ReadonlyArray<Line> => {
  const { askedPerSecond, connections, cost, errors, generators, mode, opened, seconds, work, workPerSecond } = report
  const { many, one } = Plan.unit[mode]
  const amount = mode === "bulk" ? `${number(work / 1e9)} GB` : counted(work, one, many)
  const asked = askedPerSecond === undefined || mode === "idle" || mode === "bulk"
    ? ""
    : ` of the ${count(askedPerSecond)} asked for`
  const found: Array<Line> = [
    ["proxy", report.proxy],
    [
      "load",
      mode === "rate"
        ? `${mode}: ${connectionsOf(connections)} at a time, ${count(opened)} opened`
        : `${mode}: ${count(opened)} of ${connectionsOf(connections)} opened`
    ],
    [
      "work",
      `${amount} in ${number(seconds)} s: ${rate(mode, workPerSecond)}${asked}` +
      (report.endedEarly ? ", ended early" : "") +
      (report.contentsChecked ? "" : ", contents not checked")
    ],
    ["errors", Failure.total(errors) === 0 ? "none" : Failure.format(errors)]
  ]
  if (cost !== undefined) found.push(...costLines(cost, mode))
  const slow = generators.busiestCores > 0.9 ? "; the load is what limits: try more --generators" : ""
  found.push([
    "generators",
    `${processes(generators.processes)}, the busiest at ${number(generators.busiestCores)} cores${slow}`
  ])
  found.push(["machine", report.machine])
  return found
}

/** Milliseconds: `0.42`, `12.3`. */
export const milliseconds = (ms: number): string => ms < 0.1 ? ms.toFixed(3) : number(ms)
