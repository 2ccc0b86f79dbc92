/** What a connection costs from its beginning to its end. */
import * as Timers from "node:timers/promises"
import * as Echo from "./Echo.ts"
import { during, each, Errors, exchange, type Load, Meter, tooMany } from "./Load.ts"

/** Connections a second of the paced load: what either proxy can take with more than half of its core to spare. */
export const pace = 2_000
/** Above this many at once the paced load waits, so that a proxy that can't keep up is not buried. */
const backlog = 512

/** Starts {@link pace} pieces of work a second for some seconds; gives how many succeeded. */
const paced = async (errors: Errors, seconds: number, work: (number: number) => Promise<void>): Promise<number> => {
  const running = new Set<Promise<void>>()
  const started = performance.now()
  let next = 0
  let done = 0
  const start = (number: number): void => {
    const piece = work(number).then(
      () => void done++,
      (error: unknown) => errors.add(error instanceof Error ? error.message : String(error))
    ).finally(() => running.delete(piece))
    running.add(piece)
  }
  while (errors.total < tooMany && performance.now() - started < seconds * 1_000) {
    const due = (performance.now() - started) / 1_000 * pace
    while (next < due && running.size < backlog) start(next++)
    await Timers.setTimeout(1)
  }
  await Promise.all(running)
  return done
}

/**
 * Keeps this process from sleeping. A proxy pays for waking whom it writes to, more than for the write; and the slower
 * it is, the more often does it find its client asleep. On a network it never does: the card takes the packet.
 */
const awake = async <A>(work: () => Promise<A>): Promise<A> => {
  let on = true
  const turn = (): void => {
    if (on) setImmediate(turn)
  }
  turn()
  try {
    return await work()
  } finally {
    on = false
  }
}

/** CPU µs per connection: connect, greeting, request, one byte each way, close. */
const rate =
  (measured: (errors: Errors, visit: (number: number) => Promise<void>) => Promise<number>): Load["run"] =>
  async (proxy, target) => {
    const errors = new Errors()
    // In this process, since it is this one that stays awake.
    const echo = await Echo.listen()
    const visit = async (number: number): Promise<void> => {
      await (await exchange(proxy, echo.ports, number)).close()
    }
    // Until the optimizing compiler is done with the proxy; the steady state is what counts.
    const atLeast = during(2)
    const atMost = during(8)
    await each(errors, (number) => atLeast() || (number < 6_000 && atMost()), visit)
    await Timers.setTimeout(300)
    const meter = new Meter(proxy, target)
    const work = await awake(() => measured(errors, visit))
    // The proxy's own closing belongs to the price.
    await Timers.setTimeout(300)
    const { cpu, ...rest } = meter.read()
    echo.close()
    return { ...rest, work, cost: cpu / work * 1e6, errors: errors.counts }
  }

export const pacedRate = rate((errors, visit) => paced(errors, 3, visit))

export const saturatedRate = rate((errors, visit) => each(errors, during(2), visit))
