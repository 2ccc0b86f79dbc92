/** The line that a terminal shows while a run goes on. */
import * as Format from "./Format.ts"
import type { Status } from "./Observer.ts"
import type { Plan } from "./Plan.ts"

/** `measuring 4 s · 64 open · 2,013 connections/s · no errors`. */
export const line = ({ mode }: Plan, { errors, open, perSecond, phase, pssKiB, seconds }: Status): string =>
  [
    `${phase} ${Math.round(seconds)} s`,
    `${Format.count(open)} open`,
    Format.rate(mode, perSecond),
    ...pssKiB === undefined ? [] : [Format.mebibytes(pssKiB)],
    errors === 0 ? "no errors" : Format.counted(errors, "error", "errors")
  ].join(" · ")
