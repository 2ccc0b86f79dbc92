/**
 * The loads of `npm run bench` for each proxy that people run, one directly after the other, so that the machine's drift
 * hits all.
 */
import * as Children from "../Children.ts"
import type * as Load from "../Load.ts"
import * as Loads from "../Loads.ts"
import * as Contenders from "./Contenders.ts"
import type * as Results from "./Results.ts"

/** As many as those can hold that take six descriptors for each. */
const idle = 3_000

/** Cores that others may use in a measured window before it is measured again, once. */
const noisy = 0.15

/** Of the two loads that open connections, the paced one: all get the same. */
export const loads = (): ReadonlyArray<Load.Load> => {
  const groups = new Set<string>()
  return Loads.all(idle).filter((load) => load.group === "bulk" || (!groups.has(load.group) && groups.add(load.group)))
}

type Outcome = Pick<Load.Sample, "errors" | "others"> & {
  readonly cost: number | null
  /** Units of work a second. */
  readonly rate: number | null
}

/** Each sample has a process of its own. A sample with failures has no cost. */
const once = async (
  load: Load.Load,
  contender: Contenders.Contender,
  pin: string,
  target: Children.Target
): Promise<Outcome> => {
  try {
    const proxy = await Contenders.start(contender, pin)
    try {
      const sample = await load.run(proxy, target)
      const good = Object.keys(sample.errors).length === 0 && Number.isFinite(sample.cost)
      const { errors, others, seconds, work } = sample
      return { errors, others, cost: good ? sample.cost : null, rate: good ? work / seconds : null }
    } finally {
      await proxy.stop()
    }
  } catch (error) {
    return {
      errors: { [error instanceof Error ? error.message : String(error)]: 1 },
      others: 0,
      cost: null,
      rate: null
    }
  }
}

/** Measures `loads` for all contenders, `runs` times. `say` gets a line of progress. */
export const measure = async (
  loads: ReadonlyArray<Load.Load>,
  contenders: ReadonlyArray<Contenders.Contender>,
  pin: string,
  runs: number,
  say: (line: string) => void
): Promise<ReadonlyArray<Results.PeerRow>> => {
  const target = await Children.startTarget()
  const rows = loads.map((load) => ({
    load,
    samples: contenders.map(() => new Array<number | null>()),
    rates: contenders.map(() => new Array<number | null>()),
    errors: contenders.map((): Record<string, number> => ({}))
  }))
  for (let run = 1; run <= runs; run++) {
    for (const { errors, load, rates, samples } of rows) {
      for (const [index, contender] of contenders.entries()) {
        let outcome = await once(load, contender, pin, target)
        if (outcome.others > noisy) {
          const again = await once(load, contender, pin, target)
          if (again.others < outcome.others) outcome = again
        }
        samples[index]?.push(outcome.cost)
        rates[index]?.push(outcome.rate)
        const counts = errors[index] ?? {}
        for (const [what, count] of Object.entries(outcome.errors)) counts[what] = (counts[what] ?? 0) + count
        const cost = outcome.cost?.toFixed(load.digits) ?? `failed: ${Object.keys(outcome.errors).join(", ")}`
        say(`run ${run}  ${load.title}  ${contender.name}: ${cost}  (others ${outcome.others.toFixed(2)} cores)`)
      }
    }
  }
  return rows.map(({ errors, load: { digits, group, title }, rates, samples }) => {
    const row = { title, digits, samples, errors }
    return group === "udp" ? Object.assign(row, { rates }) : row
  })
}
