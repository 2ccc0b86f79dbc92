/**
 * One turn of the event loop, and its length that is fair to all sockets.
 *
 * libuv reads a socket that always has more 32 times before it looks at the next one. With 50 such streams a turn took
 * 110 ms, and a quiet connection's round trip two of them; now it is 30 ms, for 10 % more CPU a GB (`npm run bench`,
 * fair). A few streams never reach the limit.
 */

/** Milliseconds from a turn's first full read, after which those that have more to read wait for the next turn. */
const limit = 20

let started: number | undefined

const end = (): void => {
  started = undefined
}

/** Asked by a socket whose read filled its buffer: whether to let others read. */
export const isOver = (): boolean => {
  const now = performance.now()
  if (started !== undefined) return now - started >= limit
  started = now
  // Runs when all sockets that were ready have been read.
  setImmediate(end)
  return false
}
