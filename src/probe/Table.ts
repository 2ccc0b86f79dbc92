/** A report as text for a terminal. */
import { type Finding, verdicts } from "./Finding.ts"
import type { Report } from "./Report.ts"

/** What was skipped for the same reason, in one line. */
const skippedLines = (findings: ReadonlyArray<Finding>): ReadonlyArray<string> => {
  const byReason = new Map<string, Array<string>>()
  for (const { detail, name } of findings) byReason.set(detail, [...byReason.get(detail) ?? [], name])
  return [...byReason].map(([why, names]) => `skipped (${why}): ${names.join(", ")}`)
}

/** The whole report: a line for each check that was made, its advice below it; then what was skipped, and the sums. */
export const render = ({ findings, proxy }: Report): string => {
  const made = findings.filter(({ verdict }) => verdict !== "skipped")
  const skipped = skippedLines(findings.filter(({ verdict }) => verdict === "skipped"))
  const width = Math.max(...made.map(({ name }) => name.length))
  const lines = made.flatMap(({ advice, detail, name, verdict }) => {
    const start = `${name.padEnd(width)}  ${verdict.padEnd(4)}  `
    const line = `${start}${detail}`
    return advice === undefined ? [line] : [line, `${" ".repeat(start.length)}→ ${advice}`]
  })
  const sums = verdicts.map((verdict) =>
    `${findings.filter((finding) => finding.verdict === verdict).length} ${verdict}`
  )
  return [proxy, "", ...lines, "", ...skipped, sums.join(", ")].join("\n")
}
