/** Work that falls due at a steady rate, whether or not the proxy keeps up. */

export interface Pacer {
  readonly start: () => void
  readonly stop: () => void
}

const tickMillis = 1

/**
 * Offers each piece of work with the time (`performance.now()`) at which it fell due. One that `take` refuses is offered
 * again, still with its own time: what waits for a free connection counts as waiting, else a slow proxy would look fast.
 */
export const make = (perSecond: number, take: (due: number) => boolean): Pacer => {
  let timer: NodeJS.Timeout | undefined
  return {
    start: () => {
      const started = performance.now()
      let taken = 0
      const due = (): number => started + taken * 1_000 / perSecond
      timer = setInterval(() => {
        const now = performance.now()
        while (due() <= now && take(due())) taken++
      }, tickMillis)
    },
    stop: () => clearInterval(timer)
  }
}
