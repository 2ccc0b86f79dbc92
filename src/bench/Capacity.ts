/** How many processes the connections need, so that none runs out of descriptors. No limit is raised. */
import * as Result from "effect/Result"

/** Kept free in each process for standard streams, listeners and libuv's own. */
const reserve = 64

/** More than this, and the machine would be busy with the load alone. */
const mostProcesses = 32

export interface Demand {
  readonly connections: number
  /** Generator processes, where the operator wants a number of them. */
  readonly generators?: number
  /** The open-files limit of each process. */
  readonly openFiles: number
}

export interface Processes {
  readonly generators: number
  readonly targets: number
}

/**
 * The processes that hold both ends: each connection takes one descriptor in a generator and one in a target. Fails with
 * one line that says what would do.
 */
export const processes = ({ connections, generators, openFiles }: Demand): Result.Result<Processes, string> => {
  const each = Math.max(1, openFiles - reserve)
  const needed = Math.max(1, Math.ceil(connections / each))
  const most = generators ?? mostProcesses
  if (needed <= most) return Result.succeed({ generators: generators ?? needed, targets: needed })
  const limit = Math.ceil(connections / most) + reserve
  return Result.fail(
    `--connections: ${connections} need ${needed} generator processes, and as many targets, under an open-files limit of ` +
      `${openFiles}, but ${most} are the most; give --connections ${most * each} or fewer, ` +
      (generators !== undefined && needed <= mostProcesses ? `--generators ${needed}, ` : "") +
      `or raise the limit (ulimit -n ${limit})`
  )
}

/** A line for an operator whose proxy, at two descriptors a connection, has no room for them; else `undefined`. */
export const shortage = (connections: number, limits: ReadonlyArray<number>): string | undefined => {
  const room = Math.floor(limits.reduce((sum, limit) => sum + limit, 0) / 2)
  return room >= connections
    ? undefined
    : `the proxy's open-files limits have room for ${room} of ${connections} connection${
      connections === 1 ? "" : "s"
    }, at two descriptors each`
}

/** Splits a number into parts that differ by 1 at most. */
export const share = (whole: number, parts: number): ReadonlyArray<number> =>
  Array.from({ length: parts }, (_, part) => Math.floor((whole + part) / parts))
