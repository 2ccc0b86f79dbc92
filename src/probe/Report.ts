/** What a probe has found, as `--json` prints it and the table is made from. */
import * as Schema from "effect/Schema"
import { Finding, type Verdict } from "./Finding.ts"

export const Report = Schema.Struct({
  /** Without a password. */
  proxy: Schema.String,
  /** The worst of the findings; `fail` is what the exit code 1 says. */
  verdict: Schema.Literals(["ok", "warn", "fail"]),
  /** In the order in which they were made, those that were skipped too. */
  findings: Schema.Array(Finding)
})
export type Report = typeof Report.Type

export const make = (proxy: string, findings: ReadonlyArray<Finding>): Report => {
  const has = (verdict: Verdict) => findings.some((finding) => finding.verdict === verdict)
  return { proxy, verdict: has("fail") ? "fail" : has("warn") ? "warn" : "ok", findings }
}

export const toJson = Schema.encodeEffect(Schema.fromJsonString(Report))
