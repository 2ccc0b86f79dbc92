/** What makes a process a worker: its number, counted up from 1 over all that a supervisor has started. */

/** The environment variable that has it. */
export const variable = "SLUICE_WORKER"

/** The number of the supervisor, in the log. */
export const supervisor = 0

/** Of this process; `undefined` when nobody supervises it. */
export const own = (): number | undefined =>
  // Without the channel to a supervisor, somebody has only set the variable.
  process.send !== undefined && /^\d+$/.test(process.env[variable] ?? "") ? Number(process.env[variable]) : undefined
